"""What a training run will take: memory, disk and time."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Cost:
    """Estimates for one process, in bytes and seconds."""

    memory_bytes: int
    """Highest memory of the process (of the GPU, where one is used)."""
    disk_bytes: int
    """Highest use of the output folder: two checkpoints, one being written, and the result."""
    seconds: float | None
    """Time of the training steps and evaluations; None where it was not measured."""
