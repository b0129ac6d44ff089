"""Programs of tests/warm.py behave as cold ones do."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests import warm

ENVIRONMENT = os.environ | {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
PYTHONS = [pytest.param(lambda: sys.executable, id="cold"), pytest.param(warm.python, id="warm")]
pytestmark = pytest.mark.skipif(not warm.is_possible(), reason="needs Linux")


def run(python, code, *arguments, **how):
    how = {"env": ENVIRONMENT, "capture_output": True, "timeout": 60} | how
    done = subprocess.run([python, "-c", code, *arguments], **how)
    return done.returncode, done.stdout, done.stderr


def test_it_is_warm() -> None:
    code = "import sys; print([name in sys.modules for name in ('torch', 'typer')])"
    assert run(warm.python("torch"), code)[1] == b"[True, True]\n"
    assert run(warm.python(), code)[1] == b"[False, True]\n"


@pytest.mark.parametrize("python", PYTHONS)
def test_streams_arguments_folder_and_status(python, tmp_path: Path) -> None:
    code = "import os, sys; print(sys.argv, sys.stdin.read(), os.getcwd(), os.umask(0)); {}"
    how = {"cwd": tmp_path, "umask": 0o027, "input": b"data"}
    out = f"['-c', 'a', 'b'] data {tmp_path} 23\n".encode()
    assert run(python(), code.format(""), "a", "b", **how) == (0, out, b"")
    assert run(python(), code.format("sys.exit(7)"), "a", "b", **how) == (7, out, b"")
    assert run(python(), code.format("sys.exit('no')"), "a", "b", **how) == (1, out, b"no\n")
    status, _, err = run(python(), "1 / 0")
    assert status == 1 and err.endswith(b"ZeroDivisionError: division by zero\n")


@pytest.mark.parametrize("python", PYTHONS)
def test_closed_streams(python) -> None:
    code = "import sys; sys.stderr.write(str([sys.stdin, sys.stdout]))"
    line = f"{python()} -c '{code}' <&- >&-"
    assert run("bash", line) == (0, b"", b"[None, None]")


@pytest.mark.parametrize("python", PYTHONS)
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_signals(python, number: int) -> None:
    code = "import os, time; print(os.getpid(), flush=True); time.sleep(50)"
    process = subprocess.Popen(
        [python(), "-c", code], env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    pid = int(process.stdout.readline())
    process.send_signal(number)
    # An interrupted Python says so and ends by the signal.
    assert process.wait(30) == -number
    process.stdout.close()
    end = time.monotonic() + 10
    while Path(f"/proc/{pid}").exists():
        assert time.monotonic() < end


@pytest.mark.parametrize("python", PYTHONS)
def test_an_ignored_signal_stays_ignored(python) -> None:
    code = "import os, signal; os.kill(os.getpid(), signal.SIGHUP); print(1)"
    assert run("bash", f"trap '' HUP; {python()} -c '{code}'")[:2] == (0, b"1\n")


def test_other_settings_of_the_hub_are_followed(tmp_path: Path) -> None:
    code = "from huggingface_hub import constants; print(constants.HF_HUB_CACHE)"
    how = {"env": ENVIRONMENT | {"HF_HOME": str(tmp_path)}}
    assert run(warm.python("torch"), code, **how)[1] == f"{tmp_path}/hub\n".encode()
