"""What a row means, and the records that answer it.

A record repeats everything that its row said: `id`, `prompt`, `messages`, its own `options`, and
fields that hfgen does not know. Fields that have the name of a result, or that could not be
understood, are kept under `input`. A row of OpenAI's batch files is answered in OpenAI's shape.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, TypeVar

from hfgen.batch.input.names import check_asked, take_options
from hfgen.batch.input.openai import is_openai, translate, url_of
from hfgen.batch.input.plain import json_line, plain
from hfgen.batch.output import openai_answers
from hfgen.errors import DataError, HfgenError
from hfgen.generation.options.config_fields import REFUSED
from hfgen.generation.options.options import SPECS, GenerationOptions, unknown_option
from hfgen.generation.prompts.conversation import read_messages, shown
from hfgen.generation.prompts.encode import Reading
from hfgen.generation.records import Prompt, Record

_RESULTS = frozenset(
    ["index", "model", "completion", "text", "finish_reason", "seed", "prompt_tokens",
     "completion_tokens", "thinking", "logprobs", "sample", "samples", "error"]
)  # fmt: skip
_OWN = _RESULTS | {"id", "prompt", "messages", "options", "input"}
_READING = {field.name: str if field.name == "system" else bool for field in fields(Reading)}
T = TypeVar("T")


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
    reading: Mapping[str, Any] | None = None
    """Fields of `Reading` in place of the run's."""
    url: str | None = None
    """The service of OpenAI's that a row of OpenAI's asks."""
    is_foreign: bool = False
    """Whether it has no field that could be a prompt."""


class _Problems:
    """Reads one thing after another; the first problem is the row's error."""

    def __init__(self) -> None:
        self.first: HfgenError | None = None

    def attempt(self, read: Callable[[], T]) -> T | None:
        try:
            return read()
        except HfgenError as error:
            self.first = self.first or error
        except ValueError as error:
            self.first = self.first or DataError(str(error))
        return None


def read_row(value: object, index: int, place: str) -> BatchRow:
    """Understand one JSON value: what is wrong with an object is its row's error.

    Raises `ValueError` where it is neither an object nor a string.
    """
    if isinstance(value, str):
        return BatchRow(index, place, {"id": None, "prompt": value}, Prompt(value))
    if not isinstance(value, dict):
        raise ValueError(f"a row must be an object or a string, not {shown(value)}")
    problems = _Problems()
    url = url_of(value) if is_openai(value) else None
    row, options = problems.attempt(
        lambda: _translated(dict(value), is_of_openai=url is not None)
    ) or (_untranslated(value), {})
    is_foreign = url is None and "prompt" not in row and "messages" not in row
    said: dict[str, Any] = {"id": problems.attempt(lambda: _id(row))}
    model = problems.attempt(lambda: _model(row))
    text, messages = problems.attempt(lambda: _asked(row)) or (None, ())
    said["prompt"] = text
    if messages:
        said["messages"] = row.pop("messages")
    reading = problems.attempt(lambda: _reading(row)) or {}
    if options or reading:
        said["options"] = plain(options | reading)
    _carry(row, said, model)
    given = problems.attempt(lambda: _options(options))
    prompt = Prompt(text or "", None, given, None, messages)
    return BatchRow(
        index, place, said, prompt, problems.first, model, reading or None, url, is_foreign
    )


def fingerprint(said: Mapping[str, Any]) -> int:
    """Four bytes (never 0) of what a row said, or of its record: the same for both."""
    kept = {name: value for name, value in said.items() if name not in _RESULTS}
    return zlib.crc32(json.dumps(kept, sort_keys=True).encode()) or 1


def carried_fields(said: Mapping[str, Any]) -> list[str]:
    """The names of a row's fields that mean nothing to hfgen."""
    return [name for name in said if name not in _OWN]


