"""What a run does when nobody says: batches, steps, warmup, when to validate."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest

from hfgen.training.options.finetune import TrainingOptions
from hfgen.training.planning.plan import Facts, make_plan

FACTS = Facts(
    train_rows=100, train_tokens=10_000, val_rows=16, val_tokens=1_000, parameters=124_000_000,
    max_length=512, processes=1, precision="fp32", batches="dense",
)  # fmt: skip


def plan(facts: Facts = FACTS, **settings: Any) -> Any:
    return make_plan(TrainingOptions(**settings), facts)


@pytest.mark.parametrize("rows", [1, 3, 100, 1_000, 7_000, 100_000])
def test_every_row_is_seen_in_each_epoch(rows: int) -> None:
    made = plan(replace(FACTS, train_rows=rows))
    assert made.steps_per_epoch == math.ceil(
        math.ceil(rows / made.batch_size) / made.gradient_accumulation_steps
    )
    assert made.steps == math.ceil(made.epochs * made.steps_per_epoch)
    assert made.batch_size <= 8 and 1 <= made.eval_steps <= max(10, made.steps)


def test_the_user_decides() -> None:
    made = plan(epochs=2, batch_size=5, gradient_accumulation_steps=4, learning_rate=0.5,
                warmup=3, eval_steps=7, save_steps=2, optim="sgd")  # fmt: skip
    assert (made.batch_size, made.gradient_accumulation_steps, made.steps) == (5, 4, 10)
    assert (made.learning_rate, made.warmup_steps) == (0.5, 3)
    assert (made.eval_steps, made.save_steps) == (7, 2)
    assert made.effective_batch == 20


def test_the_first_limit_of_epochs_and_steps_counts() -> None:
    assert plan(epochs=1, max_steps=1000, batch_size=10).steps == 10
    assert plan(epochs=100, max_steps=7, batch_size=10).steps == 7
    assert plan(max_steps=7, batch_size=10).steps == 7
    assert plan(epochs=0.5, batch_size=10).steps == 5


@pytest.mark.parametrize("processes", [1, 2, 4])
def test_processes_share_the_effective_batch(processes: int) -> None:
    facts = replace(FACTS, train_rows=10_000)
    alone, shared = plan(facts), plan(replace(facts, processes=processes))
    assert shared.effective_batch == alone.effective_batch
    assert shared.steps == alone.steps


def test_accumulation_keeps_the_effective_batch() -> None:
    facts = replace(FACTS, train_rows=10_000)
    assert plan(facts, gradient_accumulation_steps=4).effective_batch == plan(facts).effective_batch


def test_validation_takes_a_fifth_of_the_time_at_most() -> None:
    facts = replace(FACTS, train_rows=7_000, val_rows=1_000)
    made = plan(facts, max_steps=400)
    cost = facts.val_rows / 3 / made.effective_batch
    assert made.eval_steps > 40 and cost <= 0.2 * made.eval_steps
    assert plan(facts, max_steps=400, eval_steps=10).eval_steps == 10


def test_warmup_is_a_part_or_a_number() -> None:
    assert plan(max_steps=200, warmup=0.1).warmup_steps == 20
    assert plan(max_steps=200, warmup=1).warmup_steps == 1
    assert plan(max_steps=200, warmup=0).warmup_steps == 0
