"""What a training run will take: memory, disk and time.

Owns the formulas, and the checks that are made with them before anything begins. Memory is the
sum of what one process holds at the worst moment of a step:

    weights      float32; of a QLoRA base, 4 bits each and their scales
    learning     gradients and the optimizer's state, of the weights that are trained
    activations  what the forward pass keeps for the backward pass, layer by layer; with gradient
                 checkpointing one layer's, and the input of every other
    scores       logits of the positions that are learned, (N, V), and their gradient; with them
                 the gradient of the tied table of tokens, which is made twice
    program      Python, torch and Transformers; on a GPU, CUDA's own

Compared with the peak of real steps in separate processes (GPT-2 shapes of 3.5, 30 and 124 million
weights, a Llama; 1 and 8 rows of 128 and 512 tokens): 0.8 to 1.25 of it.
"""

from __future__ import annotations

import os
import shutil
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from hfgen.errors import OutputError
from hfgen.models.memory import gpu_memory, main_memory
from hfgen.models.quantities import in_bytes
from hfgen.models.shape import Shape
from hfgen.training.options import Method

Precision = Literal["fp32", "bf16", "fp16"]
Device = Literal["cpu", "cuda"]

FIT = 0.8
"""Part of the memory there is that `--batch-size auto` fills."""
CHECKPOINTS = 3
"""Two that are kept, and one that is being written."""

# Bytes of optimizer state for each trained weight, by what the optimizer's name contains.
_STATE_BYTES = (
    ("schedule_free", 8.0), ("8bit", 2.0), ("4bit", 1.0), ("ademamix", 12.0), ("adafactor", 0.1), ("lion", 4.0),
    ("rmsprop", 4.0), ("adagrad", 4.0), ("sgd", 0.0), ("lomo", 0.1), ("apollo", 1.0),
    ("galore", 2.0), ("adam", 8.0),
)  # fmt: skip
# Values of the feed-forward width that are kept for the backward pass; other activations: 2.
_KEPT_INNER = {"gelu_new": 5, "gelu_fast": 7, "relu": 1}
_KEPT_INNER_GATED = 4
# Bytes of a 4-bit weight with its scale.
_NF4_BYTES = 0.5625
# Copies of the learned positions' float32 logits at once.
_SCORE_COPIES = 6.0
_PROGRAM_BYTES = {"cpu": 450_000_000, "cuda": 600_000_000}
_PEFT_BYTES = 100_000_000
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


def memory_of(
    shape: Shape,
    *,
    method: Method,
    trainable_parameters: int,
    rows: int,
    length: int,
    learned: int | None = None,
    precision: Precision = "fp32",
    gradient_checkpointing: bool = False,
    optim: str = "adamw_torch",
    activation: str | None = None,
    dropout: float = 0.0,
    is_attention_fused: bool = True,
    device: Device = "cpu",
) -> int:
    """Estimate the most that a process holds in a training step, in bytes.

    `rows` (B) of `length` (T) tokens are computed at once, `learned` (N) of those positions are
    learned (all, when None). `activation` is the configuration's name of it; None takes the one
    that keeps most. Attention that is not fused (`eager`) keeps its matrices (B, H, T, T), and so
    does any with `dropout` on a CPU.
    """
    weights = shape.weights * 4.0
    if method == "qlora":
        weights = _qlora_base_bytes(shape)
    if method != "full":
        weights += trainable_parameters * 4.0
    if precision != "fp32":  # autocast's copies of the matrices
        weights += shape.weights * 2.0
    learning = trainable_parameters * (4 + state_bytes(optim))
    matrices = 3 if dropout and (device == "cpu" or not is_attention_fused) else 0
    matrices = max(matrices, not is_attention_fused)
    layer = kept_bytes(
        shape, length, precision=precision, activation=activation, dropout=dropout,
        matrices=matrices,
    )  # fmt: skip
    kept = (
        layer + shape.width * 4 * shape.layers if gradient_checkpointing else layer * shape.layers
    )
    # The gradients of one layer's activations while they are computed.
    passing = 4 * (3 * shape.inner + 2 * shape.width + matrices * shape.heads * length)
    positions = rows * length if learned is None else min(learned, rows * length)
    scores = positions * shape.vocabulary * 4 * _SCORE_COPIES
    if method == "full":
        scores += shape.vocabulary * shape.width * 4
    program = _PROGRAM_BYTES[device] + (0 if method == "full" else _PEFT_BYTES)
    return int(weights + learning + rows * length * (kept + passing) + scores + program)


def kept_bytes(
    shape: Shape,
    length: int,
    *,
    precision: Precision = "fp32",
    activation: str | None = None,
    dropout: float = 0.0,
    matrices: int = 0,
) -> int:
    """Bytes that a layer keeps for each token of rows of `length`, until the backward pass.

    `matrices` is how many matrices of attention (B, H, T, T) are kept. The norms and what is added
    up from layer to layer are float32 under autocast too.
    """
    if shape.is_gated:
        norms, inner = 6 * shape.width, _KEPT_INNER_GATED
    else:
        most = max(_KEPT_INNER.values()) if activation is None else 2
        norms, inner = 4 * shape.width, _KEPT_INNER.get(activation or "", most)
    # Queries, keys, values, what comes out, and a mask.
    attention = (4 * shape.head_size + matrices * length) * shape.heads + length
    size = 4 if precision == "fp32" else 2
    masks = 8 * shape.width if dropout else 0
    return norms * 4 + (attention + inner * shape.inner) * size + masks


def state_bytes(optim: str) -> float:
    """Bytes that an optimizer keeps for each weight it trains, by Transformers' name of it."""
    return next((size for part, size in _STATE_BYTES if part in optim), 8.0)


def _qlora_base_bytes(shape: Shape) -> float:
    return (shape.weights - shape.embedding_weights) * _NF4_BYTES + shape.embedding_weights * 4.0


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

    has_gpu = torch.cuda.is_available()
    devices = list(range(torch.cuda.device_count())) if has_gpu else []
    times: list[float] = []
    with torch.random.fork_rng(devices=devices):
        begun = time.monotonic()
        for _ in range(1 + _TIMED):
            start = time.monotonic()
            run_once()
            if has_gpu:
                torch.cuda.synchronize()
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
) -> str | None:
    """Return a warning that names the flags that help, where the run is unlikely to fit."""
    if available is None or needed <= available:
        return None
    helpful = []
    if rows > 1:
        added = rows * gradient_accumulation_steps
        helpful.append(f"--batch-size 1 --gradient-accumulation-steps {added}")
    if not gradient_checkpointing:
        helpful.append("--gradient-checkpointing")
    if method == "full":
        helpful.append("--lora")
    helpful.append("a smaller --max-length")
    flags = helpful[0] if len(helpful) == 1 else f"{', '.join(helpful[:-1])} or {helpful[-1]}"
    verb = "needs" if len(helpful) == 1 else "need"
    return (
        f"training will take about {in_bytes(needed)} of memory, and {in_bytes(available)} are "
        f"free; {flags} {verb} less"
    )


def check_space(folder: Path, needed: int, *, method: Method, is_resumed: bool = False) -> None:
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
    lighter = ", or train an adapter (--lora)" if method == "full" else ""
    raise OutputError(
        f"the run needs {in_bytes(needed)} of space, and {in_bytes(free)} are free at {place}",
        hint=f"name a folder on another disk (-o){lighter}",
    )


def _size_of(folder: Path) -> int:
    total = 0
    for path in folder.rglob("*"):
        try:
            total += path.lstat().st_size
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
