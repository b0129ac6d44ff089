"""Running the program as users do: a process with its own streams."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

FAKE_PROGRAM = str(Path(__file__).with_name("fake_program.py"))


def _environment(extra):
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("HFGEN_", "FAKE_"))}
    return kept | {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", "COLUMNS": "100"} | extra


class Result:
    """Exit status and both streams, as text."""

    def __init__(self, code, out, err):
        self.code, self.out, self.err = code, out.decode(), err.decode()

    def __repr__(self):
        return f"<{self.code}\n out {self.out!r}\n err {self.err!r}>"

    def assert_error(self, code, message, hint=None):
        """Two lines on standard error, nothing on standard output, the promised status."""
        lines = self.err.splitlines()
        assert len(lines) == 2, self
        assert lines[0].startswith("error: ") and lines[1].startswith("hint: "), self
        assert message in lines[0], self
        assert hint is None or hint in lines[1], self
        assert self.out == "", self
        assert self.code == code, self


def _run(command, arguments, data, env):
    if isinstance(data, str):
        data = data.encode()
    done = subprocess.run(
        [*command, *arguments],
        input=data,
        stdin=subprocess.DEVNULL if data is None else None,
        capture_output=True,
        env=_environment(env),
        timeout=60,
    )
    return Result(done.returncode, done.stdout, done.stderr)


@pytest.fixture
def fake():
    """Run the program with the scripted model: `fake("generate", "Once", data=…, FAKE_…=…)`."""

    def run(*arguments, data=None, **env):
        return _run([sys.executable, FAKE_PROGRAM], arguments, data, env)

    return run


@pytest.fixture
def refused(tmp_path, fake):
    """Run the program where it must fail before it loads a model."""

    def run(*arguments, data=None, **env):
        marker = tmp_path / "loaded"
        result = fake(*arguments, data=data, FAKE_LOADED=str(marker), **env)
        assert not marker.exists(), result
        return result

    return run


@pytest.fixture
def hfgen_program():
    """The installed program's path."""
    path = Path(sys.executable).with_name("hfgen")
    if not path.exists():
        pytest.fail("the program is not installed: pip install -e . --no-deps")
    return str(path)


@pytest.fixture
def installed(hfgen_program):
    """Run the installed program."""

    def run(*arguments, data=None, **env):
        return _run([hfgen_program], arguments, data, env)

    return run


@pytest.fixture
def shell(tmp_path):
    """Run a line of bash in an empty folder, where `hfgen` is the program with the fake model."""

    def run(line, **env):
        script = f'hfgen() {{ {sys.executable} {FAKE_PROGRAM} "$@"; }}\n{line}'
        done = subprocess.run(
            ["bash", "-c", script],
            capture_output=True,
            cwd=tmp_path,
            env=_environment(env),
            timeout=60,
            stdin=subprocess.DEVNULL,
        )
        return Result(done.returncode, done.stdout, done.stderr)

    return run
