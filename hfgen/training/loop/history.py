"""The Trainer's log of a run, which travels with its checkpoints, as steps and evaluations."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

from hfgen.training.events import Evaluation, Sample
from hfgen.training.report.record import StepFacts

Log = Mapping[str, Any]


def steps(history: Iterable[Log]) -> list[StepFacts]:
    """The optimizer steps, in order."""
    names = ("epoch", "learning_rate", "grad_norm", "tokens_per_s")
    return [
        StepFacts(int(log["step"]), float(log["loss"]), *(log.get(name) for name in names))
        for log in history
        if "loss" in log
    ]


def evaluations(history: Iterable[Log], *, to_beat: float = math.inf) -> list[Evaluation]:
    """The evaluations, in order; `is_best` is what it was at the time.

    `to_beat` is the loss before the first step, where that is a candidate.
    """
    found: list[Evaluation] = []
    lowest = to_beat
    for log in history:
        if "eval_loss" in log:
            loss = float(log["eval_loss"])
            samples = samples_of(log.get("samples", ()))
            bits = log.get("bits_per_byte")
            right = log.get("eval_accuracy")
            found.append(Evaluation(int(log["step"]), loss, loss < lowest, samples, bits, right))
            lowest = min(lowest, loss)
    return found


def evaluation_of(values: Log) -> Evaluation:
    """An evaluation from what `dataclasses.asdict` made of it."""
    return Evaluation(
        step=int(values.get("step", 0)),
        loss=values.get("loss"),
        is_best=bool(values.get("is_best")),
        samples=samples_of(values.get("samples", ())),
        bits_per_byte=values.get("bits_per_byte"),
        accuracy=values.get("accuracy"),
    )


def samples_of(values: Iterable[Log]) -> tuple[Sample, ...]:
    """Samples from plain data."""
    return tuple(Sample(**value) for value in values)
