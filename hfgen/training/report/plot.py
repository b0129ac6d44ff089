"""`draw`: the losses of a run as a picture.

Training loss is drawn faint, its moving average over it, validation as points, the best one
marked. Knows what matplotlib needs and nothing of files; matplotlib is an extra, and no state of
it outlasts a call.
"""

from __future__ import annotations

import io
import logging
import math
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
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
_FEW_POINTS = 40
"""Runs of at most so many steps show each step as a point."""
_WINDOW_PART = 50
"""The moving average is over this part of the run."""
_TRAINING, _VALIDATION, _BEST, _GREY = "#3b6ea8", "#d9822b", "#b3261e", "#666666"

Floats = NDArray[np.float64]


def draw(report: RunReport, path: Path) -> bool:
    """Draw a run's losses to a PNG file; False (and no file) where matplotlib is not installed.

    Raises `OSError` when the file cannot be written.
    """

    def paint(axes: Any) -> None:
        draw_losses(axes, report)
        _label(axes, report)

    return picture(path, paint)


def picture(
    path: Path, paint: Callable[[Any], None], size_in: tuple[float, float] = _SIZE_IN
) -> bool:
    """Have `paint` draw into a plot's axes, and write a PNG file; as `draw`."""
    with _silence():
        try:
            from matplotlib import rc_context, rcParamsDefault
            from matplotlib.figure import Figure
        except (ImportError, ValueError):  # ValueError: a MPLBACKEND that does not exist
            return False
        # The user's style is made for other plots, and may ask for a LaTeX that is not installed.
        style = {name: value for name, value in rcParamsDefault.items() if "backend" not in name}
        stream = io.BytesIO()
        # Agg cannot fill a path of a million points in one go.
        with rc_context(style | {"agg.path.chunksize": 10_000}):
            figure = Figure(figsize=size_in, dpi=_DPI, layout="constrained")
            paint(figure.add_subplot())
            figure.savefig(stream, format="png")
    write_whole(path, stream.getvalue())
    return True


def draw_losses(axes: Any, report: RunReport) -> None:
    """Put the curves and marks of a run into a plot."""
    by_step = {s.step: s.loss for s in report.steps}  # a step that was done twice counts once
    x = np.array(sorted(by_step), dtype=np.float64)
    y = np.array([by_step[step] for step in sorted(by_step)], dtype=np.float64)  # None becomes NaN
    y[~np.isfinite(y)] = math.nan
    points = np.array([(e.step, e.loss) for e in report.evaluations if _is_number(e.loss)])
    window = max(1, len(y) // _WINDOW_PART)
    name = "training loss"
    if window > 1:
        axes.plot(x, y, color=_TRAINING, alpha=0.4, lw=0.8, label=f"{name}, each step")
        name = f"its average over {window:,} steps"
    marks = "o-" if len(y) <= _FEW_POINTS else "-"
    axes.plot(x, moving_average(y, window), marks, color=_TRAINING, lw=2, label=name)
    if len(points):
        axes.plot(*points.T, "o-", color=_VALIDATION, label="validation loss", zorder=4)
    for step, loss in points:
        if step == report.best_step:
            label = f"best: {loss:.3f} at step {step:,.0f}"
            axes.plot(step, loss, "*", color=_BEST, ms=18, mec="white", zorder=5, label=label)
    for number, step in enumerate(report.resumed_from):
        label = "" if number else "resumed"
        axes.axvline(step, color=_GREY, ls=":", lw=1.5, label=label)
    if len(missing := x[np.isnan(y)]):
        axes.plot(
            missing, np.full(len(missing), 0.02), "x", color=_BEST,
            transform=axes.get_xaxis_transform(),
            label=f"loss is not a number: {len(missing):,} steps",
        )  # fmt: skip
    _limit(axes, y[~np.isnan(y)], points)


def moving_average(values: Floats, width: int) -> Floats:
    """The mean of the `width` values around each, fewer at the ends; NaN are left out."""
    is_there = ~np.isnan(values)
    sums = np.concatenate([[0.0], np.cumsum(np.where(is_there, values, 0.0))])
    counts = np.concatenate([[0], np.cumsum(is_there)])
    places = np.arange(len(values))
    start = np.maximum(0, places - width // 2)
    stop = np.minimum(len(values), places + (width + 1) // 2)
    means = (sums[stop] - sums[start]) / np.maximum(1, counts[stop] - counts[start])
    return np.where(is_there, means, math.nan)


def _limit(axes: Any, losses: Floats, points: Floats) -> None:
    """Leave single steps far off outside, so that they do not flatten the rest."""
    if len(losses) > _FEW_POINTS:
        quarter, most = np.percentile(losses, [25, 95])
        losses = losses[losses <= most + 1.5 * (most - quarter)]
    shown = np.concatenate([losses, points[:, 1] if len(points) else []])
    if len(shown):
        low, high = float(shown.min()), float(shown.max())
        room = 0.06 * (high - low) or 0.05 * abs(high) or 1.0
        axes.set_ylim(max(low - room, 0.0) if low >= 0 else low - room, high + room)


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
    first, last = math.fsum(losses[:width]) / width, math.fsum(losses[-width:]) / width
    has_validation = any(e.loss is not None for e in report.evaluations)
    return f"Training loss {first:.3f} → {last:.3f}" + ", no validation" * (not has_validation)


def _is_number(loss: float | None) -> bool:
    return loss is not None and math.isfinite(loss)


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
