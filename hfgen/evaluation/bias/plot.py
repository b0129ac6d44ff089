"""The figures of a bias test as a picture: a point with its interval for each category."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hfgen.evaluation.task import Metric, Report
from hfgen.training.report.plot import picture

_POINT, _HALF = "#3b6ea8", "#b3261e"
_ROW_IN = 0.45


def draw(report: Report, path: Path) -> bool:
    """Draw shares or stereotype scores to a PNG file; False where matplotlib is not installed."""
    shown = [one for one in report.metrics if one.is_share or one.name.endswith(" SS")]

    def paint(axes: Any) -> None:
        places = range(len(shown), 0, -1)
        for place, metric in zip(places, shown, strict=True):
            low, value, high = _percent(metric)
            axes.plot([low, high], [place, place], color=_POINT, lw=2)
            axes.plot(value, place, "o", color=_POINT, ms=7)
        axes.axvline(50, color=_HALF, ls=":", lw=1.5)
        axes.set_yticks(list(places), [f"{one.name} ({one.meaning})" for one in shown])
        axes.set_xlim(0, 100)
        axes.set_xlabel("stereotype likelier, % of pairs, with 95 % intervals; 50 is neither way")
        axes.set_title(f"{report.task}: {report.model}", fontsize=13, loc="left")
        axes.grid(alpha=0.25, axis="x")
        axes.spines[["top", "right"]].set_visible(False)

    return picture(path, paint, (10.0, 1.6 + _ROW_IN * len(shown)))


def _percent(metric: Metric) -> tuple[float, float, float]:
    scale = 100 if metric.is_share else 1
    one = metric.interval
    return scale * one.low, scale * one.value, scale * one.high
