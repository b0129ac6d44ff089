"""The commands of a dialogue: their names here and in other programs, and how a line is read.

Aliases are the spellings of ollama, llama-cli, simonw/llm and Transformers' chat. What a command
does is up to whoever shows the dialogue.
"""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass

from hfgen.errors import UsageError


@dataclass(frozen=True)
class Command:
    """One command."""

    name: str
    arguments: str
    help: str
    aliases: tuple[str, ...] = ()


COMMANDS = (
    Command("help", "", "This list.", ("?", "h")),
    Command("retry", "[--seed N]", "Answer again, with another seed.", ("regen", "regenerate")),
    Command("undo", "", "Take back the last message and its answer."),
    Command("edit", "[N] [assistant]", "Change the last message in your editor (N messages from "
            "the end, as -2; also an answer), and go on from there."),
    Command("branch", "[N]", "List the ways that were left, or go on with one.", ("branches",)),
    Command("set", "NAME VALUE", "Set a parameter, as in /set temperature 0.2; default resets it.",
            ("parameter", "param")),
    Command("show", "", "The model, the parameters and the system message.", ("status", "info")),
    Command("system", "[TEXT]", "Show or set the system message; - removes it.", ("sys",)),
    Command("read", "FILE [TEXT]", "Put a file before the next message, or before TEXT.",
            ("file", "fragment")),
    Command("model", "NAME", "Go on with another model.", ("m",)),
    Command("tokens", "", "How full the context window is.", ("context", "ctx")),
    Command("why", "", "What else the model might have written, where it was least certain."),
    Command("logprobs", "on|off", "Colour the tokens by their probability."),
    Command("copy", "", "Copy the last answer to the clipboard."),
    Command("save", "[FILE]", "Write the conversation to a file."),
    Command("load", "ID|FILE", "Go on with another conversation."),
    Command("list", "", "The saved conversations.", ("ls", "chats")),
    Command("clear", "", "Begin a new conversation.", ("new", "reset")),
    Command("bye", "", "End (also Ctrl-D, exit).", ("exit", "quit", "q")),
)  # fmt: skip

_BY_NAME = {name: command for command in COMMANDS for name in (command.name, *command.aliases)}
_BARE = ("exit", "quit", "bye")
_LINE = re.compile(r"/([a-z?]+)(?:\s+(.*))?$", re.IGNORECASE | re.DOTALL)
_FOREIGN = re.compile(r"!([a-z?]+)(?:\s+(.*))?$", re.IGNORECASE | re.DOTALL)


@dataclass(frozen=True)
class Call:
    """A command that was typed."""

    command: Command
    argument: str = ""


def parse(text: str) -> Call | None:
    """Read a line; None where it is a message.

    Raises `UsageError` with the nearest name for a command that is none. A path such as `/usr/bin`
    is a message, and so is what begins with a space.
    """
    if text.strip().casefold() in _BARE:
        return Call(_BY_NAME["bye"])
    if found := _LINE.match(text.rstrip()):
        name = found[1].casefold()
        if name not in _BY_NAME:
            near = difflib.get_close_matches(name, _BY_NAME, n=1)
            hint = f"did you mean /{near[0]}?" if near else "/help lists the commands"
            raise UsageError(
                f"there is no command /{found[1]}",
                hint=f"{hint} (a space before it makes it a message)",
            )
        return Call(_BY_NAME[name], (found[2] or "").strip())
    foreign = _FOREIGN.match(text.rstrip())
    if foreign and (command := _BY_NAME.get(foreign[1].casefold())) is not None:
        return Call(command, (foreign[2] or "").strip())
    return None


def completions(text: str) -> list[tuple[str, str]]:
    """The commands that a line may become, each with its help."""
    begun = text.removeprefix("/").casefold()
    return [
        (f"/{command.name}", command.help)
        for command in COMMANDS
        if any(name.startswith(begun) for name in (command.name, *command.aliases))
    ]


def help_text() -> str:
    """All commands, a line each."""
    rows = [(f"/{command.name} {command.arguments}".rstrip(), command) for command in COMMANDS]
    width = max(len(row) for row, _ in rows)
    lines = []
    for row, command in rows:
        also = ", ".join(f"/{alias}" for alias in command.aliases)
        lines.append(f"{row:<{width}}  {command.help}{f' ({also})' if also else ''}")
    return "\n".join(lines) + (
        '\n\n"""                 begins and ends a message of several lines (or Alt-Enter)\n'
        "Ctrl-G              writes the message in your editor\n"
        "Ctrl-C              stops the answer and keeps it\n"
    )
