"""What a row means, and the records that answer it.

A record repeats everything that its row said: `id`, `prompt`, `messages`, its own `options`, and
fields that hfgen does not know. Fields that have the name of a result are kept under `input`.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hfgen.batch.openai import is_openai, translate
from hfgen.errors import HfgenError, UsageError
from hfgen.generation.config_fields import REFUSED
from hfgen.generation.conversation import read_messages, shown
from hfgen.generation.options import SPECS, GenerationOptions, unknown_option
from hfgen.generation.records import Prompt, Record

_RESULTS = frozenset(
    ["index", "model", "completion", "text", "finish_reason", "seed", "prompt_tokens",
     "completion_tokens", "thinking", "logprobs", "sample", "samples", "error"]
)  # fmt: skip
_OWN = _RESULTS | {"id", "prompt", "messages", "options", "input"}


@dataclass(frozen=True, slots=True)
class BatchRow:
    """One row of the input."""

    index: int
    place: str
    """`file:line`."""
    said: dict[str, Any]
    """What its records repeat."""
    prompt: Prompt
    error: HfgenError | None = None
    """Why it has no text."""
    model: str | None = None
    """The model that the row names."""


def read_row(value: object, index: int, place: str) -> BatchRow:
    """Understand one JSON value; raises `ValueError` with the reason where it is no row."""
    if isinstance(value, str):
        return BatchRow(index, place, {"id": None, "prompt": value}, Prompt(value))
    if not isinstance(value, dict):
        raise ValueError(f"a row must be an object or a string, not {shown(value)}")
    row, error = dict(value), None
    if is_openai(row):
        try:
            row = translate(row)
        except UsageError as refused:
            error = refused
            row.setdefault("id", row.pop("custom_id", None))
            row.setdefault("prompt", "")
    own_id, model = row.pop("id", None), row.pop("model", None)
    if not isinstance(own_id, str | int | None) or isinstance(own_id, bool):
        raise ValueError(f"id must be a string or a whole number, not {shown(own_id)}")
    if model is not None and not isinstance(model, str):
        raise ValueError(f"model must be a string, not {shown(model)}")
    said: dict[str, Any] = {"id": own_id}
    text, messages = _asked(row)
    said["prompt"] = text
    if messages:
        said["messages"] = row.pop("messages")
    options = {n: row.pop(n) for n in list(row) if n in SPECS or n in REFUSED}
    if options:
        said["options"] = options
    _carry(row, said, model)
    try:
        given = _options(options)
    except UsageError as wrong:
        given, error = GenerationOptions(), error or wrong
    return BatchRow(index, place, said, Prompt(text, None, given, None, messages), error, model)


def fingerprint(said: Mapping[str, Any]) -> int:
    """Four bytes (never 0) of what a row said, or of its record: the same for both."""
    kept = {name: value for name, value in said.items() if name not in _RESULTS}
    return zlib.crc32(json.dumps(kept, sort_keys=True).encode()) or 1


def lines_of(row: BatchRow, records: Sequence[Record]) -> bytes:
    """The row's records as lines; several texts of a row are numbered."""
    found = []
    for sample, record in enumerate(records):
        fields = record.to_dict() | {"id": row.said["id"]}
        if len(records) > 1:
            fields |= {"sample": sample, "samples": len(records)}
        found.append(_line(fields | row.said))
    return b"".join(found)


def failure_line(row: BatchRow, model: str, error: HfgenError) -> bytes:
    """The record of a row without a text."""
    reason = {"type": type(error).__name__, "message": error.message}
    first = {"index": row.index, "id": row.said["id"], "model": model}
    return _line(first | row.said | {"error": reason})


def _line(fields: Mapping[str, Any]) -> bytes:
    text = json.dumps(fields, ensure_ascii=False)
    # What str.splitlines takes for a line end would break a line for whoever reads it so.
    text = text.replace("\x85", "\\u0085").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")
    return (text + "\n").encode("utf-8", "backslashreplace")


def _asked(row: dict[str, Any]) -> tuple[str, tuple[dict[str, str], ...]]:
    has_prompt = row.get("prompt") is not None
    if has_prompt == (row.get("messages") is not None):
        raise ValueError('a row needs "prompt" or "messages", one of the two')
    if has_prompt:
        row.pop("messages", None)
        prompt = row.pop("prompt")
        if not isinstance(prompt, str):
            raise ValueError(f"prompt must be a string, not {shown(prompt)}")
        return prompt, ()
    row.pop("prompt", None)
    messages = read_messages(row["messages"])
    return messages[-1]["content"], messages


def _options(options: Mapping[str, Any]) -> GenerationOptions:
    for name, value in options.items():
        if name in REFUSED and value is not None:
            raise unknown_option(name)
    return GenerationOptions.from_mapping({n: v for n, v in options.items() if n in SPECS})


def _carry(rest: Mapping[str, Any], said: dict[str, Any], model: str | None) -> None:
    taken = {name: value for name, value in rest.items() if name in _OWN}
    if model is not None:
        taken["model"] = model
    said |= {name: value for name, value in rest.items() if name not in _OWN}
    if taken:
        said["input"] = taken
