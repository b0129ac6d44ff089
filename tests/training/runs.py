"""Short runs, what is heard of them, and whether two of them wrote the same weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from hfgen.training.events import Evaluation, Listener, Step
from hfgen.training.request import StopRequest
from hfgen.training.runs.finetuning import finetune
from hfgen.training.runs.outcome import Finetuned


class Heard(Listener):
    """Notes everything; a run that is also given its `request` stops at a step."""

    def __init__(self, at: int | None = None) -> None:
        self.request, self._at = StopRequest(), at
        self.stages: list[str] = []
        self.notices: list[str] = []
        self.steps: list[Step] = []
        self.evaluations: list[Evaluation] = []

    def stage(self, text: str) -> None:
        self.stages.append(text)

    def notice(self, text: str) -> None:
        self.notices.append(text)

    def step(self, event: Step) -> None:
        self.steps.append(event)
        if event.step == self._at:
            self.request.make()

    def evaluation(self, event: Evaluation) -> None:
        self.evaluations.append(event)


def train(
    data: Path, model: Path, out: Path, at: int | None = None, **settings: Any
) -> tuple[Finetuned, Heard]:
    """Finetune, and ask for a stop at a step."""
    heard = Heard(at)
    done = finetune(
        data, model=str(model), output=out, listener=heard, stop=heard.request, **settings
    )
    return done, heard


def weights(folder: Path) -> dict[str, torch.Tensor]:
    (file,) = folder.glob("*.safetensors")
    return dict(load_file(file))


def assert_same_weights(one: Path, other: Path) -> None:
    """Bit for bit."""
    left, right = weights(one), weights(other)
    assert left.keys() == right.keys()
    assert [name for name in left if not torch.equal(left[name], right[name])] == []
