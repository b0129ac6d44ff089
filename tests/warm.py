"""Programs that run warm: each is a fork of a process in which the libraries are imported already.

Importing torch and transformers takes longer than most tests. `python("torch")` and `program()`
give paths that stand for `sys.executable` and the installed `hfgen`: a small client there hands its
arguments, environment, folder, umask and streams to a server, which forks; the fork then does what
the interpreter would. The client passes signals on and ends as the fork ends. Commands that a fork
would not do justice to, as those with other settings of Python or with --debug, run cold.

Use it where what a command does is the point. What importing costs, what is imported when, memory,
and the entry point itself are for the cold program.
"""

from __future__ import annotations

import atexit
import functools
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

_CLIENT = Path(__file__).with_name("warm_client.py")
_SERVER = Path(__file__).with_name("warm_server.py")
_SHARED = "HFGEN_TEST_WARM"
"""The variable that tells processes of one session where the servers are."""
_IMPORTING_S = 120


def is_possible() -> bool:
    """Whether this system has what it takes, as Linux has."""
    return hasattr(os, "pidfd_open") and hasattr(os, "fork")


def python(imported: str = "typer") -> str:
    """The path of a Python that has imported `imported`: "typer" (hfgen's own), or "torch"."""
    return str(_client(imported) / "python") if is_possible() else sys.executable


def program(imported: str = "torch") -> str:
    """The path of an `hfgen` that has imported what it needs to compute."""
    if is_possible():
        return str(_client(imported) / "hfgen")
    return str(Path(sys.executable).with_name("hfgen"))


def share() -> None:
    """Start the servers for this process and those that it starts."""
    if is_possible():
        os.environ[_SHARED] = str(_folder())
        for imported in ("torch", "typer"):
            start(imported)


def start(imported: str) -> None:
    """Start a server beside its two clients, without waiting for it."""
    folder = _folder() / imported
    folder.mkdir()
    client = _CLIENT.read_text(encoding="utf-8")
    for name, prefix in (("python", ()), ("hfgen", ("-m", "hfgen"))):
        values = {"SOCKET": str(folder / "socket"), "PYTHON": sys.executable, "PREFIX": prefix}
        lines = [f"{key} = {value!r}\n" for key, value in values.items()]
        text = client.replace("# VALUES\n", "".join(lines))
        (folder / name).write_text(f"#!{sys.executable} -IS\n{text}", encoding="utf-8")
        (folder / name).chmod(0o755)
    server = subprocess.Popen(
        [sys.executable, str(_SERVER), str(folder / "socket"), imported],
        stdin=subprocess.PIPE, start_new_session=True, env=_environment(), cwd=folder,
    )  # fmt: skip
    atexit.register(server.communicate)  # the end of its input is its end


@functools.cache
def _client(imported: str) -> Path:
    """The folder of the clients, once their server listens."""
    if _SHARED not in os.environ:
        start(imported)
    folder = Path(os.environ.get(_SHARED, _folder())) / imported
    end = time.monotonic() + _IMPORTING_S
    while not (folder / "socket").exists():
        assert time.monotonic() < end, "the server of tests/warm.py does not listen"
        time.sleep(0.02)
    return folder


@functools.cache
def _folder() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="hfgen-warm-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def _environment() -> dict[str, str]:
    """What the libraries read when they are imported is as the program would set it."""
    from hfgen.cli.program.main import _QUIET_LIBRARIES

    kept = {name: value for name, value in os.environ.items() if not name.startswith("HFGEN_")}
    return kept | {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"} | _QUIET_LIBRARIES
