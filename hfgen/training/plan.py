"""What a run will do, decided before it begins: steps, batches, rates, when to validate and save."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

from hfgen.training.options import Method


@dataclass(frozen=True)
class Plan:
    """Every choice that `TrainingOptions` leaves open, made."""

    method: Method
    steps: int
    """Optimizer steps of the whole run."""
    epochs: float
    steps_per_epoch: int
    batch_size: int
    """Rows computed at once, in each process."""
    gradient_accumulation_steps: int
    processes: int
    learning_rate: float
    warmup_steps: int
    eval_steps: int
    save_steps: int
    max_length: int
    precision: Literal["fp32", "bf16", "fp16"]
    batches: Literal["dense", "padded", "packed"]
    """How rows become tensors (`hfgen.training.batches`)."""
    train_rows: int
    """Rows after windows and packing."""
    train_tokens: int
    """Tokens of one epoch, padding not counted."""
    val_rows: int
    val_tokens: int

    @property
    def effective_batch(self) -> int:
        """Rows of one optimizer step."""
        return self.batch_size * self.gradient_accumulation_steps * self.processes

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)
