"""Asking before something is removed."""

from __future__ import annotations

from hfgen.cli.program.console import Console, is_interactive_input, standard_input
from hfgen.errors import ExitCode, HfgenError, UsageError


class Declined(HfgenError):
    """The user did not agree."""

    exit_code = ExitCode.FAILED


def ask(console: Console, question: str) -> None:
    """Have the user agree on the terminal. Raises `UsageError` where there is none."""
    if not (is_interactive_input() and console.is_error_terminal):
        raise UsageError("nobody can be asked here", hint="add --yes, or --dry-run to look first")
    console.report(f"{question} [y/N]")
    answer = standard_input().readline().decode("utf-8", "replace").strip().lower()
    if answer not in ("y", "yes"):
        raise Declined("not removed", hint="answer y, or add --yes")
