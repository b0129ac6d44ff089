"""What came out of a training run, and how one is asked to stop."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from hfgen.training.events import Evaluation
from hfgen.training.options.common import Method
from hfgen.training.planning.plan import Plan
from hfgen.training.report.asking import Asking


class StopRequest:
    """Asks a running training to end after the running step, with a checkpoint."""

    def __init__(self) -> None:
        self.is_made = False

    def make(self) -> None:
        """Ask (safe in a signal handler)."""
        self.is_made = True


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
