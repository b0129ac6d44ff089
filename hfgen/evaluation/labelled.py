"""Classification measured on labelled rows: accuracy, macro-F1, confusion, calibration error.

Macro-F1 is the mean of the F1 of all labels that are right or chosen anywhere, as in scikit-learn.
The expected calibration error compares confidence with accuracy in ten bins of equal width (Guo et
al. 2017, "On Calibration of Modern Neural Networks", section 2). A text without a label (below
`--min-confidence`) is not right, and its confidence counts as it is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from hfgen.errors import DataError
from hfgen.evaluation.statistics import Interval, bootstrap, share
from hfgen.evaluation.task import Metric, Report

NO_LABEL = "(none)"
_BINS = 10


@dataclass(frozen=True)
class Labelled:
    """What became of one labelled row."""

    gold: str
    label: str | None
    most_likely: str
    confidence: float


@dataclass(frozen=True)
class LabelReport:
    """What an evaluation of a classifier found."""

    report: Report
    confusion: Mapping[str, Mapping[str, int]]
    """Right label → chosen label → rows."""

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready mapping."""
        confusion = {gold: dict(row) for gold, row in self.confusion.items()}
        return {**self.report.to_dict(), "confusion": confusion}


def label_report(
    model: str, labels: Sequence[str], rows: Sequence[Labelled], method: dict[str, Any]
) -> LabelReport:
    """Judge rows. Raises `DataError` where there are none, or one has an unknown label."""
    if not rows:
        raise DataError("no rows to evaluate", hint="rows need a text and a label")
    for row in rows:
        if row.gold not in labels:
            raise DataError(f"{row.gold!r} is none of the labels", hint="add it to --labels")
    right = np.array([row.label == row.gold for row in rows], dtype=np.float64)
    answered = sum(row.label is not None for row in rows)
    most = max(labels, key=lambda label: sum(row.gold == label for row in rows))
    common = sum(row.gold == most for row in rows)
    metrics = [
        Metric("accuracy", share(right.sum(), len(rows)), "labels that are right", True),
        Metric("macro_f1", macro_f1(rows, labels), "mean over labels", True),
        Metric(
            "calibration_error",
            calibration_error(rows),
            "confidence off accuracy, over ten bins",
            True,
        ),
        Metric("majority", share(common, len(rows)), f"by always choosing {most}", True),
    ]
    if answered < len(rows):
        metrics.append(Metric("answered", share(answered, len(rows)), "texts with a label", True))
        if answered:
            hits = share(right.sum(), answered)
            metrics.append(Metric("accuracy_answered", hits, "right among these", True))
    report = Report("classify", model, len(rows), tuple(metrics), method)
    return LabelReport(report, confusion(rows, labels))


def macro_f1(rows: Sequence[Labelled], labels: Sequence[str]) -> Interval:
    """The mean F1 over labels, with its bootstrap interval."""
    number = {label: at for at, label in enumerate(labels)}
    size = len(labels) + 1
    gold = np.array([number[row.gold] for row in rows])
    chosen = np.array([number.get(row.label or "", size - 1) for row in rows])
    cells = gold * size + chosen

    def f1(which: np.ndarray) -> float:
        table = np.bincount(cells[which], minlength=size * size).reshape(size, size)
        both = (table.sum(axis=0) + table.sum(axis=1))[:-1]
        values = 2 * np.diag(table)[:-1] / np.maximum(1, both)
        return float(values[both > 0].mean())

    return bootstrap(f1, len(rows))


def calibration_error(rows: Sequence[Labelled]) -> Interval:
    """The expected calibration error of the most likely labels, with its bootstrap interval."""
    confidence = np.array([row.confidence for row in rows])
    right = np.array([row.most_likely == row.gold for row in rows], dtype=np.float64)
    bins = np.minimum((confidence * _BINS).astype(int), _BINS - 1)
    gap = confidence - right

    def error(which: np.ndarray) -> float:
        sums = np.bincount(bins[which], weights=gap[which], minlength=_BINS)
        return float(np.abs(sums).sum() / len(which))

    return bootstrap(error, len(rows), is_biased=True)


def confusion(rows: Sequence[Labelled], labels: Sequence[str]) -> dict[str, dict[str, int]]:
    """How often each right label was given which; the column of no label only where it is used."""
    columns = [*labels, *([NO_LABEL] if any(row.label is None for row in rows) else [])]
    table = {gold: dict.fromkeys(columns, 0) for gold in labels}
    for row in rows:
        table[row.gold][row.label or NO_LABEL] += 1
    return table
