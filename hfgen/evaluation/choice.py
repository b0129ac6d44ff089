"""Choice: which of several answers a model finds most likely."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from hfgen.evaluation.statistics import mean, share
from hfgen.evaluation.task import Metric, Result, Task, text_of
from hfgen.scoring.asked import ScoredText
from hfgen.training.reading.rows import RawRow

if TYPE_CHECKING:
    from hfgen.scoring.texts import TextScore

_NORMS = {
    "accuracy": ("log_likelihood", "by log-likelihood"),
    "accuracy_norm": ("per_character", "by log-likelihood per character"),
    "accuracy_byte": ("per_byte", "by log-likelihood per byte"),
}


class Choice(Task):
    """Rows have `query`, `choices` and `gold`, or `context_options`, `continuation` and `gold`.

    An answer is joined to what comes before it by a blank, unless one of the two brings it. With
    `context_options` the same continuation is scored after each (partial evaluation).
    """

    name = "choice"

    def texts(self, row: RawRow) -> list[ScoredText]:
        """Each answer after its context."""
        values = row.values
        if "context_options" in values:
            continuation = text_of(row, "continuation")
            pairs = [(context, continuation) for context in _list(row, "context_options")]
        else:
            choices = _list(row, "choices")
            query = text_of(row, "query" if "query" in values else "context")
            pairs = [(query, choice) for choice in choices]
        gold = values.get("gold", values.get("label"))
        if type(gold) is not int or not 0 <= gold < len(pairs):
            raise row.error(f"gold must be the number of an answer, 0 to {len(pairs) - 1}")
        return [_joined(context, answer) for context, answer in pairs]

    def judge(self, row: RawRow, scores: Sequence[TextScore]) -> Result:
        """The answers' log-likelihoods, and which of them is chosen by each length."""
        likelihoods = [score.log_likelihood for score in scores]
        answers = [score.text.strip() for score in scores]
        found: dict[str, Any] = {
            "gold": row.values.get("gold", row.values.get("label")),
            "log_likelihood": likelihoods,
            "per_character": _divided(likelihoods, [len(a) for a in answers]),
            "per_byte": _divided(likelihoods, [len(a.encode()) for a in answers]),
        }
        found["chosen"] = {name: _best(found[key]) for name, (key, _) in _NORMS.items()}
        return found

    def metrics(self, results: Sequence[Result]) -> list[Metric]:
        """Accuracies, and what guessing gives."""
        metrics = []
        for name, (_, meaning) in _NORMS.items():
            hits = sum(result["chosen"][name] == result["gold"] for result in results)
            metrics.append(Metric(name, share(hits, len(results)), meaning, True))
        chance = mean([1 / len(result["log_likelihood"]) for result in results])
        return [*metrics, Metric("chance", chance, "by guessing", True)]

    def is_right(self, result: Result) -> bool:
        """By log-likelihood."""
        return bool(result["chosen"]["accuracy"] == result["gold"])


def _list(row: RawRow, name: str) -> list[str]:
    value = row.values.get(name)
    is_texts = isinstance(value, list) and all(isinstance(one, str) and one for one in value)
    if not isinstance(value, list) or not is_texts or len(value) < 2:
        raise row.error(
            f"{name} must be a list of two texts or more",
            hint='write {"query": …, "choices": […], "gold": 0}',
        )
    return value


def _joined(context: str, answer: str) -> ScoredText:
    has_blank = answer[:1].isspace() or context[-1:].isspace()
    return ScoredText(answer if has_blank else " " + answer, context)


def _divided(values: Sequence[float], lengths: Sequence[int]) -> list[float]:
    return [value / max(1, length) for value, length in zip(values, lengths, strict=True)]


def _best(values: Sequence[float]) -> int:
    return max(range(len(values)), key=values.__getitem__)
