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

from hfgen.cli.flags.flag_spelling import FlagSpelling
from hfgen.cli.flags.spellings import FLAGS
from hfgen.errors import ExitCode, HfgenError, InvalidOption, UsageError, is_out_of_memory

_SMALLER = {
    "generate": "use fewer --slots, a shorter prompt, a smaller model, or --dtype bfloat16",
    "chat": "use a smaller model, or --dtype bfloat16",
    "batch": "use fewer --slots, shorter prompts, a smaller model, or --dtype bfloat16",
    "bench": "use a smaller --batch-size, a smaller model, or --dtype bfloat16",
    "finetune": "try --batch-size auto, --gradient-checkpointing, --lora, or a smaller "
    "--max-length",
    "pretrain": "try --batch-size auto, --gradient-checkpointing, or a smaller model",
}
"""What helps against a lack of memory, by command."""
_SMALLER_MODEL = "use a smaller model, or a machine with more memory"
_FLAG = re.compile(r"(?<![\w-])--[a-z][a-z0-9_-]*")
_ALTERNATIVES = re.compile(r", or |, | or ")
_OTHER_PROGRAM = re.compile(r"\b(hfgen|pip|git|llama-gguf-split|torchrun) ")
_VERB = re.compile(r"(use|try|add|raise|lower|give|write|name|drop|leave) ")
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
        hint = _possible(error.hint, command) if error.hint else None
        return Failure(error.message, hint or default, error.exit_code)
    if _is_typer_error(error):
        return _explain_typer_error(error, command)
    if is_out_of_memory(error):
        return Failure("not enough memory", _smaller(command), ExitCode.FAILED)
    if isinstance(error, OSError) and error.strerror:
        return _explain_os_error(error, command)
    text = str(error).strip().partition("\n")[0]
    name = type(error).__name__
    return Failure(f"unexpected {name}{text and ': '}{text}", _REPORT, ExitCode.FAILED)


def _possible(hint: str, command: str) -> str | None:
    """The hint without advice that names flags which this command does not have.

    Advice is one of several alternatives, behind a comma or "or"; None where nothing is left.
    """
    name = command.removeprefix("hfgen ")
    flags = _flags_of(name)
    parts = _ALTERNATIVES.split(hint)
    kept = [part for part in parts if _OTHER_PROGRAM.search(part) or _are_known(part, flags)]
    if flags is None or len(kept) == len(parts):
        return hint
    if kept and kept[0] is not parts[0] and (verb := _VERB.match(parts[0])):
        kept[0] = kept[0] if _VERB.match(kept[0]) else verb[0] + kept[0]
    return ", or ".join(kept) or None


def _are_known(text: str, flags: frozenset[str] | None) -> bool:
    return flags is None or {flag.replace("_", "-") for flag in _FLAG.findall(text)} <= flags


def _flags_of(name: str) -> frozenset[str] | None:
    """The flags of a command, by their other names too; None where there is none of that name."""
    commands = sys.modules.get("hfgen.cli.program.commands")
    if commands is None or name not in commands.COMMANDS:
        return None
    command = commands.load_command(name)
    if hasattr(command, "commands"):  # a group, whose commands differ
        return None
    own = {flag for p in command.params for flag in (*p.opts, *p.secondary_opts)}
    return frozenset(own | {n for n, meant in FLAGS.items() if meant.partition("=")[0] in own})


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


def _smaller(command: str) -> str:
    """What helps against a lack of memory."""
    return _SMALLER.get(command.removeprefix("hfgen "), _SMALLER_MODEL)


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
