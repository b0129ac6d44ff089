"""What training reports while it runs: events, and the `Listener` that receives them.

The library prints nothing. A command draws these, a script may ignore them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from hfgen.mentions import PYTHON, Spelling


@dataclass(frozen=True)
class Step:
    """One optimizer step is done."""

    step: int
    """From 1."""
    steps: int
    """Of how many."""
    epoch: float
    loss: float
    """Mean loss of the step's target tokens, in nats."""
    learning_rate: float
    grad_norm: float | None
    tokens: int
    """Tokens trained on since this process began, padding not counted."""
    tokens_per_s: float
    """Over the last steps, evaluations and saves not counted."""
    remaining_s: float
    """Expected, evaluations included."""
    memory_bytes: int
    """Memory of the process, or of the GPU, at its highest."""


@dataclass(frozen=True)
class Sample:
    """What the model makes of a prompt."""

    prompt: str
    completion: str
    finish_reason: str
    """As in a record: eos, length, stop."""


@dataclass(frozen=True)
class Evaluation:
    """Validation, and samples, at one moment of the run."""

    step: int
    """Optimizer steps done; 0 is before training."""
    loss: float | None
    """Mean loss of all learned validation tokens, in nats; None without validation data."""
    is_best: bool
    samples: tuple[Sample, ...] = ()
    bits_per_byte: float | None = None
    """The loss of a byte of validation text, in bits; None where bytes were not counted."""
    accuracy: float | None = None
    """The part of the validation rows whose whole answer is the most likely one; None where answers
    are not short."""

    @property
    def perplexity(self) -> float | None:
        """e to the power of the loss."""
        return None if self.loss is None else math.exp(min(self.loss, 700))


class Listener:
    """Receives what training reports; every method may be overridden, none has to be."""

    spelling: Spelling = PYTHON
    """How whoever reads the notices writes options."""

    def stage(self, text: str) -> None:
        """Something that takes a while has begun (`reading data.jsonl …`)."""

    def notice(self, text: str) -> None:
        """Something the user should know."""

    def step(self, event: Step) -> None:
        """An optimizer step is done."""

    def evaluation(self, event: Evaluation) -> None:
        """Validation loss and samples."""

    def saved(self, step: int) -> None:
        """A checkpoint of this step is complete."""
