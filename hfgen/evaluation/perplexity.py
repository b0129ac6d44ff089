"""Perplexity: how well a model predicts text, per token, word and byte."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

from hfgen.evaluation.statistics import Interval, ratio
from hfgen.evaluation.task import Metric, Result, Task, text_of
from hfgen.scoring.asked import By, ScoredText
from hfgen.training.reading.rows import RawRow

if TYPE_CHECKING:
    from hfgen.scoring.texts import TextScore

# A text is resampled in stretches of so many tokens: neighbours are alike.
_STRETCH = 256


class Perplexity(Task):
    """Rows have a `text`; a plain text file is one row."""

    name = "perplexity"
    by: ClassVar[By] = "token"

    def texts(self, row: RawRow) -> list[ScoredText]:
        """The text."""
        return [ScoredText(text_of(row, "text"))]

    def judge(self, row: RawRow, scores: Sequence[TextScore]) -> Result:
        """Its length in several units, and the log-likelihood of each stretch."""
        (score,) = scores
        logprobs = [unit.logprob for unit in score.units]
        starts = range(0, len(logprobs), _STRETCH)
        return {
            "tokens": score.tokens,
            "words": len(score.text.split()),
            "bytes": score.bytes,
            "log_likelihood": score.log_likelihood,
            "stretches": [math.fsum(logprobs[at : at + _STRETCH]) for at in starts],
        }

    def metrics(self, results: Sequence[Result]) -> list[Metric]:
        """Over all texts together."""
        tokens = sum(result["tokens"] for result in results)
        words = sum(result["words"] for result in results)
        size = sum(result["bytes"] for result in results)
        nats: list[float] = []
        lengths: list[int] = []
        for result in results:
            stretches = result["stretches"]
            nats += [-value for value in stretches]
            last = result["tokens"] - _STRETCH * (len(stretches) - 1)
            lengths += [_STRETCH] * (len(stretches) - 1) + [last]
        loss = ratio(nats, lengths)
        metrics = [Metric("perplexity", _exp(loss, 1), "per token")]
        if words:
            metrics.append(Metric("word_perplexity", _exp(loss, tokens / words), "per word"))
        scale = tokens / max(1, size) / math.log(2)
        bits = Interval(loss.value * scale, loss.low * scale, loss.high * scale)
        return [*metrics, Metric("bits_per_byte", bits, "comparable between tokenizers")]


def _exp(nats: Interval, scale: float) -> Interval:
    low, value, high = (
        math.exp(min(one * scale, 700)) for one in (nats.low, nats.value, nats.high)
    )
    return Interval(value, low, high)
