"""Two models on the same rows: which one is better, and how far they agree.

Paired, as the rows are the same: McNemar's exact test on rows that one model alone has right, the
bootstrap over rows for the difference in loss. Where both share a vocabulary, also how far their
distributions are apart: the mean Kullback-Leibler divergence KL(A || B) over tokens, in nats, and
the share of places in which both find the same token most likely.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from hfgen.evaluation.run import Settings
from hfgen.evaluation.statistics import Interval, mcnemar, mean, ratio, share
from hfgen.evaluation.task import Result, Task
from hfgen.scoring.texts import TextScorer
from hfgen.training.reading.rows import RawRow

_DIFFERENT_ROWS = 5


@dataclass(frozen=True)
class Agreement:
    """How far two models' distributions are apart, over all scored tokens."""

    divergence: Interval
    """Mean KL(A || B), nats."""
    same_top: Interval
    tokens: int


@dataclass(frozen=True)
class Comparison:
    """Model A against model B on the same rows."""

    rows: int
    accuracy_gain: Interval | None
    """Share that B has right, less A's; None where a row is neither right nor wrong."""
    only_first: int
    only_second: int
    p_value: float | None
    """McNemar's exact test; None without right and wrong."""
    loss_gain: Interval
    """Nats per row that B finds the rows likelier than A does."""
    agreement: Agreement | None
    """None for unlike vocabularies."""
    most_different: tuple[int, ...]
    """Numbers of the rows that the models judge most differently, the most different first."""

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready mapping."""
        found: dict[str, Any] = {"rows": self.rows}
        if self.accuracy_gain is not None:
            found |= {
                "accuracy_gain": self.accuracy_gain.to_dict(),
                "only_first_right": self.only_first,
                "only_second_right": self.only_second,
                "mcnemar_p": self.p_value,
            }
        found["loss_gain"] = self.loss_gain.to_dict()
        if self.agreement is not None:
            found["kl_divergence"] = self.agreement.divergence.to_dict()
            found["same_top"] = self.agreement.same_top.to_dict()
            found["tokens"] = self.agreement.tokens
        return found | {"most_different": list(self.most_different)}


def compare(
    task: Task,
    first: Sequence[Result],
    second: Sequence[Result],
    agreement: Agreement | None = None,
) -> Comparison:
    """Compare two models by their results on the same rows, at least one."""
    pairs = list(zip(first, second, strict=True))
    gains = [_likelihood(task, b) - _likelihood(task, a) for a, b in pairs]
    right = [(task.is_right(a), task.is_right(b)) for a, b in pairs]
    order = sorted(range(len(pairs)), key=lambda at: -abs(gains[at]))
    has_right = None not in right[0]
    only_first = sum(bool(a) and not b for a, b in right)
    only_second = sum(bool(b) and not a for a, b in right)
    return Comparison(
        rows=len(pairs),
        accuracy_gain=mean([float(bool(b)) - bool(a) for a, b in right]) if has_right else None,
        only_first=only_first,
        only_second=only_second,
        p_value=mcnemar(only_first, only_second) if has_right else None,
        loss_gain=mean(gains),
        agreement=agreement,
        most_different=tuple(order[:_DIFFERENT_ROWS]),
    )


def agreement(
    first: Any, second: Any, task: Task, rows: Sequence[RawRow], settings: Settings
) -> Agreement | None:
    """How far the distributions of two language models are apart on the texts of rows."""
    if first.tokenizer.get_vocab() != second.tokenizer.get_vocab():
        return None
    one, other = first.scorer(), second.scorer()
    texts = TextScorer(one, first.tokenizer, bos=settings.bos)
    size = len(first.tokenizer)
    divergences: list[float] = []
    lengths: list[int] = []
    same = 0
    for row in rows:
        nats, tokens = 0.0, 0
        for text in task.texts(row):
            for request in texts.requests(text, settings.stride):
                mine, theirs = one.tables(request)[:, :size], other.tables(request)[:, :size]
                nats += float((mine.exp() * (mine - theirs)).double().sum())
                same += int((mine.argmax(dim=-1) == theirs.argmax(dim=-1)).sum())
                tokens += len(request.target_ids)
        divergences.append(nats)
        lengths.append(tokens)
    total = sum(lengths)
    return Agreement(ratio(divergences, lengths), share(same, total), total)


def _likelihood(task: Task, result: Result) -> float:
    """The log-likelihood of what is right in a row: its text, target or answer."""
    value = result["log_likelihood"]
    return float(value[result["gold"]] if isinstance(value, list) else value)
