"""A raw row with its origin, and what becomes of the rows that cannot be used."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from hfgen.errors import DataError
from hfgen.mentions import mention

OnBadRow = Literal["error", "skip"]
_REASONS_KEPT = 3


def bad_row(file: str, line: int, reason: str, *, hint: str | None = None) -> DataError:
    """The error `file:line: reason`."""
    hint = hint or f"correct it, or leave such rows out with {mention('on_bad_row', 'skip')}"
    return DataError(f"{file}:{line}: {reason}", hint=hint)


@dataclass(frozen=True, slots=True)
class RawRow:
    """One row as a file holds it."""

    values: dict[str, object]
    file: str
    line: int
    """The line that the row begins on, from 1; of a parquet file, the number of the row."""

    def error(self, reason: str) -> DataError:
        """The error that names this row."""
        return bad_row(self.file, self.line, reason)


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
