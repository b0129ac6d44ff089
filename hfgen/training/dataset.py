"""From raw rows to the rows that a model is trained on: recognised, encoded, fitted, counted."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from hfgen.errors import DataError
from hfgen.mentions import mention
from hfgen.training.encoding import EncodedExample, ExampleEncoder
from hfgen.training.recognition import SAMPLE_ROWS, ColumnChoice, Example, Shape, recognise
from hfgen.training.rows import BadRows, RawRow
from hfgen.training.windows import Fitter, LongRowCounts


@dataclass
class Prepared:
    """Data, ready for training."""

    shape: Shape
    rows: list[list[EncodedExample]] = field(default_factory=list)
    """For each row that can be used, what it became."""
    lengths: list[int] = field(default_factory=list)
    """Tokens of each row before it was fitted into the window."""
    skipped: int = 0
    """Bad rows left out."""
    reasons: list[str] = field(default_factory=list)
    """What the first bad rows were about."""
    long_rows: LongRowCounts = field(default_factory=LongRowCounts)

    @property
    def examples(self) -> list[EncodedExample]:
        """What all rows became, in order."""
        return [part for row in self.rows for part in row]


def prepare(
    rows: Iterator[RawRow],
    encoder: ExampleEncoder,
    fitter: Fitter,
    *,
    choice: ColumnChoice | None = None,
    bad: BadRows | None = None,
    progress: Callable[[int], None] | None = None,
) -> Prepared:
    """Recognise, encode and fit all rows; `bad` must be the one that `rows` are read with.

    `progress` gets the number of rows read. Raises `DataError` for a bad row where they are not
    skipped, and where nothing is left to learn.
    """
    bad = bad or BadRows()
    sample = list(itertools.islice(rows, SAMPLE_ROWS))
    if not sample:
        raise _nothing_left(bad)
    prepared = Prepared(recognise(sample, choice), long_rows=fitter.counts)
    for count, row in enumerate(itertools.chain(sample, rows), 1):
        try:
            examples = prepared.shape.read(row)
            encoded = [part for example in examples for part in _encoded(encoder, example)]
        except DataError as error:
            bad.take(error)
        else:
            prepared.lengths.extend(len(part.ids) for part in encoded)
            parts = [part for whole in encoded for part in fitter.fit(whole)]
            prepared.rows.append([part.compact() for part in parts])
        if progress is not None:
            progress(count)
    prepared.rows = [row for row in prepared.rows if row]
    prepared.skipped, prepared.reasons = bad.count, bad.reasons
    if not prepared.rows:
        raise _nothing_left(bad, fitter)
    return prepared


def _encoded(encoder: ExampleEncoder, example: Example) -> list[EncodedExample]:
    return [row for row in encoder.encode(example) if any(row.is_learned)]


def _nothing_left(bad: BadRows, fitter: Fitter | None = None) -> DataError:
    if bad.reasons:
        return DataError(
            f"no usable rows; {bad.count} were skipped, the first: {bad.reasons[0]}",
            hint=f"correct them, or name the columns ({mention('text_column')}, "
            f"{mention('prompt_column')})",
        )
    if fitter is not None and fitter.counts.dropped:
        return DataError(
            f"no usable rows: all are longer than {fitter.window} tokens",
            hint=f"use {mention('long_rows', 'truncate')}",
        )
    return DataError("no usable rows", hint="put one example on each line")
