"""Rows in, finished rows out: what the engine is given, and what becomes of its events.

Texts that are prepared wait in a look-ahead of 16 times the slots. Whenever an eighth of the slots
is free, the oldest of them enter; where the engine computes prompts of one length only in one pass,
the oldest and those of its length. When no more rows come, the longest enter first. A lack of
memory halves the slots: texts that were under way begin again from their seeds, and are the same.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from hfgen.batch.input.rows import BatchRow, failure_line, lines_of
from hfgen.batch.ordering import Order, Outcome
from hfgen.errors import DataError, HfgenError, OutOfMemory, UsageError
from hfgen.generation.options.options import GenerationOptions
from hfgen.generation.prompts.encode import Reading
from hfgen.generation.records import NOT_YET, Pending, Record

if TYPE_CHECKING:
    from hfgen.generation.results import TextInProgress

_LOOK_AHEAD = 16
_ON_THEIR_WAY = 64
_LEAST_ON_THEIR_WAY = 1024
_POLL_S = 0.002
_SMALLER = "use a smaller model, shorter texts, or --dtype bfloat16"


@dataclass
class _Open:
    """A row of which texts are missing."""

    row: BatchRow
    missing: int
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
        self._notify = notify
        self._engine = lm.engine(slots)
        self._open: dict[int, _Open] = {}
        self._waiting: list[TextInProgress] = []
        self._texts: dict[tuple[int, int], TextInProgress] = {}
        self._is_ended = False
        self._failure: DataError | None = None
        self.slots = slots
        """Texts at once, fewer after a lack of memory."""

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
            self._admit()
            if self._engine.has_work:
                self._step()
            elif self._is_ended and not self._waiting:
                yield from self._order.take()
                if self._failure is not None:
                    raise self._failure
                return
            elif not self._waiting and not self._order.count:
                time.sleep(_POLL_S)
            yield from self._order.take()

    # Rows come ------------------------------------------------------------------------------

    def _read(self, source: Iterator[BatchRow | DataError | Pending]) -> None:
        most = max(_LEAST_ON_THEIR_WAY, _ON_THEIR_WAY * self.slots)
        while (
            not self._is_ended
            and len(self._waiting) < _LOOK_AHEAD * self.slots
            and self._order.count < most
        ):
            row = next(source, None)
            if row is NOT_YET:
                return
            if isinstance(row, BatchRow):
                self._order.expect(row.index)
                if not self._take(row):
                    return
            else:
                self._is_ended = True
                self._failure = row if isinstance(row, DataError) else None

    def _take(self, row: BatchRow) -> bool:
        """Prepare a row; False after one that took its time, so that others go on."""
        try:
            self._check(row)
            texts = self._prepare(row)
            if texts[0].request.is_delegated:
                self._delegate(row, texts[0])
                return False
        except HfgenError as error:
            self._fail(row, error)
        else:
            self._open[row.index] = _Open(row, len(texts))
            self._waiting += texts
        return True

    def _check(self, row: BatchRow) -> None:
        if row.error is not None:
            raise row.error
        if row.model is not None and self._models is not None and row.model not in self._models:
            raise UsageError(f"the row is for the model {row.model}, this is {self._lm.name}")

    def _prepare(self, row: BatchRow) -> list[TextInProgress]:
        reading = replace(self._reading, **row.reading) if row.reading else self._reading
        found: list[TextInProgress] = self._lm.prepare(
            row.prompt, row.index, self._options, reading
        )
        return found

    def _delegate(self, row: BatchRow, text: TextInProgress) -> None:
        try:
            pieces = list(self._lm.delegate(text))
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            raise OutOfMemory("not enough memory for this row", hint=_SMALLER) from error
        self._finish(row, [piece.record for piece in pieces if piece.record is not None])

    # Texts enter ----------------------------------------------------------------------------

    def _admit(self) -> None:
        free = self.slots - len(self._texts)
        if self._texts and free < max(1, self.slots // 8):
            return
        while free > 0 and self._waiting:
            chosen = self._next_ones()[:free]
            keys = {text.request.key for text in chosen}
            self._waiting = [t for t in self._waiting if t.request.key not in keys]
            for text in chosen:
                self._texts[text.request.key] = text
                self._engine.submit(text.request)
            free -= len(chosen)

    def _next_ones(self) -> list[TextInProgress]:
        """Those of the waiting that should enter together, the first ones first."""
        if self._engine.computes_any_lengths:
            if not self._is_ended:
                return self._waiting
            # The last texts of all should end at about one time.
            return sorted(
                self._waiting, key=lambda text: -(text.request.config.max_new_tokens or 0)
            )
        ids = self._waiting[0].request.prompt_ids
        like = [text for text in self._waiting if len(text.request.prompt_ids) == len(ids)]
        return sorted(like, key=lambda text: text.request.prompt_ids != ids)

    # Texts grow and end ---------------------------------------------------------------------

    def _step(self) -> None:
        try:
            events = self._engine.step()
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            events = None
        if events is None:  # the exception is gone, and with it what its frames held
            self._shrink()
            return
        for event in events:
            index, sample = event.key
            if event.key not in self._texts:
                continue  # of a row that failed in this step
            if event.error is not None:
                self._fail(self._open[index].row, event.error)
                continue
            text = self._texts.pop(event.key) if event.is_last else self._texts[event.key]
            piece = text.add(event)
            if piece is not None and piece.record is not None:
                self._complete(self._open[index], sample, piece.record)

    def _complete(self, opened: _Open, sample: int, record: Record) -> None:
        opened.records[sample] = record
        opened.missing -= 1
        if not opened.missing:
            del self._open[opened.row.index]
            self._finish(opened.row, [opened.records[i] for i in sorted(opened.records)])

    def _finish(self, row: BatchRow, records: list[Record]) -> None:
        tokens = sum(record.completion_tokens for record in records)
        self._order.add(Outcome(row, lines_of(row, records), tokens))

    def _fail(self, row: BatchRow, error: HfgenError) -> None:
        """End a row, with all its texts."""
        for key in [key for key in self._texts if key[0] == row.index]:
            del self._texts[key]
            self._engine.cancel(key)
        self._waiting = [t for t in self._waiting if t.request.key[0] != row.index]
        self._open.pop(row.index, None)
        self._order.add(Outcome(row, failure_line(row, self._lm.name, error), 0, error))

    def _shrink(self) -> None:
        """Go on with half the slots; a text that alone needs too much fails."""
        running = sorted(self._texts)
        self._texts.clear()
        del self._engine
        _free_memory()
        if self.slots > 1:
            self.slots //= 2
            self._notify(f"not enough memory: going on with --slots {self.slots}")
        self._engine = self._lm.engine(self.slots)
        if len(running) == 1:
            error = OutOfMemory("not enough memory for this row", hint=_SMALLER)
            self._fail(self._open[running[0][0]].row, error)
            return
        again = {index: self._prepare(self._open[index].row) for index, _ in running}
        self._waiting[:0] = [again[index][sample] for index, sample in running]


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an exception tells of a lack of memory."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    words = ("out of memory", "can't allocate memory")
    return isinstance(error, RuntimeError) and any(word in str(error) for word in words)


def _free_memory() -> None:
    import torch

    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def _most_tokens(text: TextInProgress) -> int:
    return text.request.config.max_new_tokens or 0
