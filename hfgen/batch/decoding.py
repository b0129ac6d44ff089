"""Rows in, finished rows out: what the scheduler is given, and what becomes of its pieces.

Texts that are prepared wait in a look-ahead of 16 times the slots, from which the scheduler chooses
those that should enter together (`hfgen.generation.scheduler`).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from hfgen.batch.input.rows import BatchRow, failure_line, lines_of
from hfgen.batch.ordering import Order, Outcome
from hfgen.errors import DataError, HfgenError, UsageError
from hfgen.generation.options.options import GenerationOptions
from hfgen.generation.prompts.encode import Reading
from hfgen.generation.records import NOT_YET, Pending, Record
from hfgen.generation.scheduler import Failed, Scheduler

_LOOK_AHEAD = 16
_ON_THEIR_WAY = 64
_LEAST_ON_THEIR_WAY = 1024
_POLL_S = 0.002


@dataclass
class _Open:
    """A row of which texts are missing."""

    row: BatchRow
    texts: int
    """How many it will have."""
    records: dict[int, Record] = field(default_factory=dict)


class Decoder:
    """Decodes rows on one model; see the module's docstring."""

    def __init__(
        self,
        lm: Any,
        options: GenerationOptions,
        reading: Reading,
        *,
        slots: int,
        order: Order,
        models: Iterable[str] | None,
        notify: Callable[[str], None],
    ) -> None:
        """`models` are the names that rows may give the model, None for any."""
        self._lm = lm
        self._options = options
        self._reading = reading
        self._order = order
        self._models = None if models is None else frozenset(models)
        self._scheduler: Scheduler = lm.scheduler(
            slots,
            on_fewer_slots=lambda n: notify(f"not enough memory: going on with --slots {n}"),
        )
        self._open: dict[int, _Open] = {}
        self._failure: DataError | None = None

    def run(
        self,
        rows: Iterable[BatchRow | DataError | Pending],
        is_stopped: Callable[[], bool] = lambda: False,
    ) -> Iterator[Outcome]:
        """Yield finished rows in the order's order; ends early when `is_stopped`.

        A `DataError` among the rows is raised when those before it are finished.
        """
        source = iter(rows)
        while not is_stopped():
            self._read(source)
            if self._scheduler.has_work:
                self._step()
            elif not self._scheduler.more_will_come:
                yield from self._order.take()
                if self._failure is not None:
                    raise self._failure
                return
            elif not self._order.count:
                time.sleep(_POLL_S)
            yield from self._order.take()

    # Rows come ------------------------------------------------------------------------------

    def _read(self, source: Iterator[BatchRow | DataError | Pending]) -> None:
        slots = self._scheduler.slots
        most = max(_LEAST_ON_THEIR_WAY, _ON_THEIR_WAY * slots)
        while (
            self._scheduler.more_will_come
            and self._scheduler.waiting < _LOOK_AHEAD * slots
            and self._order.count < most
        ):
            row = next(source, None)
            if row is NOT_YET:
                return
            if isinstance(row, BatchRow):
                self._order.expect(row.index)
                self._take(row)
            else:
                self._scheduler.more_will_come = False
                self._failure = row if isinstance(row, DataError) else None

    def _take(self, row: BatchRow) -> None:
        try:
            self._check(row)
            reading = replace(self._reading, **row.reading) if row.reading else self._reading
            texts = self._lm.prepare(row.prompt, row.index, self._options, reading)
        except HfgenError as error:
            self._fail(row, error)
        else:
            self._open[row.index] = _Open(row, sum(text.count for text in texts))
            self._scheduler.submit(texts)

    def _check(self, row: BatchRow) -> None:
        if row.error is not None:
            raise row.error
        if row.model is not None and self._models is not None and row.model not in self._models:
            raise UsageError(f"the row is for the model {row.model}, this is {self._lm.name}")

    # Texts grow and end ---------------------------------------------------------------------

    def _step(self) -> None:
        for found in self._scheduler.step():
            if found.index not in self._open:
                continue  # of a row that failed in this step
            opened = self._open[found.index]
            if isinstance(found, Failed):
                self._scheduler.cancel(found.index)
                del self._open[found.index]
                self._fail(opened.row, found.error)
            elif found.record is not None:
                opened.records[found.sample] = found.record
                if len(opened.records) == opened.texts:
                    del self._open[found.index]
                    self._finish(opened)

    def _finish(self, opened: _Open) -> None:
        records = [opened.records[sample] for sample in sorted(opened.records)]
        tokens = sum(record.completion_tokens for record in records)
        self._order.add(Outcome(opened.row, lines_of(opened.row, records), tokens))

    def _fail(self, row: BatchRow, error: HfgenError) -> None:
        self._order.add(Outcome(row, failure_line(row, self._lm.name, error), 0, error))
