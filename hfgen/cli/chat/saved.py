"""`hfgen chats` (or `hfgen chat list`, `show`, `rm`): the saved conversations."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from hfgen.cli.io.outputs import to_json
from hfgen.cli.program.asking import ask
from hfgen.cli.program.commands import command_group
from hfgen.cli.program.console import Console
from hfgen.cli.program.printable import one_line
from hfgen.dialogue import saved, store
from hfgen.errors import OutputError, UsageError

AsJson = Annotated[bool, typer.Option("--json", help="Write JSON.")]
_LONGEST_SHOWN = 60
_SPEAKERS = {"user": "> ", "system": "system: "}


def list_chats(
    console: Console,
    as_json: AsJson = False,
) -> None:
    """List the saved conversations, the newest first.

    hfgen chat list
    """
    found = list(store.entries())
    if as_json:
        rows = [
            {
                "id": entry.id, "model": entry.model, "messages": entry.messages,
                "changed": entry.changed.isoformat(timespec="seconds"), "first": entry.first,
                "path": str(entry.path), "problem": entry.problem,
            }
            for entry in found
        ]  # fmt: skip
        console.write(json.dumps(rows, indent=2, ensure_ascii=False) + "\n")
        return
    if not found:
        console.detail(f"there are no saved conversations in {store.chats_folder()}")
        return
    width = max(len(entry.id) for entry in found)
    models = max(len(str(entry.model or "")) for entry in found)
    for entry in found:
        first = one_line(entry.problem or entry.first)
        if len(first) > _LONGEST_SHOWN:
            first = first[: _LONGEST_SHOWN - 1] + "…"
        line = f"{entry.id:<{width}}  {entry.model or '':<{models}}  {entry.messages:>4}  {first}"
        console.write(line.rstrip() + "\n")


def show(
    console: Console,
    name: Annotated[
        str | None,
        typer.Argument(
            metavar="ID",
            help="Its id, or how that begins. (default the last one)",
            show_default=False,
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Show a saved conversation.

    hfgen chat show
    hfgen chat show 2026-11-28 --json
    """  # fmt: skip
    held = saved.read(store.newest() if name is None else store.find(name))
    messages = held.conversation.messages
    if as_json:
        row = dict(held.facts) | {"messages": [turn.to_dict() for turn in messages]}
        console.write(to_json(row) + "\n")
        return
    for turn in messages:
        console.write(f"{_SPEAKERS.get(turn.role, '')}{turn.content}\n\n")
    if held.conversation.branches:
        console.detail(f"branches besides: {len(held.conversation.branches)} (/branch in the chat)")


def remove(
    console: Console,
    names: Annotated[
        list[str],
        typer.Argument(metavar="ID...", help="Their ids, or how those begin.", show_default=False),
    ],
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be removed, and leave it.")
    ] = False,
    yes: Annotated[bool, typer.Option("-y", "--yes", help="Do not ask.")] = False,
) -> None:
    """Remove saved conversations.

    hfgen chat rm 2026-11-28-153000-1f2e
    """
    if not all(names):
        raise UsageError("an id is empty", hint="hfgen chat list")
    chosen: dict[Path, None] = dict.fromkeys(store.find(name) for name in names)
    what = ", ".join(path.stem for path in chosen)
    if dry_run:
        console.write(f"would remove {what}\n")
        return
    if not yes:
        ask(console, f"remove {what}?")
    for path in chosen:
        try:
            store.remove(path)
        except OSError as error:
            raise OutputError(f"cannot remove {path}: {error.strerror}",
                              hint="check who may write there") from error  # fmt: skip
    console.write(f"removed {what}\n")


app = command_group(
    "Saved conversations: hfgen chat list, show and rm.",
    {"list": list_chats, "show": show, "rm": remove},
)
