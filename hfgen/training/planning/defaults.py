"""What a run is given when nobody says: epochs, batch, learning rate, when to validate and save.

Rules of thumb, found by measuring (see `defaults_for`); every one of them is a flag as well. It
knows numbers only, no data and no model.

Sources: Hu et al. 2021 (LoRA), Dettmers et al. 2023 (QLoRA, 2e-4 for 7 billion weights).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from hfgen.training.options.common import Method

# Weights of the model that the rates were measured with, the rate, and how it falls with the size.
_MEASURED_WEIGHTS = 3_550_000
_FULL_RATE, _FULL_POWER = 1e-3, 0.6
_ADAPTER_RATE, _ADAPTER_POWER = 3e-3, 0.36

_FEW_ROWS, _MOST_EPOCHS, _USUAL_EPOCHS = 500, 10, 3
# From so many rows, or so many tokens, on: that many epochs.
_MANY = ((60_000, 30_000_000, 1), (20_000, 10_000_000, 2))
# Up to so many rows: that many of them in a step.
_BATCHES = ((1_000, 4), (10_000, 8), (50_000, 16))
_LARGEST_BATCH = 32
_WARMUP = 0.05

_EVALUATIONS = 10
_SHORTEST, _LONGEST = 10, 1_000
_PATIENCE, _LEAST_PATIENCE = 0.3, 3


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
    """Choose for so many rows and tokens of training data, and weights of the whole model.

    - Epochs: 3; of fewer than 167 rows 500 / rows, at most 10; 2 from 20,000 rows or 10 million
      tokens on, 1 from 60,000 or 30 million on. With 100 rows of queries, or of sums, validation
      loss still fell in the tenth epoch; with 100 rows of prose it rose from the third on, which
      does no harm where rows are held out, since the best is kept.
    - Rows of a step: 4 up to 1,000 rows, then 8, 16 from 10,001 and 32 from 50,001 on. In the same
      number of epochs smaller batches learned more from 100 and from 450 rows (prose: as much).
    - Learning rate, full: 1e-3 for 3.5 million weights and 1e-4 for 135 million did best; a third
      and three times as much were worse, but for one data set of three. Between and beyond them
      1e-3 x (3.55e6 / weights) ** 0.6, which is 1e-5 for 7 billion. Adapters: 3e-3 did well for
      3.5 million (1e-3 worse, 1e-2 as well), and the power 0.36 leads from there to the 2e-4 of
      QLoRA's authors for 7 billion.
    - Warmup: the first 5 % of the steps.
    """
    return Defaults(
        epochs=_epochs(rows, tokens),
        effective_batch=next((n for most, n in _BATCHES if rows <= most), _LARGEST_BATCH),
        learning_rate=_learning_rate(parameters, method),
        warmup=_WARMUP,
    )


def intervals(steps: int) -> tuple[int, int]:
    """Return after how many steps each to validate and to save, for a run of `steps`.

    Ten times a run, but not more often than every 10 steps, and at least every 1,000: a run that
    breaks off loses no more. Saving goes with validating, since the best is kept.
    """
    every = min(max(_SHORTEST, math.ceil(steps / _EVALUATIONS)), _LONGEST, max(1, steps))
    return every, every


def patience(steps: int, eval_steps: int) -> int:
    """Return how many evaluations in a row may be no better than the best, in a run of `steps`.

    Those of three tenths of the run, at least three. In full runs of ten evaluations (300 rows of
    sentiments, the 84 of moods) the best came at half the run: three stop at 0.8 of it and lose
    nothing; with one, the run on sentiments would have stopped at a worse one, after 0.3.
    """
    return max(_LEAST_PATIENCE, math.ceil(_PATIENCE * steps / eval_steps))


def _epochs(rows: int, tokens: int) -> int:
    for many_rows, many_tokens, epochs in _MANY:
        if rows >= many_rows or tokens >= many_tokens:
            return epochs
    return min(_MOST_EPOCHS, max(_USUAL_EPOCHS, round(_FEW_ROWS / max(1, rows))))


def _learning_rate(parameters: int, method: Method) -> float:
    """The rate, with one digit; smaller models than the one measured get no more."""
    full = method == "full"
    rate, power = (_FULL_RATE, _FULL_POWER) if full else (_ADAPTER_RATE, _ADAPTER_POWER)
    ratio = min(1.0, _MEASURED_WEIGHTS / max(1, parameters))
    return float(f"{rate * ratio**power:.0e}")
