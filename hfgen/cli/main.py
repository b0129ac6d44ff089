"""The program's entry and its one error boundary.

Everything that ends a run comes through `run`: results go to standard output, and any exception
becomes two lines on standard error and one of the promised exit codes. This module imports the
standard library only, so that the boundary stands before anything else is loaded.

A closed pipe (`hfgen … | head`) ends the run with status 0 and no message: whoever read has what
it wanted. SIGHUP counts as SIGTERM.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import warnings
from collections.abc import Iterator, Sequence
from types import FrameType

from hfgen.cli.console import Console, OutputClosed
from hfgen.cli.failures import Terminated, explain
from hfgen.errors import DataError, ExitCode

# The libraries read these when they are imported. Threads of the tokenizer and a progress bar of
# the Hub would otherwise speak up on standard error.
_QUIET_LIBRARIES = {
    "TRANSFORMERS_VERBOSITY": "error",
    "TRANSFORMERS_NO_ADVISORY_WARNINGS": "1",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "HF_HUB_VERBOSITY": "error",
    "TOKENIZERS_PARALLELISM": "false",
}


def main() -> None:
    """Run the program with the process's arguments, and exit."""
    with contextlib.suppress(KeyboardInterrupt, Terminated):
        code = run(sys.argv[1:])
        _let_go()
        sys.exit(code)
    _let_go()
    sys.exit(ExitCode.INTERRUPTED)


def run(arguments: Sequence[str]) -> int:
    """Run one command line and return its exit status; never raises, whatever goes wrong."""
    console = Console()
    console.is_debug = "--debug" in arguments
    command = " ".join(["hfgen", *(a for a in arguments[:1] if a.isalpha())])
    signals: list[int] = []
    try:
        with _signals_raise(signals):
            try:
                _call([_readable(argument) for argument in arguments] or ["--help"], console)
            except BaseException as error:  # noqa: BLE001 (the boundary)
                return _end(error, signals, command, console)
            return ExitCode.OK
    finally:
        console.close()


def _call(arguments: list[str], console: Console) -> None:
    if not console.is_debug:
        os.environ.update(_QUIET_LIBRARIES)
        warnings.simplefilter("ignore")
    import typer

    from hfgen.cli.commands import build_program

    program = build_program()
    try:
        with program.make_context("hfgen", arguments, obj=console) as context:
            program.invoke(context)
    except typer.Exit:
        # A help page or the version, which Typer printed.
        console.require_output()
        sys.stdout.flush()


def _end(error: BaseException, signals: list[int], command: str, console: Console) -> int:
    """Say what happened, and return the exit status."""
    if signals and not isinstance(error, KeyboardInterrupt | Terminated):
        # A library turned the interruption into an error of its own.
        kind = KeyboardInterrupt if signals[0] == signal.SIGINT else Terminated
        error = kind().with_traceback(error.__traceback__)
    if isinstance(error, OutputClosed | BrokenPipeError) or _is_closed_by_rich(error):
        _drop_output()
        return ExitCode.OK
    if isinstance(error, OSError) and not error.filename:
        _drop_output()
    if isinstance(error, SystemExit) and isinstance(error.code, int):
        return error.code
    failure = explain(error, command)
    if console.is_debug:
        console.report_traceback(error)
    console.error(failure.message, failure.hint)
    return failure.exit_code


def _is_closed_by_rich(error: BaseException) -> bool:
    """Whether Rich met a closed pipe while it printed a help page: it exits with status 1."""
    return isinstance(error, SystemExit) and isinstance(error.__context__, BrokenPipeError)


def _drop_output() -> None:
    """Have what Python still holds for standard output go nowhere."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, sys.stdout.fileno())
        os.close(null)
        sys.stdout.flush()


def _readable(argument: str) -> str:
    """Return the argument as UTF-8 text, also where the locale has another encoding."""
    if not any("\udc80" <= character <= "\udcff" for character in argument):
        return argument
    try:
        return os.fsencode(argument).decode("utf-8")
    except UnicodeDecodeError as error:
        raise DataError(
            f"argument {os.fsencode(argument)[:40]!r} is not valid UTF-8",
            hint="pass it in UTF-8, or as a file: -f FILE",
        ) from error


@contextlib.contextmanager
def _signals_raise(arrived: list[int]) -> Iterator[None]:
    """Have SIGINT, SIGTERM and SIGHUP raise, and note which one arrived.

    A signal that whoever started us has had ignored (nohup) stays ignored.
    """

    def interrupt(number: int, frame: FrameType | None) -> None:
        arrived.append(number)
        raise KeyboardInterrupt if number == signal.SIGINT else Terminated

    before = {}
    for name in ("SIGINT", "SIGTERM", "SIGHUP"):
        number = getattr(signal, name, None)
        if number is not None and signal.getsignal(number) not in (signal.SIG_IGN, None):
            with contextlib.suppress(ValueError):  # not the main thread
                before[number] = signal.signal(number, interrupt)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _let_go() -> None:
    """From here on a signal ends the process without a word: everything is written."""
    for name in ("SIGINT", "SIGTERM", "SIGHUP"):
        number = getattr(signal, name, None)
        if number is not None and signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, signal.SIG_DFL)
