"""Rows of a data file as texts to score."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import BinaryIO

from hfgen.errors import DataError
from hfgen.scoring.asked import ScoredText
from hfgen.training.reading.files import read_rows
from hfgen.training.reading.rows import RawRow

_CONTEXTS = ("context", "prompt")
_TARGETS = ("continuation", "completion", "target")


def rows_to_score(paths: Sequence[str], stdin: BinaryIO | None = None) -> Iterator[ScoredText]:
    """Read rows with `text`, or with `context` and `continuation` (or `prompt`, `completion`).

    The first row is read at once. Raises `DataError` with the place of a row that has neither.
    """
    rows = map(_read, read_rows(paths, stdin=stdin))
    first = next(rows)

    def read() -> Iterator[ScoredText]:
        yield first
        yield from rows

    return read()


def _read(row: RawRow) -> ScoredText:
    values = row.values
    row_id = values.get("id")
    name = None if row_id is None else str(row_id)
    for target in _TARGETS:
        if target in values:
            context = next((key for key in _CONTEXTS if key in values), None)
            before = "" if context is None else _text(row, context)
            return ScoredText(_text(row, target), before, name)
    if "text" in values:
        return ScoredText(_text(row, "text"), id=name)
    raise row.error(
        f"no text to score among {', '.join(values) or 'no values'}",
        hint='write {"text": …}, or {"context": …, "continuation": …}',
    )


def _text(row: RawRow, name: str) -> str:
    value = row.values[name]
    if not isinstance(value, str):
        error: DataError = row.error(f"{name} must be a text")
        raise error
    return value
