"""Intervals and tests against known values and brute force."""

from __future__ import annotations

import math
from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hfgen.evaluation.statistics import mcnemar, mean, ratio, share


def test_wilson_against_published_values() -> None:
    """Newcombe 1998, table I, method 3."""
    for hits, count, low, high in [
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ]:
        found = share(hits, count)
        assert found.value == hits / count
        assert (found.low, found.high) == pytest.approx((low, high), abs=5e-5)


@given(st.integers(1, 200).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_a_share_lies_in_its_interval(case: tuple[int, int]) -> None:
    found = share(*case)
    assert 0 <= found.low <= found.value <= found.high <= 1


@given(st.integers(0, 6), st.integers(0, 6))
def test_mcnemar_against_all_outcomes(first: int, second: int) -> None:
    """The p-value is the probability of a split at least as uneven, over all equal outcomes."""
    count = first + second
    uneven = abs(first - second)
    outcomes = list(product((0, 1), repeat=count))
    extreme = sum(abs(2 * sum(one) - count) >= uneven for one in outcomes)
    assert mcnemar(first, second) == pytest.approx(min(1.0, extreme / len(outcomes)))


def test_the_bootstrap_of_a_mean_is_near_the_normal_interval() -> None:
    values = np.random.default_rng(1).normal(3, 2, size=2000).tolist()
    found = mean(values)
    half = 1.96 * np.std(values) / math.sqrt(len(values))
    assert found.value == pytest.approx(np.mean(values))
    assert (found.low, found.high) == pytest.approx(
        (found.value - half, found.value + half), abs=half / 8
    )
    assert mean(values) == found


def test_a_ratio_weighs_rows_by_their_length() -> None:
    assert ratio([1, 9], [1, 3]).value == 10 / 4
    assert ratio([2, 4, 6], [1, 2, 3]) == ratio([2], [1])


def test_the_interval_holds_the_truth_about_as_often_as_it_says() -> None:
    draw = np.random.default_rng(2)
    inside = 0
    for _ in range(200):
        found = mean(draw.exponential(1.0, size=60).tolist())
        inside += found.low <= 1.0 <= found.high
    assert 0.86 <= inside / 200 <= 1.0
