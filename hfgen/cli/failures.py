"""What went wrong, in two lines: exceptions to message, hint and exit code.

The only place that knows Typer's own errors, the signals and the stray exceptions of libraries.
It imports nothing that is not loaded already, so that explaining an error costs no start-up time.
"""

from __future__ import annotations

import errno
import os
import re
import sys
from dataclasses import dataclass
from pathlib import Path

from hfgen.cli.flag_spelling import FlagSpelling
from hfgen.errors import ExitCode, HfgenError, InvalidOption, UsageError

_SMALLER = "use fewer --slots, a shorter prompt, a smaller model, or --dtype bfloat16"
_SMALLER_TRAINING = (
    "try --batch-size auto, --gradient-checkpointing, --lora, or a smaller --max-length"
)
_REPORT = "run it again with --debug and report what it prints"


class Terminated(BaseException):
    """SIGTERM or SIGHUP arrived."""


@dataclass(frozen=True)
class Failure:
    """An explained failure."""

    message: str
    hint: str
    exit_code: ExitCode


def explain(error: BaseException, command: str = "hfgen") -> Failure:
    """Explain any exception; `command` is the program and command that were called."""
    if isinstance(error, KeyboardInterrupt):
        return Failure("interrupted", _kept(error), ExitCode.INTERRUPTED)
    if isinstance(error, Terminated):
        return Failure("terminated", _kept(error), ExitCode.TERMINATED)
    if isinstance(error, HfgenError):
        if error.spelling is None:
            error.spell(FlagSpelling())
        default = f"{command} --help" if isinstance(error, UsageError) else "add -v to see more"
        if isinstance(error, InvalidOption):
            default += " lists the options with their ranges"
        return Failure(error.message, error.hint or default, error.exit_code)
    if _is_typer_error(error):
        return _explain_typer_error(error, command)
    if _is_out_of_memory(error):
        return Failure("not enough memory", _smaller(command), ExitCode.FAILED)
    if isinstance(error, OSError) and error.strerror:
        return _explain_os_error(error, command)
    text = str(error).strip().partition("\n")[0]
    name = type(error).__name__
    return Failure(f"unexpected {name}{text and ': '}{text}", _REPORT, ExitCode.FAILED)


def _kept(error: BaseException) -> str:
    """What became of the results, as far as the command noted it on the exception."""
    notes = getattr(error, "__notes__", None)
    return notes[-1] if notes else "nothing was written"


def _is_typer_error(error: BaseException) -> bool:
    typer = sys.modules.get("typer")
    return typer is not None and isinstance(error, (typer.TyperException, typer.Abort))


def _explain_typer_error(error: BaseException, command: str) -> Failure:
    message = error.format_message() if hasattr(error, "format_message") else "aborted"
    hint = f"{command} --help"
    if match := re.match(r"No such command '(.*)'\.(?: Did you mean (.*)\?)?$", message, re.S):
        message = f"there is no command {match[1]!r}"
        group = getattr(getattr(error, "ctx", None), "command_path", "hfgen")
        near = (match[2] or "").replace(", ", " or ")
        hint = f"did you mean {group} {near}?" if near else f"{group} --help lists them"
    else:
        message = (message[:1].lower() + message[1:]).rstrip(".")
    code = ExitCode.USAGE if getattr(error, "exit_code", 1) == 2 else ExitCode.FAILED
    return Failure(message, hint.replace("'", ""), code)


def _is_out_of_memory(error: BaseException) -> bool:
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    text = str(error)
    return isinstance(error, RuntimeError) and (
        "out of memory" in text or "can't allocate memory" in text
    )


def _smaller(command: str) -> str:
    """What helps against a lack of memory."""
    return _SMALLER_TRAINING if command == "hfgen finetune" else _SMALLER


def _explain_os_error(error: OSError, command: str) -> Failure:
    if error.errno == errno.ENOENT and not _has_current_folder():
        message = "the current folder is not there any more"
        return Failure(message, "change to a folder that is", ExitCode.FAILED)
    where = ""
    if error.filename is not None:
        where = (
            f"{os.fsdecode(error.filename)}: " if isinstance(error.filename, str | bytes) else ""
        )
    hint = {
        errno.ENOSPC: "free some space on the disk, or write elsewhere",
        errno.EACCES: "check who may read and write it",
        errno.EMFILE: "raise the limit with ulimit -n",
        errno.ENOMEM: _smaller(command),
    }.get(error.errno or 0, _REPORT)
    return Failure(f"{where}{error.strerror}", hint, ExitCode.FAILED)


def _has_current_folder() -> bool:
    try:
        return bool(Path.cwd())
    except OSError:
        return False