def lines_of(row: BatchRow, records: Sequence[Record]) -> bytes:
    """The row's records as lines; several texts of a row are numbered, or one answer's choices."""
    if row.url is not None:
        mark = fingerprint(row.said)
        answer = openai_answers.answer(row.url, row.index, mark, row.said["id"], records)
        return json_line(answer)
    found = []
    for sample, record in enumerate(records):
        line = record.to_dict() | {"id": row.said["id"]}
        if len(records) > 1:
            line |= {"sample": sample, "samples": len(records)}
        found.append(json_line(line | row.said))
    return b"".join(found)


def failure_line(row: BatchRow, model: str, error: HfgenError) -> bytes:
    """The record of a row without a text."""
    if row.url is not None:
        mark = fingerprint(row.said)
        return json_line(openai_answers.failure(row.index, mark, row.said["id"], error))
    reason = {"type": type(error).__name__, "message": error.message}
    first = {"index": row.index, "id": row.said["id"], "model": model}
    return json_line(first | row.said | {"error": reason})


def _translated(
    row: dict[str, Any], *, is_of_openai: bool
) -> tuple[dict[str, Any], dict[str, Any]]:
    """The fields of a row but its options, and its options by hfgen's names."""
    if is_of_openai:
        return translate(row)
    options = take_options(row)
    check_asked(row)
    return row, options


def _untranslated(value: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a row that was refused."""
    row = dict(value)
    if "custom_id" in row and "id" not in row:
        row["id"] = row.pop("custom_id")
    if is_openai(value):
        row.setdefault("prompt", "")
    return row


def _id(row: dict[str, Any]) -> str | int | None:
    own = row.get("id")
    if not isinstance(own, str | int | None) or isinstance(own, bool):
        raise ValueError(f"id must be a string or a whole number, not {shown(own)}")
    row.pop("id", None)
    return own


def _model(row: dict[str, Any]) -> str | None:
    model = row.get("model")
    if model is not None and not isinstance(model, str):
        raise ValueError(f"model must be a string, not {shown(model)}")
    row.pop("model", None)
    return model


def _asked(row: dict[str, Any]) -> tuple[str | None, tuple[dict[str, str], ...]]:
    prompt = row.get("prompt")
    if (prompt is None) == (row.get("messages") is None):
        raise ValueError('a row needs "prompt" or "messages", one of the two')
    if prompt is not None:
        if isinstance(prompt, list) and len(prompt) == 1:
            prompt = prompt[0]
        if isinstance(prompt, list):
            raise ValueError(f"prompt is a list of {len(prompt)}: write a row for each")
        if not isinstance(prompt, str):
            raise ValueError(f"prompt must be a string, not {shown(prompt)}")
        row.pop("messages", None)
        row.pop("prompt")
        return prompt, ()
    row.pop("prompt", None)
    messages = read_messages(row["messages"])
    return messages[-1]["content"], messages


def _reading(row: dict[str, Any]) -> dict[str, Any]:
    """How the row's prompt is read, where it says so: `system`, `raw`, `allow_special`."""
    found = {}
    for name in [one for one in row if one.replace("-", "_") in _READING]:
        value, kind = row[name], _READING[name.replace("-", "_")]
        if value is not None and not isinstance(value, kind):
            wanted = "a string" if kind is str else "true or false"
            raise ValueError(f"{name} must be {wanted}, not {shown(value)}")
        row.pop(name)
        if value is not None:
            found[name.replace("-", "_")] = value
    return found


def _options(options: Mapping[str, Any]) -> GenerationOptions:
    for name, value in options.items():
        if name in REFUSED and value is not None:
            raise unknown_option(name)
    return GenerationOptions.from_mapping({n: v for n, v in options.items() if n in SPECS})


def _carry(rest: Mapping[str, Any], said: dict[str, Any], model: str | None) -> None:
    taken = {name: value for name, value in rest.items() if name in _OWN}
    if model is not None:
        taken["model"] = model
    said |= {name: plain(value) for name, value in rest.items() if name not in _OWN}
    if taken:
        said["input"] = plain(taken)
