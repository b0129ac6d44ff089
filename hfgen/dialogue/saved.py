"""A conversation as a file: what is in it, and how it is read, whole or torn.

The file is one line of JSON with OpenAI's `messages`, which `hfgen finetune` and others read; the
messages come last, so that a turn is added at the end (`hfgen.dialogue.journal`). Before them stand
the conversation's name, its model, and the branches that it left. How an answer came about is in
its message, as `hfgen`, which other programs pass over.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hfgen.dialogue.conversation import Conversation, Message
from hfgen.errors import DataError
from hfgen.generation.prompts.conversation import read_messages

END = b"]}\n"
_MESSAGES = re.compile(rb'"messages":\s*\[')
_DECODER = json.JSONDecoder()


@dataclass(frozen=True)
class Saved:
    """What a file holds."""

    conversation: Conversation
    facts: Mapping[str, Any] = field(default_factory=dict)
    """`id`, `model`, `created`."""
    is_torn: bool = False
    """Whether its end is missing."""


def to_bytes(conversation: Conversation, facts: Mapping[str, Any]) -> bytes:
    """The whole file."""
    row = dict(facts)
    if conversation.branches:
        row["branches"] = [
            [_message_row(message) for message in branch] for branch in conversation.branches
        ]
    row["messages"] = [_message_row(message) for message in conversation.messages]
    data = _encoded(row) + b"\n"
    assert data.endswith(END)
    return data


def addition(messages: tuple[Message, ...], *, is_first: bool) -> bytes:
    """What takes the place of `END` when messages are added."""
    rows = b", ".join(_encoded(_message_row(message)) for message in messages)
    return (b"" if is_first else b", ") + rows + END


def read(path: Path) -> Saved:
    """Read a saved conversation, or any file of one row with OpenAI's messages.

    Of a file whose end is missing, the messages that are whole. Raises `DataError`.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}", hint="check the name") from error
    rows = [line for line in data.splitlines() if line.strip()]
    if len(rows) > 1 and all(map(_is_row, rows)):
        raise DataError(
            f"{path} holds {len(rows)} conversations",
            hint=f"take one: sed -n 1p {path} > one.jsonl",
        )
    try:
        row = json.loads(data)
        is_torn = False
    except (ValueError, RecursionError):
        row, is_torn = _torn(data), True
    try:
        return _saved(row, is_torn)
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        reason = str(error) if type(error) is ValueError else "it has no messages"
        raise DataError(
            f"{path} is no saved conversation: {reason}", hint='{"messages": […]} on one line'
        ) from error


def _saved(row: Any, is_torn: bool) -> Saved:
    messages = row["messages"]
    facts = {name: row[name] for name in ("id", "model", "created") if name in row}
    branches = [_read(branch) for branch in row.get("branches", ())]
    return Saved(Conversation(_read(messages), branches), facts, is_torn)


def _read(rows: Any) -> tuple[Message, ...]:
    if not rows:
        return ()
    said = read_messages(rows, is_open=False)
    return tuple(
        Message(one["role"], one["content"], row.get("hfgen") or {})
        for one, row in zip(said, rows, strict=True)
    )


def _torn(data: bytes) -> dict[str, Any] | None:
    """The row of a file that ends too soon, with the messages that are whole."""
    if not (begin := _MESSAGES.search(data)):
        return None
    try:
        row: dict[str, Any] = json.loads(data[: begin.end()] + END)
    except ValueError:
        return None
    row["messages"] = list(_whole_ones(data[begin.end() :].decode("utf-8", "ignore")))
    return row


def _whole_ones(text: str) -> Iterator[Any]:
    place = 0
    while (place := text.find("{", place)) >= 0:
        try:
            message, place = _DECODER.raw_decode(text, place)
        except ValueError:
            return
        yield message


def _is_row(line: bytes) -> bool:
    return line.lstrip().startswith(b"{")


def _message_row(message: Message) -> dict[str, Any]:
    row: dict[str, Any] = message.to_dict()
    return row | {"hfgen": dict(message.facts)} if message.facts else row


def _encoded(row: Any) -> bytes:
    return json.dumps(row, ensure_ascii=False).encode("utf-8", "backslashreplace")
