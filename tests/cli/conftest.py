"""Fixtures that run the program as a process."""

from __future__ import annotations

import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from processes import Result, environment, run_program, scripted

from tests import warm


@pytest.fixture
def fake():
    """Run the program with the scripted model: `fake("generate", "Once", data=…, FAKE_…=…)`."""

    def run(*arguments, data=None, **env):
        return run_program(scripted(), arguments, data, env)

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
    """The program's path; what it imports is imported already (see tests/warm.py)."""
    return warm.program()


@pytest.fixture
def cold_program():
    """The installed program's path."""
    path = Path(sys.executable).with_name("hfgen")
    if not path.exists():
        pytest.fail("the program is not installed: pip install -e . --no-deps")
    return str(path)


@pytest.fixture
def installed(hfgen_program):
    """Run the program."""

    def run(*arguments, data=None, **env):
        return run_program([hfgen_program], arguments, data, env)

    return run


@pytest.fixture
def cold(cold_program):
    """Run the installed program as users do, with all it has to import."""

    def run(*arguments, data=None, **env):
        return run_program([cold_program], arguments, data, env)

    return run


@pytest.fixture
def shell(tmp_path):
    """Run a line of bash in an empty folder, where `hfgen` is the program with the fake model."""

    def run(line, **env):
        script = f'hfgen() {{ {shlex.join(scripted())} "$@"; }}\n{line}'
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
