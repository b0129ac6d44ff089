"""From raw rows to the rows that a model is trained on: recognised, encoded, fitted, counted."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from hfgen.errors import DataError
from hfgen.mentions import mention
from hfgen.training.answers import are_short
from hfgen.training.data.encode import EncodedExample, ExampleEncoder
from hfgen.training.data.examples import Example
from hfgen.training.data.long_rows import Fitter, LongRowCounts
from hfgen.training.data.recognition import SAMPLE_ROWS, ColumnChoice, recognise
from hfgen.training.data.shapes import Shape
from hfgen.training.reading.rows import BadRows, RawRow
from hfgen.training.report.asking import Asking, Survey


@dataclass
class Prepared:
    """Data, ready for training."""

    shape: Shape
    description: str = ""
    """How the rows were read, in one line."""
    rows: list[list[EncodedExample]] = field(default_factory=list)
    """For each row that can be used, what it became."""
    lengths: list[int] = field(default_factory=list)
    """Tokens of each row before it was fitted into the window."""
    skipped: int = 0
    """Bad rows left out."""
    reasons: list[str] = field(default_factory=list)
    """What the first bad rows were about."""
    long_rows: LongRowCounts = field(default_factory=LongRowCounts)
    survey: Survey = field(default_factory=Survey)

    @property
    def examples(self) -> list[EncodedExample]:
        """What all rows became, in order."""
        return [part for row in self.rows for part in row]

    def asking(self, *, has_template: bool) -> Asking:
        """How the result is prompted; `has_template` is whether it has a chat template."""
        is_text = self.rows[0][0].is_text
        return Asking(
            prompt=self.survey.prompt,
            system=self.survey.system,
            form=self.shape.form or None,
            is_chat=has_template and not is_text,
            is_raw=has_template and is_text,
            is_label=self.shape.label is not None or are_short(self.examples),
        )


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
    shape = recognise(sample, choice)
    described = shape.described(has_template=encoder.has_own_template)
    prepared = Prepared(shape, described, long_rows=fitter.counts)
    is_joined = not (shape.is_chat or encoder.has_own_template)
    for count, row in enumerate(itertools.chain(sample, rows), 1):
        try:
            examples = shape.read(row)
            encoded = [part for example in examples for part in _encoded(encoder, example)]
        except DataError as error:
            bad.take(error)
        else:
            prepared.lengths.extend(len(part.ids) for part in encoded)
            parts = [part for whole in encoded for part in fitter.fit(whole)]
            prepared.rows.append([part.compact() for part in parts])
            for example in examples if parts else ():
                is_label = shape.label is not None
                prepared.survey.take(example, is_joined=is_joined, is_label=is_label)
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
            f"no usable rows: all are longer than {fitter.window} tokens "
            f"({', '.join(fitter.counts.places)} …)",
            hint=f"use {mention('long_rows', 'truncate')}, which drops the beginning of prompts",
        )
    return DataError("no usable rows", hint="put one example on each line")
