"""The checkpoints of a run by name: `checkpoint-N`, each of them complete.

Found without torch, so that a wrong command line is refused before it is imported.
"""

from __future__ import annotations

from pathlib import Path

PREFIX = "checkpoint-"


def last_checkpoint(folder: Path) -> Path | None:
    """The newest checkpoint of a run; every one that has the name is complete."""
    found = find_checkpoints(folder)
    return found[-1] if found else None


def find_checkpoints(folder: Path) -> list[Path]:
    """The checkpoints of a run, the oldest first."""
    steps = {path: path.name.removeprefix(PREFIX) for path in folder.glob(f"{PREFIX}*")}
    return sorted((p for p, n in steps.items() if n.isdecimal()), key=lambda p: int(steps[p]))


def checkpoint_at(folder: Path, step: int) -> Path:
    """The checkpoint that a run writes after a step, whether it is there or not."""
    return folder / f"{PREFIX}{step}"


def step_of(checkpoint: Path) -> int:
    """The optimizer steps that were done when it was written."""
    return int(checkpoint.name.removeprefix(PREFIX))
