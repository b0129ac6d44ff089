"""Cloze: the last word of a text, or a target after a context (LAMBADA's kind of row)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from hfgen.evaluation.statistics import Interval, mean, share
from hfgen.evaluation.task import Metric, Result, Task, text_of
from hfgen.scoring.asked import ScoredText
from hfgen.training.reading.rows import RawRow

if TYPE_CHECKING:
    from hfgen.scoring.texts import TextScore


class Cloze(Task):
    """Rows have a `text`, whose last word is the target, or `context` and `target`."""

    name = "cloze"

    def texts(self, row: RawRow) -> list[ScoredText]:
        """The target after its context; a target without a blank before it gets one."""
        if "target" in row.values:
            context, target = text_of(row, "context"), text_of(row, "target")
        else:
            text = text_of(row, "text").rstrip()
            context, _, target = text.rpartition(" ")
            if not context.strip():
                raise row.error("the text needs two words: the last one is asked for")
        has_blank = target[:1].isspace() or context[-1:].isspace()
        return [ScoredText(target if has_blank else " " + target, context)]

    def judge(self, row: RawRow, scores: Sequence[TextScore]) -> Result:
        """Whether greedy decoding writes the whole target."""
        (score,) = scores
        return {
            "target": score.text.strip(),
            "log_likelihood": score.log_likelihood,
            "is_right": score.is_greedy,
        }

    def metrics(self, results: Sequence[Result]) -> list[Metric]:
        """Accuracy, and perplexity per target, as in lm-evaluation-harness."""
        loss = mean([-result["log_likelihood"] for result in results])
        low, value, high = (math.exp(min(x, 700)) for x in (loss.low, loss.value, loss.high))
        hits = sum(result["is_right"] for result in results)
        return [
            Metric("accuracy", share(hits, len(results)), "whole target is most likely", True),
            Metric("perplexity", Interval(value, low, high), "per target"),
        ]

    def is_right(self, result: Result) -> bool:
        """Whether the whole target is what greedy decoding writes."""
        return bool(result["is_right"])
