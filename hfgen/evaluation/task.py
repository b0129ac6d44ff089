"""`Task`: which texts of a row to score, and what their scores say."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

from hfgen.evaluation.statistics import Interval
from hfgen.scoring.asked import By, ScoredText
from hfgen.training.reading.rows import RawRow

if TYPE_CHECKING:
    from hfgen.scoring.texts import TextScore

Result = dict[str, Any]
"""What a row's scores say, JSON-ready; a report is made of nothing else."""


@dataclass(frozen=True)
class Metric:
    """One figure of a report."""

    name: str
    interval: Interval
    meaning: str
    """In a few words, for people."""
    is_share: bool = False
    """Whether it is shown in per cent."""


@dataclass(frozen=True)
class Report:
    """What an evaluation found."""

    task: str
    model: str
    rows: int
    metrics: tuple[Metric, ...]
    method: dict[str, Any] = field(default_factory=dict)
    """What the figures depend on."""

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready mapping."""
        return {
            "task": self.task,
            "model": self.model,
            "rows": self.rows,
            "metrics": {metric.name: metric.interval.to_dict() for metric in self.metrics},
            "method": self.method,
        }


class Task(ABC):
    """A kind of evaluation."""

    name: ClassVar[str]
    by: ClassVar[By] = "text"
    """The units whose scores `judge` needs."""

    @abstractmethod
    def texts(self, row: RawRow) -> list[ScoredText]:
        """The texts of a row to score. Raises `DataError` for a row that is not of this kind."""

    @abstractmethod
    def judge(self, row: RawRow, scores: Sequence[TextScore]) -> Result:
        """What the scores of its texts say of a row."""

    @abstractmethod
    def metrics(self, results: Sequence[Result]) -> list[Metric]:
        """The figures over all rows, of which there is at least one."""

    def is_right(self, result: Result) -> bool | None:
        """Whether the model has a row right, where the task knows right from wrong."""
        return None


def text_of(row: RawRow, name: str) -> str:
    """A value of a row that must be a text that is not empty."""
    value = row.values.get(name)
    if not isinstance(value, str) or not value:
        raise row.error(f"{name} must be a text")
    return value
