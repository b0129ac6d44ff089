"""From the order in which rows are finished to that in which they are written."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from hfgen.batch.input.rows import BatchRow
from hfgen.errors import HfgenError


@dataclass(frozen=True, slots=True)
class Outcome:
    """A row that is finished."""

    row: BatchRow
    lines: bytes
    """Its records."""
    tokens: int = 0
    error: HfgenError | None = None


class Order:
    """Rows on their way; finished ones wait for those before them, if the order matters."""

    def __init__(self, *, is_kept: bool) -> None:
        self._is_kept = is_kept
        self._open: deque[int] = deque()
        self._finished: dict[int, Outcome] = {}
        self._ready: deque[Outcome] = deque()
        self.count = 0
        """Rows that are read and not yet handed on."""

    def expect(self, index: int) -> None:
        """Note a row that was read."""
        self.count += 1
        if self._is_kept:
            self._open.append(index)

    def add(self, outcome: Outcome) -> None:
        """Take a finished row."""
        if not self._is_kept:
            self._ready.append(outcome)
            return
        self._finished[outcome.row.index] = outcome
        while self._open and self._open[0] in self._finished:
            self._ready.append(self._finished.pop(self._open.popleft()))

    def take(self) -> list[Outcome]:
        """The rows whose turn it is."""
        found = list(self._ready)
        self._ready.clear()
        self.count -= len(found)
        return found

    def rest(self) -> list[Outcome]:
        """After an early end: all finished rows, those that waited included."""
        late = [self._finished.pop(index) for index in sorted(self._finished)]
        return self.take() + late
