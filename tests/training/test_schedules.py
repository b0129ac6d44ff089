"""Every schedule of both commands, by the rates that the Trainer's own scheduler gives."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import Trainer

from hfgen.training.options.finetune import TrainingOptions
from hfgen.training.options.pretrain import PretrainOptions
from hfgen.training.planning.plan import make_plan
from hfgen.training.runs.make_trainer import training_arguments
from tests.training.test_plan import FACTS

STEPS, WARMUP = 20, 5
SCHEDULES = [
    (kind, name)
    for kind in (TrainingOptions, PretrainOptions)
    for name in kind.specs()["lr_scheduler"].choices
]


def rates(options: Any, folder: Path) -> list[float]:
    """The learning rate of each step, as a part of the peak."""
    plan = make_plan(options, replace(FACTS, val_rows=0))
    arguments = training_arguments(options, plan, folder, torch.device("cpu"))
    model = torch.nn.Linear(1, 1)
    trainer = Trainer(model, arguments)
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    scheduler = trainer.create_scheduler(STEPS, optimizer)
    found = []
    for _ in range(STEPS):
        found.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return found


@pytest.mark.parametrize(("kind", "name"), SCHEDULES)
def test_the_rate_rises_in_the_warmup_of_every_schedule(
    kind: Any, name: str, tmp_path: Path
) -> None:
    found = rates(kind(lr_scheduler=name, warmup=WARMUP, max_steps=STEPS), tmp_path)
    assert found[: WARMUP + 1] == pytest.approx([n / WARMUP for n in range(WARMUP + 1)])


@pytest.mark.parametrize("kind", [TrainingOptions, PretrainOptions])
def test_a_constant_rate_begins_at_its_height_unless_warmup_is_asked_for(
    kind: Any, tmp_path: Path
) -> None:
    options = kind(lr_scheduler="constant", max_steps=STEPS)
    assert make_plan(options, FACTS).warmup_steps == 0
    assert rates(options, tmp_path) == [1.0] * STEPS
