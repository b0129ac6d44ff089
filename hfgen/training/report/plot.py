"""`draw`: the losses of a run as a picture.

Training loss is drawn faint, its moving average over it, validation as points, the best one
marked; a run of any length is first reduced to as many points as can be told apart. Knows what
matplotlib needs and nothing of files; matplotlib is an extra, and no state of it outlasts a call.
"""

from __future__ import annotations

import io
import itertools
import logging
import math
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from hfgen.atomic import write_whole
from hfgen.models.sizing.quantities import in_digits

if TYPE_CHECKING:
    from hfgen.training.report.record import RunReport

WITHOUT_MATPLOTLIB = "no loss.png: pip install 'hfgen[train]' for the plot"
"""What the user is told when `draw` could not."""

_SIZE_IN, _DPI = (10.0, 6.25), 120  # 1200 × 750 pixels
_MOST_POINTS = 800
_FEW_POINTS = 40
"""Runs of at most so many steps show each step as a point."""
_WINDOW_PART = 50
"""The moving average is over this part of the run."""
_TRAINING, _VALIDATION, _BEST, _GREY = "#3b6ea8", "#d9822b", "#b3261e", "#666666"

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Curve:
    """Losses by step, reduced to a number of points that can be drawn."""

    steps: Floats
    lowest: Floats
    highest: Floats
    """Of the steps that a point stands for; NaN where none of them has a loss."""
    smooth: Floats
    missing: Floats
    """Steps whose loss is not a number."""
    window: int
    """How many steps are averaged."""


def draw(report: RunReport, path: Path) -> bool:
    """Draw a run's losses to a PNG file; False (and no file) where matplotlib is not installed.

    Raises `OSError` when the file cannot be written.
    """
    with _silence():
        try:
            import matplotlib  # noqa: F401
        except (ImportError, ValueError):  # ValueError: a MPLBACKEND that does not exist
            return False
        data = _picture(report)
    write_whole(path, data)
    return True


