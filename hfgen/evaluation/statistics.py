"""Intervals and paired tests.

Shares get Wilson's interval, which stays honest near 0 and 1 and for few rows (Wilson 1927); means
and ratios the percentile bootstrap over rows (Efron 1979). All are 95 % intervals. Random numbers
come from a fixed seed, so that the same rows give the same interval.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

LEVEL = 0.95
_Z = 1.959963984540054
_RESAMPLES = 2000
_AT_ONCE = 2**22
_SEED = 20_251_128


@dataclass(frozen=True)
class Interval:
    """A value and the ends of its 95 % interval."""

    value: float
    low: float
    high: float

    def to_dict(self) -> dict[str, float]:
        """A JSON-ready mapping."""
        return {"value": self.value, "low": self.low, "high": self.high}


def share(hits: float, count: int) -> Interval:
    """The share of hits, with Wilson's interval. `count` is at least 1; a tie is half a hit."""
    value = hits / count
    scale = 1 + _Z**2 / count
    centre = (value + _Z**2 / (2 * count)) / scale
    half = _Z * math.sqrt(value * (1 - value) / count + _Z**2 / (4 * count**2)) / scale
    return Interval(value, max(0.0, min(value, centre - half)), min(1.0, max(value, centre + half)))


def ratio(numerators: Sequence[float], denominators: Sequence[float]) -> Interval:
    """The ratio of two sums over rows, with the bootstrap interval; rows are drawn whole."""
    top = np.asarray(numerators, dtype=np.float64)
    bottom = np.asarray(denominators, dtype=np.float64)
    found = [top[rows].sum(axis=1) / bottom[rows].sum(axis=1) for rows in _resamples(len(top))]
    low, high = np.percentile(np.concatenate(found), [100 * (1 - LEVEL) / 2, 50 + 50 * LEVEL])
    return Interval(float(top.sum() / bottom.sum()), float(low), float(high))


def mean(values: Sequence[float]) -> Interval:
    """The mean over rows, with the bootstrap interval."""
    return ratio(values, [1.0] * len(values))


def bootstrap(
    statistic: Callable[[np.ndarray], float], count: int, *, is_biased: bool = False
) -> Interval:
    """A statistic of rows, which is given their numbers, with the bootstrap interval.

    `is_biased` is for a statistic that noise only raises, as a mean of absolute values: resamples
    have more of it than the rows, and the interval is the basic one, mirrored at the value (Davison
    and Hinkley 1997, section 5.2), with no end below 0.
    """
    value = statistic(np.arange(count))
    found = [statistic(rows) for part in _resamples(count) for rows in part]
    low, high = map(float, np.percentile(found, [100 * (1 - LEVEL) / 2, 50 + 50 * LEVEL]))
    if is_biased:
        low, high = max(0.0, 2 * value - high), max(0.0, 2 * value - low)
    return Interval(value, low, high)


def mcnemar(only_first: int, only_second: int) -> float:
    """The exact two-sided p-value of two models' right answers on the same rows.

    Of the rows that one model alone has right, each falls to either by chance if the models are
    equally good (McNemar 1947; exact binomial form).
    """
    count = only_first + only_second
    fewer = min(only_first, only_second)
    tail = sum(math.comb(count, k) for k in range(fewer + 1)) / 2**count
    return float(min(1.0, 2 * tail))


def _resamples(count: int) -> Iterator[np.ndarray]:
    """Row numbers of all resamples, (R, count) in parts that memory bears."""
    draw = np.random.default_rng(_SEED)
    each = max(1, _AT_ONCE // count)
    for done in range(0, _RESAMPLES, each):
        yield draw.integers(0, count, size=(min(each, _RESAMPLES - done), count), dtype=np.int32)
