"""A raw row with its origin, and what becomes of the rows that cannot be used."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from hfgen.errors import DataError
from hfgen.mentions import mention

OnBadRow = Literal["error", "skip"]
_REASONS_KEPT = 3


def place_of(file: str, line: int, item: int | None = None) -> str:
    """Where a row stands: `a.jsonl:4`, or `a.json[2]` for the third row of a document."""
    return f"{file}:{line}" if item is None else f"{file}[{item}]"


def row_error(place: str, reason: str, *, hint: str | None = None) -> DataError:
    """The error `place: reason`."""
    hint = hint or f"correct it, or leave such rows out with {mention('on_bad_row', 'skip')}"
    return DataError(f"{place}: {reason}", hint=hint)


def bad_row(file: str, line: int, reason: str, *, hint: str | None = None) -> DataError:
    """The error `file:line: reason`."""
    return row_error(place_of(file, line), reason, hint=hint)


@dataclass(frozen=True, slots=True)
class RawRow:
    """One row as a file holds it."""

    values: dict[str, object]
    file: str
    line: int
    """The line that the row begins on, from 1; of parquet and JSON, the number of the row."""
    item: int | None = None
    """Of a JSON document: the row's index, from 0."""
    is_table: bool = False
    """Whether the values are the cells of a CSV or TSV file, which are texts, all of them."""

    @property
    def place(self) -> str:
        """Where it stands, for messages."""
        return place_of(self.file, self.line, self.item)

    def error(self, reason: str, *, hint: str | None = None) -> DataError:
        """The error that names this row."""
        return row_error(self.place, reason, hint=hint)


class BadRows:
    """Raises the error of a bad row, or counts it."""

    def __init__(self, policy: OnBadRow = "error") -> None:
        self.policy = policy
        self.count = 0
        self.reasons: list[str] = []
        """What the first few were about."""

    def take(self, error: DataError) -> None:
        """Raise `error`, or count it where bad rows are skipped."""
        if self.policy == "error":
            raise error
        self.count += 1
        if len(self.reasons) < _REASONS_KEPT:
            self.reasons.append(error.message)
