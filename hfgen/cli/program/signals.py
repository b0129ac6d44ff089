"""Signals while a model is trained: the first one asks for a stop, a second one ends the run.

Until steps are being done, and after the last one, a signal ends the run at once, as it does in
every other command.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import signal
import stat
import sys
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Protocol

from hfgen import distributed
from hfgen.cli.program.failures import Terminated
from hfgen.cli.program.printable import LONGEST_MESSAGE


class Stop(Protocol):
    """What a running training looks at after each step."""

    is_made: bool

    def make(self) -> None: ...


class Display(Protocol):
    """What knows how far the run is, and tells the user."""

    is_training: bool

    def stopping(self) -> None: ...


@contextlib.contextmanager
def stopping_on_signals(stop: Stop, display: Display) -> Iterator[list[int]]:
    """Have the first SIGINT, SIGTERM or SIGHUP make the request; yields those that did.

    A signal that is ignored or has the system's own effect keeps it. It is this process that
    stops: those that it forks (data loaders, compilers) inherit the handler and go on, or end
    without a word when they are told to. Of several processes that
    train together only the first one is told how far the run is; the others go on until it has
    stopped with them, since it cannot save without them.
    """
    asked: list[int] = []
    is_other = not distributed.is_first()
    numbers = [getattr(signal, n) for n in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, n)]
    before = {number: signal.getsignal(number) for number in numbers}
    process = os.getpid()

    def handle(number: int, frame: FrameType | None) -> None:
        if os.getpid() != process:
            _end_fork(number)
            return
        earlier = before[number]
        if (display.is_training or is_other) and not stop.is_made:
            asked.append(number)
            stop.make()
            display.stopping()
        elif callable(earlier):
            earlier(number, frame)

    taken = [number for number, earlier in before.items() if callable(earlier)]
    for number in taken:
        signal.signal(number, handle)
    try:
        yield asked
    finally:
        for number in taken:
            signal.signal(number, before[number])


def _end_fork(number: int) -> None:
    """End a forked process by SIGTERM; what a terminal sends to all is the first one's business."""
    if number == signal.SIGTERM:
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)


def interruption(number: int) -> KeyboardInterrupt | Terminated:
    """The exception that stands for a signal."""
    return KeyboardInterrupt() if number == signal.SIGINT else Terminated()


def typed_command(*, is_resumed: bool = False) -> str:
    """The command line of this process, fit for a shell; `is_resumed`: to go on with its run."""
    arguments = [a for a in sys.argv[1:] if a not in ("--overwrite", "--resume")]
    if is_resumed:
        end = arguments.index("--") if "--" in arguments else len(arguments)
        arguments.insert(end, "--resume")
    return shlex.join(["hfgen", *arguments]).encode("utf-8", "backslashreplace").decode()


def how_to_go_on(*, has_piped_input: bool = False) -> str:
    """The hint for a run that was stopped: the exact command, where it can be told.

    Standard input has to come again: from its file, or from whatever wrote it.
    """
    command = typed_command(is_resumed=True)
    if distributed.world_size() > 1 or len(command) > LONGEST_MESSAGE - 60:
        return "run the same command with --resume"
    if has_piped_input:
        return f"send the same input again: {again_from_input(command)}"
    return f"resume with: {command}"


def again_from_input(command: str) -> str:
    """The command with its standard input: `… < FILE`, or `… |` where it came from a program."""
    with contextlib.suppress(OSError):
        if stat.S_ISREG(os.fstat(0).st_mode):
            return f"{command} < {shlex.quote(str(Path('/dev/fd/0').readlink()))}"
    return f"… | {command}"
