"""Running the program as users do: a process with its own streams."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from tests import warm

FAKE_PROGRAM = str(Path(__file__).with_name("fake_program.py"))
FAKE_TRAINING = str(Path(__file__).with_name("fake_training.py"))


def scripted(program=FAKE_PROGRAM):
    """The command that runs `hfgen` with a scripted model or training."""
    return [warm.python(), program]


# Typer and Rich change help pages by these.
_COLOUR = ("NO_COLOR", "FORCE_COLOR", "PY_COLORS", "GITHUB_ACTIONS", "TERMINAL_WIDTH")


def environment(extra):
    dropped = ("HFGEN_", "FAKE_", *_COLOUR)
    kept = {name: value for name, value in os.environ.items() if not name.startswith(dropped)}
    for name in ("HFGEN_CONFIG_DIR", "HFGEN_DATA_DIR"):
        kept[name] = os.environ[name]
    return kept | {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", "COLUMNS": "100"} | extra


_WITHOUT_TORCH = """
import sys
from hfgen.cli.program.main import run
code = run(sys.argv[1:])
assert "torch" not in sys.modules
sys.exit(code)
"""


def run_without_torch(*arguments, **env):
    """Run a command that has nothing to compute; it fails if torch is imported for it."""
    return run_program([warm.python(), "-c", _WITHOUT_TORCH], arguments, None, env)


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


TERMINAL = object()
"""Given as `data`: standard input is a terminal where nobody types."""


def run_program(command, arguments, data, env):
    if data is TERMINAL:
        return _run_on_terminal([*command, *arguments], env)
    if isinstance(data, str):
        data = data.encode()
    done = subprocess.run(
        [*command, *arguments],
        input=data,
        stdin=subprocess.DEVNULL if data is None else None,
        capture_output=True,
        env=environment(env),
        timeout=60,
    )
    return Result(done.returncode, done.stdout, done.stderr)


def _run_on_terminal(command, env):
    keyboard, stdin = os.openpty()
    try:
        done = subprocess.run(
            command, stdin=stdin, capture_output=True, env=environment(env), timeout=60
        )
    finally:
        os.close(keyboard)
        os.close(stdin)
    return Result(done.returncode, done.stdout, done.stderr)
