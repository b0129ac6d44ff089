"""What a training run will take: memory, disk and time.

Owns the checks that are made before anything begins: whether it fits into memory and onto the
disk, and how many rows do. The formula of the memory is `hfgen.training.planning.memory`'s.
"""

from __future__ import annotations

import math
import os
import shutil
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hfgen.errors import ModelUnsupported, OutputError
from hfgen.mentions import mention
from hfgen.models.sizing.memory import gpu_memory, main_memory
from hfgen.models.sizing.quantities import in_bytes
from hfgen.models.sizing.shape import Shape, shape_of
from hfgen.training.options.common import RunOptions
from hfgen.training.planning.memory import Device, memory_of, state_bytes

if TYPE_CHECKING:
    from hfgen.training.model.load import Base
    from hfgen.training.planning.plan import Facts, Plan
    from hfgen.training.runs.prepared import PreparedRun

FIT = 0.8
"""Part of the memory there is that `--batch-size auto` fills."""
CHECKPOINTS = 3
"""Two that are kept, and one that is being written."""

# Configuration, tokenizer and the Trainer's own files, of one checkpoint.
_SMALL_FILES_BYTES = 10_000_000
_TIMING_S = 10.0
_TIMED = 3
# Nearly every batch has no more tokens a row than this part of the rows.
_USUAL = 0.9


@dataclass(frozen=True)
class Cost:
    """Estimates for one process, in bytes and seconds."""

    memory_bytes: int
    """Highest memory of the process (of the GPU, where one is used)."""
    disk_bytes: int
    """Highest use of the output folder: two checkpoints, one being written, and the result."""
    seconds: float | None = None
    """Time of the training steps and evaluations; None where it was not measured."""


def cost_of(prepared: PreparedRun, options: RunOptions, device: Any) -> Cost:
    """Estimate memory and disk of a run."""
    base, data = prepared.base, prepared.data
    memory = StepMemory(base, data.train, data.facts, options, device)
    return Cost(
        memory.of(prepared.plan.batch_size),
        disk_of(options, base.parameters, base.trainable_parameters),
    )


def check_cost(
    prepared: PreparedRun, options: RunOptions, device: Any, folder: Path, *, is_resumed: bool
) -> str | None:
    """Raise `OutputError` where the disk is too small; return a warning where the memory is."""
    cost = cost_of(prepared, options, device)
    check_space(folder, cost.disk_bytes, options, is_resumed=is_resumed)
    return check_memory(cost.memory_bytes, room(_kind(device)), options, prepared.plan)


@dataclass(frozen=True)
class StepMemory:
    """The memory of a training step, by the number of rows that are computed at once."""

    base: Base
    rows: Any
    facts: Facts
    options: RunOptions
    device: Any

    def fitting(self, effective: int) -> tuple[int, int]:
        """Of the rows of a step, how many fit at once, and in how many batches they are all."""
        return fitting_batch(effective, self.of, room(_kind(self.device)))

    def of(self, batch: int) -> int:
        """Bytes of the process, or of its GPU, at the highest."""
        if self._shape is None:  # weights, gradients and two moments, and as much again
            return 32 * self.base.parameters
        usual, longest = self._lengths
        if self.facts.batches == "dense":
            batch = max(1, math.ceil(batch * usual / longest))
        config = self.base.stock.config
        return memory_of(
            self._shape,
            method=self.options.method,
            trainable_parameters=self.base.trainable_parameters,
            rows=batch,
            length=longest,
            precision=self.facts.precision,
            gradient_checkpointing=bool(self.options.value("gradient_checkpointing")),
            optim=self.options.value("optim"),
            activation=_first(config, str, "activation_function", "hidden_act", "activation"),
            dropout=self._dropout,
            is_attention_fused=config._attn_implementation != "eager",
            device=_kind(self.device),
        )

    @cached_property
    def _shape(self) -> Shape | None:
        """None for a kind of model that is not known."""
        try:
            return shape_of(self.base.stock.config.to_dict())
        except ModelUnsupported:
            return None

    @cached_property
    def _lengths(self) -> tuple[int, int]:
        """Tokens of a usual row, and of the longest."""
        same = getattr(self.rows, "length", None)
        found = [int(same)] if same is not None else sorted(len(row.ids) for row in self.rows)
        longest = self.facts.max_length if self.facts.batches == "packed" else found[-1]
        return found[math.ceil(_USUAL * len(found)) - 1], longest

    @property
    def _dropout(self) -> float:
        """That of the attention."""
        if self.options.dropout is not None:
            return self.options.dropout
        config = self.base.stock.config
        return float(_first(config, float | int, "attn_pdrop", "attention_dropout") or 0)


def disk_of(options: RunOptions, parameters: int, trainable_parameters: int) -> int:
    """Estimate the most that the output folder takes: checkpoints and the result, in bytes."""
    written = parameters if options.method == "full" else trainable_parameters
    result = written * 4 + _SMALL_FILES_BYTES
    checkpoint = result + trainable_parameters * state_bytes(options.value("optim"))
    return int(CHECKPOINTS * checkpoint + result)


def seconds_of(plan: Plan, micro_batch_s: float) -> float:
    """Estimate the time of a run from that of one batch forward and backward.

    A batch of an evaluation is forward alone, a third of it.
    """
    evaluations = 1 + math.ceil(plan.steps / plan.eval_steps)
    batches = math.ceil(plan.val_rows / (plan.batch_size * plan.processes))
    trained = plan.steps * plan.gradient_accumulation_steps
    return micro_batch_s * (trained + evaluations * batches / 3)


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


def check_memory(needed: int, available: int | None, options: RunOptions, plan: Plan) -> str | None:
    """Return a warning that mentions the options that help, where the run is unlikely to fit."""
    if available is None or needed <= available:
        return None
    helpful = []
    if plan.batch_size > 1:
        added = plan.batch_size * plan.gradient_accumulation_steps
        helpful.append(
            f"{mention('batch_size', 1)} with {mention('gradient_accumulation_steps', added)}"
        )
    if not options.value("gradient_checkpointing"):
        helpful.append(mention("gradient_checkpointing", True))
    if options.method == "full":
        helpful.append(options.LIGHTER[0])
    helpful.append(f"a smaller {mention('max_length')}")
    ways = helpful[0] if len(helpful) == 1 else f"{', '.join(helpful[:-1])} or {helpful[-1]}"
    verb = "needs" if len(helpful) == 1 else "need"
    return (
        f"training will take about {in_bytes(needed)} of memory, and {in_bytes(available)} are "
        f"free; {ways} {verb} less"
    )


def check_space(
    folder: Path, needed: int, options: RunOptions, *, is_resumed: bool = False
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
    other = f", or {options.LIGHTER[1]}" if options.method == "full" else ""
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


def _first(config: Any, kind: Any, *names: str) -> Any:
    """The first of these settings that the configuration has."""
    found = (getattr(config, name, None) for name in names)
    return next((value for value in found if isinstance(value, kind)), None)


def _kind(device: Any) -> Device:
    return "cuda" if device.type == "cuda" else "cpu"
