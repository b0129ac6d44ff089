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
from collections.abc import Sequence
from types import FrameType

from hfgen import distributed
from hfgen.cli.flags.typed import own_command
from hfgen.cli.program.console import Console, OutputClosed
from hfgen.cli.program.failures import Terminated, explain
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

# OpenMP's threads wait for each other by spinning; with a busy neighbour on the same cores that
# costs half the speed and more. A short spin, then sleep; half as long costs int8, whose products
# are short, a tenth of its speed. To be set before torch is imported.
_SHORT_SPIN = ("GOMP_SPINCOUNT", "2000")


def main() -> None:
    """Run the program with the process's arguments, and exit."""
    arrived = _raise_on_signals()
    try:
        code = run(sys.argv[1:], arrived)
        _ignore_signals()
    except KeyboardInterrupt:
        code = ExitCode.INTERRUPTED
    except Terminated:
        code = ExitCode.TERMINATED
    if "--debug" in sys.argv:
        sys.exit(code)
    if placement := sys.modules.get("hfgen.models.checkpoint.placement"):
        placement.remove_offloaded()
    # Everything is written and closed. Taking torch apart would cost a tenth of a second, in which
    # a signal or a library's finalizer could still spoil the exit status.
    os._exit(code)


def run(arguments: Sequence[str], arrived: Sequence[int] = ()) -> int:
    """Run one command line and return its exit status; never raises, whatever goes wrong.

    `arrived` receives the signals that came in the meantime.
    """
    if os.environ.get("_HFGEN_COMPLETE"):
        return _complete()
    console = Console()
    console.is_debug = "--debug" in arguments
    words = list(arguments)
    if _is_spoken_for(arguments):
        console.mute()
    try:
        words = own_command([_readable(argument) for argument in arguments])
        _call(words or ["--help"], console)
        return ExitCode.OK
    except BaseException as error:  # noqa: BLE001 (the boundary)
        command = " ".join(["hfgen", *(word for word in words[:1] if word.isalpha())])
        return _end(error, arrived, command, console)
    finally:
        console.close()


def _is_spoken_for(arguments: Sequence[str]) -> bool:
    """Whether this is one of several processes that work together, and not the first."""
    is_shared = arguments[:1] in (["finetune"], ["pretrain"], ["batch"])
    return is_shared and not distributed.is_first() and "--debug" not in arguments


def _call(arguments: list[str], console: Console) -> None:
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault(*_SHORT_SPIN)
    if os.name == "posix" and not os.environ.get("TERM"):
        # Nothing is known of the terminal, and Rich would write colours to it.
        os.environ["TERM"] = "dumb"
    if not console.is_debug:
        os.environ.update(_QUIET_LIBRARIES)
        warnings.simplefilter("ignore")
    import typer

    from hfgen.cli.program.commands import build_program
    from hfgen.models import silence

    silence.is_own_process = True
    program = build_program()
    try:
        with program.make_context("hfgen", arguments, obj=console) as context:
            program.invoke(context)
    except typer.Exit:
        # A help page or the version, which Typer printed.
        console.require_output()
        sys.stdout.flush()


def _complete() -> int:
    """Answer a shell that completes a command line; nothing may show up beside the cursor."""
    try:
        from hfgen.cli.program.commands import build_program
        from hfgen.cli.program.completion import complete

        complete(build_program())
    except SystemExit as error:
        sys.stdout.flush()
        return int(error.code or 0)
    except BaseException:  # noqa: BLE001
        return ExitCode.FAILED
    return ExitCode.OK


def _end(error: BaseException, arrived: Sequence[int], command: str, console: Console) -> int:
    """Say what happened, and return the exit status."""
    if arrived and not isinstance(error, KeyboardInterrupt | Terminated):
        # A library turned the interruption into an error of its own.
        kind = KeyboardInterrupt if arrived[0] == signal.SIGINT else Terminated
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


def _raise_on_signals() -> list[int]:
    """Have SIGINT, SIGTERM and SIGHUP raise; the list that is returned notes which one arrived.

    A signal that whoever started us has had ignored (nohup) stays ignored.
    """
    arrived: list[int] = []

    def interrupt(number: int, frame: FrameType | None) -> None:
        arrived.append(number)
        raise KeyboardInterrupt if number == signal.SIGINT else Terminated

    for number in _signals():
        signal.signal(number, interrupt)
    return arrived


def _ignore_signals() -> None:
    for number in _signals():
        signal.signal(number, signal.SIG_IGN)


def _signals() -> list[int]:
    names = ("SIGINT", "SIGTERM", "SIGHUP")
    numbers = [getattr(signal, name) for name in names if hasattr(signal, name)]
    return [n for n in numbers if signal.getsignal(n) not in (signal.SIG_IGN, None)]
