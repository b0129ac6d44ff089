"""Fixtures that run the program as a process."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from processes import FAKE_PROGRAM, Result, environment, run_program


@pytest.fixture
def fake():
    """Run the program with the scripted model: `fake("generate", "Once", data=…, FAKE_…=…)`."""

    def run(*arguments, data=None, **env):
        return run_program([sys.executable, FAKE_PROGRAM], arguments, data, env)

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
        return run_program([hfgen_program], arguments, data, env)

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
            env=environment(env),
            timeout=60,
            stdin=subprocess.DEVNULL,
        )
        return Result(done.returncode, done.stdout, done.stderr)

    return run
