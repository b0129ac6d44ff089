"""Defaults of a run: what was measured, and how they change with data and model."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from hfgen.training.options.finetune import TrainingOptions
from hfgen.training.options.pretrain import ContinuedOptions, PretrainOptions
from hfgen.training.planning.defaults import Defaults, defaults_for, intervals
from hfgen.training.planning.pretrain_defaults import continued_defaults

SIZES = [10**5, 10**6, 3_554_304, 10**7, 30 * 10**6, 124 * 10**6, 10**9, 7 * 10**9, 10**11]
ROWS = [1, 9, 50, 99, 100, 166, 167, 1_000, 1_001, 7_473, 10_001, 20_000, 60_000, 10**5, 10**8]


@pytest.mark.parametrize(
    ("rows", "tokens", "parameters", "method", "expected"),
    [
        (100, 14_000, 3_554_304, "full", Defaults(5, 4, 1e-3, 0.05)),
        (100, 14_000, 134_515_008, "full", Defaults(5, 4, 1e-4, 0.05)),
        (100_000, 14_000_000, 3_554_304, "full", Defaults(1, 32, 1e-3, 0.05)),
        (7_473, 1_900_000, 3_554_304, "lora", Defaults(3, 8, 3e-3, 0.05)),
        (52_000, 5_000_000, 7 * 10**9, "qlora", Defaults(2, 32, 2e-4, 0.05)),
    ],
)
def test_known_cases(
    rows: int, tokens: int, parameters: int, method: Any, expected: Defaults
) -> None:
    assert defaults_for(rows, tokens, parameters, method) == expected


@pytest.mark.parametrize("method", ["full", "lora", "dora", "qlora"])
def test_larger_models_learn_slower(method: Any) -> None:
    rates = [defaults_for(1000, 10**5, size, method).learning_rate for size in SIZES]
    assert rates == sorted(rates, reverse=True)
    assert rates[0] == rates[2] > rates[3]
    assert rates[-1] > 1e-7
    if method != "full":
        full = [defaults_for(1000, 10**5, size, "full").learning_rate for size in SIZES]
        assert all(mine > other for mine, other in zip(rates, full, strict=True))


def test_more_rows_mean_larger_batches_and_fewer_epochs() -> None:
    found = [defaults_for(rows, 100 * rows, 10**8, "full") for rows in ROWS]
    for less, more in itertools.pairwise(found):
        assert less.effective_batch <= more.effective_batch
        assert less.epochs >= more.epochs
    assert {choice.epochs for choice in found} == {10, 5, 3, 2, 1}
    assert {choice.effective_batch for choice in found} == {4, 8, 16, 32}


def test_long_texts_count_by_tokens() -> None:
    epochs = [defaults_for(1000, n * 10**6, 10**8, "full").epochs for n in (1, 10, 30)]
    assert epochs == [3, 2, 1]


def test_every_default_is_a_valid_option() -> None:
    for rows, size, method in itertools.product(ROWS, SIZES, ("full", "lora")):
        found = defaults_for(rows, 100 * rows, size, method)  # type: ignore[arg-type]
        TrainingOptions(
            epochs=found.epochs, batch_size=found.effective_batch,
            learning_rate=found.learning_rate, warmup=found.warmup,
        )  # fmt: skip


def test_nothing_to_divide_by() -> None:
    assert defaults_for(0, 0, 0, "full") == Defaults(10, 4, 1e-3, 0.05)


@pytest.mark.parametrize(
    ("steps", "every"),
    [(1, 1), (9, 9), (10, 10), (99, 10), (100, 10), (101, 11), (2_803, 281), (50_000, 1_000)],
)
def test_intervals(steps: int, every: int) -> None:
    assert intervals(steps) == (every, every)


def test_a_run_is_validated_about_ten_times() -> None:
    for steps in range(1, 10_000, 7):
        every, saved = intervals(steps)
        assert 1 <= every <= steps
        assert saved % every == 0
        assert steps / every <= 10
        assert every == min(10, steps) or steps / every > 8


# Models that are trained further on raw text


def test_a_larger_model_is_trained_further_at_a_smaller_rate() -> None:
    rates = [continued_defaults(size, 512).learning_rate for size in SIZES]
    assert rates == sorted(rates, reverse=True) and rates[0] <= 5e-4
    assert 3e-5 <= continued_defaults(124 * 10**6, 1024).learning_rate <= 1e-4
    assert 4e-6 <= continued_defaults(7 * 10**9, 1024).learning_rate <= 2e-5


def test_it_is_shown_little_text_a_few_times() -> None:
    for size, length in itertools.product(SIZES, (16, 512, 1024, 8192)):
        found = continued_defaults(size, length)
        assert 1 <= found.epochs <= 3 and found.effective_batch >= 1
        PretrainOptions(epochs=found.epochs, learning_rate=found.learning_rate)


def test_muon_is_for_new_models() -> None:
    assert PretrainOptions().value("optim") == "muon"
    assert ContinuedOptions().value("optim") == TrainingOptions().value("optim")
    assert ContinuedOptions(optim="muon").value("optim") == "muon"
