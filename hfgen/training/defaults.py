"""What a run is given when nobody says: epochs, batch, learning rate, when to validate and save.

Rules of thumb, found by measuring (see `defaults_for`); every one of them is a flag as well. It
knows numbers only, no data and no model.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from hfgen.training.run_options import Method

_FULL_ANCHOR = (3_550_000, 1e-3)
_ADAPTER_ANCHOR = (3_550_000, 3e-3)
_EVALUATIONS = 10
_MIN_INTERVAL = 10


@dataclass(frozen=True)
class Defaults:
    """The choices that depend on data and model."""

    epochs: float
    effective_batch: int
    """Rows of one optimizer step, over all batches and processes."""
    learning_rate: float
    """The highest, after the warmup."""
    warmup: float
    """The part of all steps in which the rate rises."""
    rows_at_once: int = 8
    """At most so many rows are computed at once, if nobody says how many."""


def defaults_for(rows: int, tokens: int, parameters: int, method: Method) -> Defaults:
    """Choose for so many rows and tokens of training data, and weights of the whole model."""
    return Defaults(
        epochs=5 if rows <= 300 else 3 if rows <= 20_000 else 2 if rows <= 60_000 else 1,
        effective_batch=4 if rows <= 300 else 8 if rows <= 3_000 else 16 if rows <= 30_000 else 32,
        learning_rate=_learning_rate(parameters, method),
        warmup=0.05,
    )


def intervals(steps: int) -> tuple[int, int]:
    """Return after how many steps each to validate and to save."""
    every = max(_MIN_INTERVAL, math.ceil(steps / _EVALUATIONS))
    return every, every


def _learning_rate(parameters: int, method: Method) -> float:
    size, rate = _FULL_ANCHOR if method == "full" else _ADAPTER_ANCHOR
    power = 0.65 if method == "full" else 0.4
    found = rate * (size / max(1, parameters)) ** power
    return float(f"{min(found, rate):.1g}")
