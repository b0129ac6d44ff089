"""Rows that are longer than the model's window.

| policy | a text | a row with a prompt |
| --- | --- | --- |
| `split` | windows, each beginning with the last token of the one before, which is not learned again: every token is learned once | cut behind the last whole answer that fits; dropped where none does |
| `truncate` | its beginning | its beginning; dropped where nothing of an answer is left |
| `drop` | left out | left out |
| `error` | `DataError` | `DataError` |

`split` never parts an answer from its question, and never leaves an answer without its end.
"""  # noqa: E501

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Literal

from hfgen.errors import InvalidOption
from hfgen.mentions import mention
from hfgen.training.encoding import EncodedExample
from hfgen.training.rows import bad_row

LongRows = Literal["split", "truncate", "drop", "error"]


@dataclass
class LongRowCounts:
    """What became of rows that were too long."""

    split: int = 0
    """Texts cut into windows."""
    windows: int = 0
    """The windows they became."""
    truncated: int = 0
    """Rows that lost their end."""
    dropped: int = 0
    """Rows left out."""

    def to_dict(self) -> dict[str, int]:
        return asdict(self)


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
            raise bad_row(
                encoded.file,
                encoded.line,
                f"{len(encoded.ids)} tokens, and rows may have {window}",
                hint=f"use {mention('long_rows')} split, truncate or drop",
            )
        if self.policy == "split" and encoded.is_text:
            return self._windows(encoded, window)
        length = 0 if self.policy == "drop" else self._length_kept(encoded, window)
        if not any(encoded.is_learned[:length]):
            self.counts.dropped += 1
            return []
        self.counts.truncated += 1
        return [_part(encoded, 0, length)]

    def _windows(self, encoded: EncodedExample, window: int) -> list[EncodedExample]:
        starts = range(0, len(encoded.ids) - 1, window - 1)
        self.counts.split += 1
        self.counts.windows += len(starts)
        return [_part(encoded, start, start + window) for start in starts]

    def _length_kept(self, encoded: EncodedExample, window: int) -> int:
        if self.policy == "truncate":
            return window
        # The end of an answer is a learned token with none behind it.
        learned = encoded.is_learned
        ends = (n for n in range(window, 0, -1) if learned[n - 1] and not learned[n])
        return next(ends, 0)


def _part(encoded: EncodedExample, start: int, stop: int) -> EncodedExample:
    ids, is_learned = encoded.ids[start:stop], encoded.is_learned[start:stop]
    return EncodedExample(ids, is_learned, encoded.is_text, encoded.file, encoded.line)
