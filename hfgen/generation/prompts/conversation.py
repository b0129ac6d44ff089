"""Conversations as callers give them: a list of messages, each with `role` and `content`."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from hfgen.errors import UsageError
from hfgen.generation.records import Prompt

Messages = Sequence[Mapping[str, Any]]
"""As in `[{"role": "user", "content": "Hello"}]`."""


def is_prompt(value: object) -> bool:
    """Whether a value is one prompt, and not several."""
    return isinstance(value, str | Prompt) or _is_conversation(value)


def as_prompt(value: object, index: int = 0) -> Prompt:
    """Understand a text, a `Prompt` or a conversation. Raises `UsageError` for anything else."""
    if isinstance(value, Prompt):
        return value
    if isinstance(value, str):
        return Prompt(value)
    if not _is_conversation(value):
        hint = None
        if isinstance(value, Mapping):
            hint = "a conversation is a list of messages, several are a list of such lists"
        raise UsageError(
            f"prompt {index} is a {type(value).__name__}, not a text or a conversation", hint=hint
        )
    try:
        messages = read_messages(value)
    except ValueError as error:
        raise UsageError(f"prompt {index}: {error}") from error
    return Prompt(messages[-1]["content"], messages=messages)


def read_messages(value: object, *, is_open: bool = True) -> tuple[dict[str, str], ...]:
    """Read the messages of a conversation; one that `is_open` is to be answered.

    Text in parts is put together. Raises `ValueError` with the reason.
    """
    if not isinstance(value, list | tuple) or not value:
        raise ValueError(f"messages must be a list of messages, not {shown(value)}")
    messages = tuple(_message(one) for one in value)
    if is_open and messages[-1]["role"] == "assistant":
        raise ValueError("the last message is the assistant's, and nothing is left to answer")
    return messages


def _is_conversation(value: object) -> bool:
    """Whether a value is meant as one: a list of mappings."""
    return isinstance(value, list | tuple) and bool(value) and isinstance(value[0], Mapping)


def shown(value: object) -> str:
    """A value as an error shows it."""
    text = json.dumps(value, default=repr)
    return text if len(text) <= 40 else text[:39] + "…"


def _message(value: object) -> dict[str, str]:
    content = value.get("content") if isinstance(value, Mapping) else None
    if isinstance(content, list) and all(isinstance(p, dict) for p in content):
        parts = [part.get("text") for part in content if part.get("type") == "text"]
        is_text = len(parts) == len(content) and all(isinstance(p, str) for p in parts)
        content = "".join(parts) if is_text else None
    if not isinstance(value, Mapping) or not isinstance(content, str):
        raise ValueError(f'a message needs "role" and a text as "content", not {shown(value)}')
    if not isinstance(value.get("role"), str):
        raise ValueError(f'a message needs "role", not {shown(value)}')
    return {"role": value["role"], "content": content}
