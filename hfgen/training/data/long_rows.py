"""Rows that are longer than the model's window.

| policy | a text | a row with a prompt |
| --- | --- | --- |
| `split` | windows, each beginning with the last token of the one before, which is not learned again: every token is learned once | cut behind the last whole answer that fits; left out where none does |
| `truncate` | its beginning | its end, so that the prompt loses its beginning; of an answer that alone is too long, the beginning behind half a window of the prompt |
| `drop` | left out | left out |
| `error` | `DataError` | `DataError` |

`split` never parts an answer from its question, and never leaves an answer without its end. That is
why it is the default although it leaves rows out, with a warning where they are many: a prompt
begins with the question, the instruction or the system message as a rule, and an answer behind half
a document teaches a model to answer what it was not asked. `truncate` does what `hfgen generate
--overflow truncate` does with such a prompt.
"""  # noqa: E501

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from hfgen.errors import InvalidOption
from hfgen.mentions import mention
from hfgen.training.data.encode import EncodedExample
from hfgen.training.reading.rows import row_error

_PLACES_KEPT = 3

LongRows = Literal["split", "truncate", "drop", "error"]


@dataclass
class LongRowCounts:
    """What became of rows that were too long."""

    split: int = 0
    """Texts cut into windows."""
    windows: int = 0
    """The windows they became."""
    truncated: int = 0
    """Rows of which a part is left out."""
    dropped: int = 0
    """Rows left out."""
    places: list[str] = field(default_factory=list, compare=False)
    """Where the first rows that were left out stand."""

    def to_dict(self) -> dict[str, int]:
        """The counts."""
        return {name: getattr(self, name) for name in ("split", "windows", "truncated", "dropped")}


class Fitter:
    """Fits rows into a window of so many tokens; None is no limit."""

    def __init__(self, window: int | None, policy: LongRows = "split") -> None:
        if window is not None and window < 2:
            raise InvalidOption("max_length", window, "a whole number from 2")
        self.window = window
        self.policy = policy
        self.counts = LongRowCounts()

    def fit(self, encoded: EncodedExample) -> list[EncodedExample]:
        """The rows that fit, in order: one, several windows or none."""
        window = self.window
        if window is None or len(encoded.ids) <= window:
            return [encoded]
        if self.policy == "error":
            raise row_error(
                encoded.place,
                f"{len(encoded.ids)} tokens, and rows may have {window}",
                hint=f"use {mention('long_rows')} split, truncate or drop",
            )
        if self.policy == "split" and encoded.is_text:
            return self._windows(encoded, window)
        start, stop = self._kept(encoded, window)
        if not any(encoded.is_learned[start:stop]):
            self.counts.dropped += 1
            if len(self.counts.places) < _PLACES_KEPT:
                self.counts.places.append(encoded.place)
            return []
        self.counts.truncated += 1
        return [_part(encoded, start, stop)]

    def _windows(self, encoded: EncodedExample, window: int) -> list[EncodedExample]:
        starts = range(0, len(encoded.ids) - 1, window - 1)
        self.counts.split += 1
        self.counts.windows += len(starts)
        return [_part(encoded, start, start + window) for start in starts]

    def _kept(self, encoded: EncodedExample, window: int) -> tuple[int, int]:
        """Where what is kept of a row begins and ends."""
        if self.policy == "drop":
            return 0, 0
        if self.policy == "truncate":
            return (0, window) if encoded.is_text else _end_kept(encoded, window)
        # The end of an answer is a target token with none behind it.
        learned = encoded.is_learned
        ends = (n for n in range(window, 0, -1) if learned[n - 1] and not learned[n])
        return 0, next(ends, 0)


def _end_kept(encoded: EncodedExample, window: int) -> tuple[int, int]:
    """The last tokens of a row, but not the end of an answer without its beginning."""
    learned = encoded.is_learned
    answer = len(learned)
    while answer and learned[answer - 1]:
        answer -= 1
    start = len(learned) - window
    if start >= answer:
        start = max(0, answer - window // 2)
    return start, start + window


def _part(encoded: EncodedExample, start: int, stop: int) -> EncodedExample:
    ids, is_learned = encoded.ids[start:stop], encoded.is_learned[start:stop]
    return EncodedExample(ids, is_learned, encoded.is_text, encoded.place)
