"""A run that takes a given time: its speed is measured, and the number of its steps follows.

Real optimizer steps are made with a copy of the model, the first ones not counted; so are a
checkpoint and a part of a validation. Everything is measured again for each run but never for a
resumed one: the steps are in the run's plan.
"""

from __future__ import annotations

import copy
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from transformers import TrainerCallback

from hfgen.errors import InvalidOption
from hfgen.mentions import mention
from hfgen.models.silence import quiet
from hfgen.models.sizing.quantities import in_time
from hfgen.training.loop.samples import Sampler, sample_prompts
from hfgen.training.options.pretrain import PretrainOptions
from hfgen.training.planning.cost import time_step
from hfgen.training.planning.defaults import intervals
from hfgen.training.request import StopRequest
from hfgen.training.runs.make_trainer import make_trainer
from hfgen.training.runs.prepared import PreparedRun

_WARMUP_STEPS = 2
_MOST_STEPS, _LEAST_STEPS = 30, 3
# The part of the budget that measuring may take, within these seconds.
_PART, _SHORTEST_S, _LONGEST_S = 0.02, 2.0, 60.0
_EVAL_BATCHES = 4


@dataclass(frozen=True)
class Speed:
    """Seconds that the parts of a run take."""

    step_s: float
    pause_s: float
    """A validation with its samples and a checkpoint."""
    left_s: float
    """What is left of the budget."""


def tokens_within(
    prepared: PreparedRun, options: PretrainOptions, folder: Path, device: Any, deadline: float
) -> float:
    """About how many tokens can be learned until then, by the time of a few batches.

    A deadline is a time of `time.monotonic`. All processes of a run get the same result.
    """
    trainer = make_trainer(prepared, replace(options, report_to=None), folder, device)
    plan = prepared.plan
    rows = min(plan.batch_size, plan.train_rows) * plan.processes
    speed = rows * (plan.max_length - 1) / time_step(trainer.try_a_batch, prepared.base.model)
    return -_largest(trainer, [speed * (time.monotonic() - deadline)])[0]


def measure(
    prepared: PreparedRun, options: PretrainOptions, folder: Path, device: Any, deadline: float
) -> Speed:
    """Train a copy of the model for about a fiftieth of the time until then.

    `folder` is empty and takes a checkpoint. All processes of a run get the same result.
    """
    seconds = deadline - time.monotonic()
    base = replace(prepared.base, model=copy.deepcopy(prepared.base.model))
    plan = replace(prepared.plan, steps=10**6, eval_steps=10**6, save_steps=10**6, val_rows=0)
    stop = StopRequest()
    clock = _Clock(stop, min(max(_PART * seconds, _SHORTEST_S), _LONGEST_S))
    trainer = make_trainer(
        replace(prepared, base=base, plan=plan),
        replace(options, report_to=None),
        folder,
        device,
        callbacks=[clock],
        stop=stop,
    )
    with quiet():
        trainer.train()
        saved_s = time.monotonic() - clock.ended
        evaluation_s = _evaluation_s(trainer, prepared)
    pause_s = saved_s + evaluation_s + _sampling_s(base, prepared)
    used_s = time.monotonic() - deadline
    step_s, pause_s, used_s = _largest(trainer, [clock.step_s, pause_s, used_s])
    return Speed(step_s, pause_s, -used_s)


def steps_within(speed: Speed, eval_steps: int | None) -> int:
    """How many steps, validations and checkpoints among them, take the time left; at least 1.

    Raises `InvalidOption` where there is no time for a step.
    """
    seconds = speed.left_s
    steps = seconds / speed.step_s
    for _ in range(2):
        every = eval_steps or intervals(max(1, int(steps)))[0]
        # One validation before the first step; writing the result is about another.
        steps = (seconds - 2 * speed.pause_s) / (speed.step_s + speed.pause_s / every)
    if steps < 1:
        needed = in_time(2 * speed.pause_s + speed.step_s)
        raise InvalidOption(
            "budget", in_time(max(0.0, seconds)), f"more than {needed} for training",
            hint=f"reading the data counts too; use a longer {mention('budget')} or a smaller "
            f"{mention('size')}",
        )  # fmt: skip
    return int(steps)


def _largest(trainer: Any, values: list[float]) -> list[float]:
    """The largest of each value over all processes."""
    found = torch.tensor([values], device=trainer.args.device)
    largest: list[float] = trainer.accelerator.gather(found).max(dim=0).values.tolist()
    return largest


class _Clock(TrainerCallback):  # type: ignore[misc]
    """Takes the time of steps, and asks for a stop when that is enough."""

    def __init__(self, stop: StopRequest, seconds: float) -> None:
        self.ended = 0.0
        self._stop = stop
        self._seconds = seconds
        self._begun = 0.0
        self._steps = 0

    @property
    def step_s(self) -> float:
        """Mean seconds of a step."""
        return (self.ended - self._begun) / max(1, self._steps)

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Count the step."""
        now = time.monotonic()
        if state.global_step <= _WARMUP_STEPS:
            self._begun = self.ended = now
            return
        self.ended = now
        self._steps += 1
        is_enough = self._steps >= _LEAST_STEPS and now - self._begun >= self._seconds
        if is_enough or self._steps >= _MOST_STEPS:
            self._stop.make()


def _evaluation_s(trainer: Any, prepared: PreparedRun) -> float:
    """Seconds of a whole validation, by those of a part."""
    validation, plan = prepared.data.validation, prepared.plan
    count = min(len(validation), _EVAL_BATCHES * plan.batch_size * plan.processes)
    if not count:
        return 0.0
    rows = [validation[index] for index in range(count)]
    begun = time.monotonic()
    trainer.evaluate(rows)
    return (time.monotonic() - begun) * len(validation) / count


def _sampling_s(base: Any, prepared: PreparedRun) -> float:
    sampler = Sampler(base.tokenizer, base.window, sample_prompts(prepared.data.shown, base.window))
    begun = time.monotonic()
    sampler.sample(base.stock)
    return time.monotonic() - begun