def curve(steps: Sequence[int], losses: Sequence[float | None]) -> Curve:
    """Reduce losses to at most `_MOST_POINTS` points; a step that was done twice counts once."""
    last = dict(zip(steps, losses, strict=True))
    done = sorted(last)
    x = np.array(done, dtype=np.float64)
    y = np.array([last[step] for step in done], dtype=np.float64)  # None becomes NaN
    y[~np.isfinite(y)] = math.nan
    window = max(1, len(y) // _WINDOW_PART)
    smooth = _moving_average(y, window)
    edges = np.unique(np.linspace(0, len(y), min(len(y), _MOST_POINTS) + 1).astype(int))[:-1]
    is_gap = np.isnan(y)
    low = np.minimum.reduceat(np.where(is_gap, np.inf, y), edges) if len(y) else y
    high = np.maximum.reduceat(np.where(is_gap, -np.inf, y), edges) if len(y) else y
    is_empty = ~np.isfinite(low)
    low, high = np.where(is_empty, math.nan, low), np.where(is_empty, math.nan, high)
    ends = np.append(edges[1:], len(y)) - 1 if len(y) else edges
    return Curve(x[ends], low, high, smooth[ends], x[is_gap], window)


def _moving_average(values: Floats, width: int) -> Floats:
    """The mean of the `width` values around each, fewer at the ends; NaN are left out."""
    is_there = ~np.isnan(values)
    sums = np.concatenate([[0.0], np.cumsum(np.where(is_there, values, 0.0))])
    counts = np.concatenate([[0], np.cumsum(is_there)])
    places = np.arange(len(values))
    start = np.maximum(0, places - width // 2)
    stop = np.minimum(len(values), places + (width + 1) // 2)
    number = counts[stop] - counts[start]
    means = (sums[stop] - sums[start]) / np.maximum(1, number)
    return np.where(is_there, means, math.nan)


def _picture(report: RunReport) -> bytes:
    from matplotlib import rc_context, rcParamsDefault
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    # The user's style is made for other plots, and may ask for a LaTeX that is not installed.
    style = {name: value for name, value in rcParamsDefault.items() if "backend" not in name}
    with rc_context(style):
        figure = Figure(figsize=_SIZE_IN, dpi=_DPI, layout="constrained")
        canvas: Any = FigureCanvasAgg(figure)
        axes = figure.add_subplot()
        _draw_losses(axes, report)
        _label(axes, report)
        stream = io.BytesIO()
        canvas.print_png(stream)
    return stream.getvalue()


def _draw_losses(axes: Any, report: RunReport) -> None:
    training = curve([s.step for s in report.steps], [s.loss for s in report.steps])
    points = [
        (e.step, e.loss) for e in report.evaluations if e.loss is not None and math.isfinite(e.loss)
    ]
    if training.window == 1:
        marks = "o-" if len(training.steps) <= _FEW_POINTS else "-"
        axes.plot(
            training.steps, training.smooth, marks, color=_TRAINING, lw=2, label="training loss"
        )
    else:
        axes.fill_between(
            training.steps, training.lowest, training.highest,
            color=_TRAINING, alpha=0.25, lw=0.8, label="training loss, each step",
        )  # fmt: skip
        axes.plot(
            training.steps, training.smooth, color=_TRAINING, lw=2,
            label=f"its average over {training.window:,} steps",
        )  # fmt: skip
    if points:
        axes.plot(*zip(*points, strict=True), "o-", color=_VALIDATION, lw=1.5, ms=6,
                  label="validation loss", zorder=4)  # fmt: skip
        _mark_best(axes, points, report.best_step)
    _mark_steps(axes, report, training)
    _limit(axes, training, points)


def _mark_best(axes: Any, points: list[tuple[int, float]], best_step: int | None) -> None:
    for step, loss in points:
        if step == best_step:
            axes.plot([step], [loss], "*", color=_BEST, ms=18, mec="white", zorder=5,
                      label=f"best: {loss:.3f} at step {step:,}")  # fmt: skip


def _mark_steps(axes: Any, report: RunReport, training: Curve) -> None:
    for number, step in enumerate(report.resumed_from):
        label = None if number else "resumed"
        axes.axvline(step, color=_GREY, ls=":", lw=1.5, label=label)
    if len(training.missing):
        shown = training.missing[:: max(1, len(training.missing) // _MOST_POINTS)]
        axes.plot(
            shown, [0.02] * len(shown), "x", color=_BEST, transform=axes.get_xaxis_transform(),
            label=f"loss is not a number: {len(training.missing):,} steps",
        )  # fmt: skip


def _limit(axes: Any, training: Curve, points: list[tuple[int, float]]) -> None:
    """Leave single steps far off outside, so that they do not flatten the rest."""
    highest = training.highest[np.isfinite(training.highest)]
    lowest = training.lowest[np.isfinite(training.lowest)]
    if not len(highest) and not points:
        return
    both = np.concatenate([lowest, highest])
    shown = np.concatenate([both[both <= _far(both)], [loss for _, loss in points]])
    low, high = float(shown.min()), float(shown.max())
    room = 0.06 * (high - low) or 0.05 * abs(high) or 1.0
    axes.set_ylim(max(low - room, 0.0) if low >= 0 else low - room, high + room)


def _far(values: Floats) -> float:
    """What only a spike exceeds; the high losses of a beginning do not."""
    if len(values) <= _FEW_POINTS:
        return math.inf
    quarter, most = np.percentile(values, [25, 95])
    return float(most + 1.5 * (most - quarter))


def _label(axes: Any, report: RunReport) -> None:
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    axes.set_title(title(report), fontsize=13, loc="left")
    axes.set_xlabel("step")
    axes.set_ylabel("loss (nats per token)")
    last = max(1, report.steps_done, *(s.step for s in report.steps[-1:]))
    axes.set_xlim(-0.02 * last, 1.02 * last)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=8, integer=True))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    if axes.get_legend_handles_labels()[0]:
        axes.legend(frameon=False, loc="best")


def title(report: RunReport) -> str:
    """What came out: perplexity before and after, or the training loss."""
    before, after = report.before.perplexity, report.after.perplexity
    if before is not None and after is not None and math.isfinite(before + after):
        return f"Validation perplexity {in_digits(before)} → {in_digits(after)}"
    losses = [s.loss for s in report.steps if s.loss is not None and math.isfinite(s.loss)]
    if not losses:
        return "No step had a loss"
    width = max(1, len(losses) // 20)
    first = math.fsum(itertools.islice(losses, width)) / width
    last = math.fsum(losses[-width:]) / width
    has_validation = any(e.loss is not None for e in report.evaluations)
    return f"Training loss {first:.3f} → {last:.3f}" + ", no validation" * (not has_validation)


@contextmanager
def _silence() -> Iterator[None]:
    """Keep matplotlib's warnings, and its words about a font cache, from the user."""
    logger = logging.getLogger("matplotlib")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
