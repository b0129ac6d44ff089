"""Evaluations for people."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hfgen.evaluation.compare import Comparison
    from hfgen.evaluation.statistics import Interval
    from hfgen.evaluation.task import Metric, Report


def as_text(report: Report) -> str:
    """A line for each figure, with its 95 % interval."""
    lines = [f"{report.task}: {report.model} on {report.rows:,} row{'s' * (report.rows != 1)}"]
    lines += [f"  {one.name:<16}{shown(one):<28}{one.meaning}" for one in report.metrics]
    return "\n".join([*lines, f"  {_method(report)}", ""])


def comparison_text(
    reports: Sequence[Report], comparison: Comparison, places: Sequence[str]
) -> str:
    """Both models' figures side by side, then how they differ."""
    first, second = reports
    lines = [f"{first.task}: A {first.model}, B {second.model}, {first.rows:,} rows"]
    for one, other in zip(first.metrics, second.metrics, strict=True):
        lines.append(f"  {one.name:<16}A {shown(one):<28}B {shown(other)}")
    if comparison.accuracy_gain is not None and comparison.p_value is not None:
        gain = _percent(comparison.accuracy_gain, sign="+")
        lines.append(f"  accuracy, B - A  {gain}")
        lines.append(
            f"  right in one     A alone {comparison.only_first}, B alone "
            f"{comparison.only_second}; McNemar p = {comparison.p_value:.3g}"
        )
    lines.append(f"  log-likelihood, B - A  {_number(comparison.loss_gain, sign='+')} nats per row")
    if comparison.agreement is None:
        lines.append("  distributions not compared: the vocabularies differ")
    else:
        same = comparison.agreement
        lines.append(f"  KL(A || B)       {_number(same.divergence)} nats per token")
        lines.append(f"  same top token   {_percent(same.same_top)} of {same.tokens:,} tokens")
    lines.append(f"  most different rows: {', '.join(places)}")
    return "\n".join([*lines, f"  {_method(first)}", ""])


def shown(metric: Metric) -> str:
    """A figure with its interval."""
    return _percent(metric.interval) if metric.is_share else _number(metric.interval)


def _percent(interval: Interval, sign: str = "") -> str:
    low, value, high = (100 * x for x in (interval.low, interval.value, interval.high))
    return f"{value:{sign}.1f}% [{low:{sign}.1f}, {high:{sign}.1f}]"


def _number(interval: Interval, sign: str = "") -> str:
    low, value, high = interval.low, interval.value, interval.high
    return f"{value:{sign}.4g} [{low:{sign}.4g}, {high:{sign}.4g}]"


def _method(report: Report) -> str:
    parts = ["95% intervals"]
    if report.method.get("window") is not None:
        parts.append(f"window {report.method['window']:,}, stride {report.method['stride']:,}")
    return ", ".join([*parts, str(report.method["dtype"])])
