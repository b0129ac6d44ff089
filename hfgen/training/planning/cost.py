"""What a training run will take: memory, disk and time.

Owns the checks that are made before anything begins: whether it fits into memory and onto the
disk, and how many rows do. The formula of the memory is `hfgen.training.planning.memory`'s.
"""

from __future__ import annotations

import os
import shutil
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hfgen.errors import OutputError
from hfgen.mentions import mention
from hfgen.models.sizing.memory import gpu_memory, main_memory
from hfgen.models.sizing.quantities import in_bytes
from hfgen.training.options.common import Method
from hfgen.training.planning.memory import Device, memory_of, state_bytes

__all__ = [
    "Cost", "check_memory", "check_space", "disk_of", "fitting_batch", "memory_of", "room",
    "seconds_of", "time_step",
]  # fmt: skip

FIT = 0.8
"""Part of the memory there is that `--batch-size auto` fills."""
CHECKPOINTS = 3
"""Two that are kept, and one that is being written."""

# Configuration, tokenizer and the Trainer's own files, of one checkpoint.
_SMALL_FILES_BYTES = 10_000_000
_TIMING_S = 10.0
_TIMED = 3


@dataclass(frozen=True)
class Cost:
    """Estimates for one process, in bytes and seconds."""

    memory_bytes: int
    """Highest memory of the process (of the GPU, where one is used)."""
    disk_bytes: int
    """Highest use of the output folder: two checkpoints, one being written, and the result."""
    seconds: float | None
    """Time of the training steps and evaluations; None where it was not measured."""


def disk_of(
    *, parameters: int, trainable_parameters: int, method: Method, optim: str = "adamw_torch"
) -> int:
    """Estimate the most that the output folder takes: checkpoints and the result, in bytes."""
    written = parameters if method == "full" else trainable_parameters
    result = written * 4 + _SMALL_FILES_BYTES
    checkpoint = result + trainable_parameters * state_bytes(optim)
    return int(CHECKPOINTS * checkpoint + result)


def seconds_of(
    micro_batch_s: float,
    *,
    steps: int,
    gradient_accumulation_steps: int,
    evaluations: int = 0,
    eval_batches: int = 0,
) -> float:
    """Estimate the time of a run from that of one batch forward and backward.

    A batch of an evaluation is forward alone, a third of it.
    """
    trained = steps * gradient_accumulation_steps
    return micro_batch_s * (trained + evaluations * eval_batches / 3)


def time_step(run_once: Callable[[], None], model: Any = None) -> float:
    """Return the median seconds of `run_once`: a batch forward and backward, after a first one.

    Takes about ten seconds at most, of slow batches one more than that. Random numbers are as
    before afterwards, and the `model` has no gradients.
    """
    import torch

    device = getattr(model, "device", None)
    has_gpu = device is not None and device.type == "cuda"
    devices = [device] if has_gpu else []
    times: list[float] = []
    with torch.random.fork_rng(devices=devices):
        begun = time.monotonic()
        for _ in range(1 + _TIMED):
            start = time.monotonic()
            run_once()
            if has_gpu:
                torch.cuda.synchronize(device)
            times.append(time.monotonic() - start)
            if time.monotonic() - begun + times[-1] > _TIMING_S:
                break
    if model is not None:
        model.zero_grad(set_to_none=True)
    return statistics.median(times[1:] or times)


def room(device: Device = "cpu") -> int | None:
    """Bytes that this process may hold in all: what is free, and what it holds; None if unknown."""
    found = gpu_memory() if device == "cuda" else main_memory()
    if found is None:
        return None
    if device == "cuda":
        import torch

        return found.available_bytes + int(torch.cuda.memory_reserved())
    return min(found.total_bytes, found.available_bytes + _own_bytes())


def fitting_batch(
    effective: int, memory_for: Callable[[int], int], available: int | None
) -> tuple[int, int]:
    """Return rows at once, and batches added up: the largest divisor of `effective` that fits.

    A fifth of the memory is left free. One row is the least, whether it fits or not; all rows are
    taken where the memory is unknown.
    """
    divisors = (rows for rows in range(effective, 0, -1) if effective % rows == 0)
    if available is not None:
        divisors = (rows for rows in divisors if memory_for(rows) <= FIT * available)
    rows = next(divisors, 1)
    return rows, effective // rows


def check_memory(
    needed: int,
    available: int | None,
    *,
    method: Method,
    rows: int,
    gradient_accumulation_steps: int,
    gradient_checkpointing: bool,
    lighter: str = mention("lora", True),
) -> str | None:
    """Return a warning that mentions the options that help, where the run is unlikely to fit."""
    if available is None or needed <= available:
        return None
    helpful = []
    if rows > 1:
        added = rows * gradient_accumulation_steps
        helpful.append(
            f"{mention('batch_size', 1)} with {mention('gradient_accumulation_steps', added)}"
        )
    if not gradient_checkpointing:
        helpful.append(mention("gradient_checkpointing", True))
    if method == "full":
        helpful.append(lighter)
    helpful.append(f"a smaller {mention('max_length')}")
    ways = helpful[0] if len(helpful) == 1 else f"{', '.join(helpful[:-1])} or {helpful[-1]}"
    verb = "needs" if len(helpful) == 1 else "need"
    return (
        f"training will take about {in_bytes(needed)} of memory, and {in_bytes(available)} are "
        f"free; {ways} {verb} less"
    )


def check_space(
    folder: Path,
    needed: int,
    *,
    method: Method,
    is_resumed: bool = False,
    lighter: str = f"train an adapter ({mention('lora', True)})",
) -> None:
    """Raise `OutputError` where the file system of `folder` has less than `needed` bytes free.

    The folder need not be there yet. What a resumed run has written already counts as room.
    """
    place = folder.absolute()
    while not place.exists():
        place = place.parent
    try:
        free = shutil.disk_usage(place).free
    except OSError:  # unknown: writing will tell
        return
    if is_resumed:
        free += _size_of(folder)
    if free >= needed:
        return
    other = f", or {lighter}" if method == "full" else ""
    raise OutputError(
        f"the run needs {in_bytes(needed)} of space, and {in_bytes(free)} are free at {place}",
        hint=f"name a folder on another disk ({mention('output', 'DIR')}){other}",
    )


def _size_of(folder: Path) -> int:
    total = 0
    for path in folder.rglob("*"):
        try:
            total += path.stat().st_size if path.is_file() else 0
        except OSError:  # removed meanwhile
            continue
    return total


def _own_bytes() -> int:
    """Memory that this process holds; 0 where the system does not tell."""
    try:
        pages = int(Path("/proc/self/statm").read_text("ascii").split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        return 0
