"""`finetune`: from a data file and a model's name to a folder with a trained model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from hfgen.training.cost import Cost
from hfgen.training.options import Method, TrainingOptions
from hfgen.training.plan import Plan
from hfgen.training.progress import Evaluation, Listener
from hfgen.training.summary import Summary

Data = str | Path | Sequence[str | Path]


class StopRequest:
    """Asks a running training to end after the running step, with a checkpoint."""

    def __init__(self) -> None:
        self.is_made = False

    def make(self) -> None:
        """Ask (safe in a signal handler)."""
        self.is_made = True


@dataclass(frozen=True)
class Finetuned:
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


@dataclass(frozen=True)
class DryRun:
    """What a run would do."""

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


def finetune(
    data: Data,
    *,
    model: str | None = None,
    output: str | Path | None = None,
    options: TrainingOptions | None = None,
    resume: bool = False,
    overwrite: bool = False,
    device: str = "auto",
    offline: bool = False,
    trust_remote_code: bool = False,
    stdin: BinaryIO | None = None,
    listener: Listener | None = None,
    stop: StopRequest | None = None,
    command: str | None = None,
    **settings: Any,
) -> Finetuned:
    """Train a model on examples and write it to a folder."""
    raise NotImplementedError


def dry_run(
    data: Data,
    *,
    model: str | None = None,
    output: str | Path | None = None,
    options: TrainingOptions | None = None,
    device: str = "auto",
    offline: bool = False,
    trust_remote_code: bool = False,
    stdin: BinaryIO | None = None,
    listener: Listener | None = None,
    **settings: Any,
) -> DryRun:
    """Tell what `finetune` would do with the same arguments; nothing is trained or written."""
    raise NotImplementedError
