"""What comes out of a training run or of its dry run."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from hfgen.training.data.summary import Summary
from hfgen.training.events import Evaluation
from hfgen.training.options.common import Method
from hfgen.training.planning.cost import Cost
from hfgen.training.planning.plan import Plan
from hfgen.training.report.asking import Asking
from hfgen.training.report.record import DataFacts


@dataclass(frozen=True)
class Trained:
    """What came out of a run."""

    folder: Path
    """With the model or the adapter; when the run was stopped, with its checkpoints alone."""
    method: Method
    plan: Plan
    steps: int
    """Optimizer steps done, those before a resume included."""
    was_stopped: bool
    """Whether it was asked to stop before its end: nothing but checkpoints is written then."""
    seed: int
    seconds: float
    tokens: int
    """Tokens trained on, padding not counted."""
    peak_bytes: int
    before: Evaluation
    after: Evaluation
    """Of the model that was written: the best by validation loss, else the last."""
    files: tuple[Path, ...]
    asking: Asking = Asking()
    """How it is prompted."""

    @property
    def has_improved(self) -> bool | None:
        """Whether validation is better than before training; None where there was none."""
        before, after = self.before.loss, self.after.loss
        return None if before is None or after is None else after < before


T = TypeVar("T", bound=Trained)


@dataclass(frozen=True)
class Finetuned(Trained):
    """What came out of a run of `finetune`."""


@dataclass(frozen=True)
class DryRun:
    """What a run of `finetune` would do."""

    model: str
    parameters: int
    trainable_parameters: int
    output: Path
    summary: Summary
    plan: Plan
    cost: Cost
    examples: list[list[tuple[str, bool]]]
    """A few rows as runs of (text, is_learned)."""
    notices: tuple[str, ...]


@dataclass(frozen=True)
class Pretrained(Trained):
    """What came out of a run of `pretrain`."""


@dataclass(frozen=True)
class Rehearsal:
    """What a run of `pretrain` would do."""

    model: str
    is_new: bool
    parameters: int
    vocab_size: int
    output: Path
    data: DataFacts
    plan: Plan
    cost: Cost
    beginnings: tuple[str, ...]
    """How some of the documents begin."""
    notices: tuple[str, ...]
