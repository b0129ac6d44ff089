"""The memory of a training step, before it is made.

Knows a model's shape and the options that matter, no model. What one process holds at the worst
moment is the sum of

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

from typing import Literal

from hfgen.models.shape import Shape
from hfgen.training.options import Method

Precision = Literal["fp32", "bf16", "fp16"]
Device = Literal["cpu", "cuda"]

# Bytes of optimizer state for each trained weight, by what the optimizer's name contains.
_STATE_BYTES = (
    ("schedule_free", 8.0), ("8bit", 2.0), ("4bit", 1.0), ("ademamix", 12.0), ("adafactor", 0.1),
    ("lion", 4.0), ("rmsprop", 4.0), ("adagrad", 4.0), ("sgd", 0.0), ("lomo", 0.1),
    ("apollo", 1.0), ("galore", 2.0), ("adam", 8.0),
)  # fmt: skip
# Values of the feed-forward width that are kept for the backward pass; other activations: 2.
_KEPT_INNER = {"gelu_new": 5, "gelu_fast": 7, "relu": 1}
_KEPT_INNER_GATED = 4
# Bytes of a 4-bit weight with its scale.
_NF4_BYTES = 0.5625
# Copies of the logits at once: they and their gradient, and where all positions are scored those
# of the learned ones. Autocast's 16 bits come on top, since accelerate returns float32.
_SCORE_COPIES = {True: 2, False: 4}
# Positions whose scores the loss is computed from at a time, and what it makes of them.
_LOSS_POSITIONS, _LOSS_COPIES = 256, 2
_PROGRAM_BYTES = {"cpu": 450_000_000, "cuda": 600_000_000}
_PEFT_BYTES = 100_000_000


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
    is_accumulating: bool = True,
    device: Device = "cpu",
) -> int:
    """Estimate the most that a process holds in a training step, in bytes.

    `rows` (B) of `length` (T) tokens are computed at once, `learned` (N) of those positions are
    learned (all, when None). `activation` is the configuration's name of it; None takes the one
    that keeps most. Attention that is not fused (`eager`) keeps its matrices (B, H, T, T), and so
    does any with `dropout` on a CPU.
    """
    is_half = precision != "fp32"
    weights = _qlora_base_bytes(shape) if method == "qlora" else shape.weights * 4.0
    if method != "full":
        weights += trainable_parameters * 4.0
    if is_half:  # autocast's copies of the matrices
        weights += shape.weights * 2.0
    state = trainable_parameters * state_bytes(optim)
    matrices = 3 if dropout and (device == "cpu" or not is_attention_fused) else 0
    matrices = max(matrices, not is_attention_fused)
    layer = kept_bytes(
        shape, length, precision=precision, activation=activation, dropout=dropout,
        matrices=matrices,
    )  # fmt: skip
    kept = layer * shape.layers
    if gradient_checkpointing:
        kept = layer + shape.width * 4 * shape.layers
    # The gradients of one layer's activations while they are computed.
    passing = 4 * (3 * shape.inner + 2 * shape.width + matrices * shape.heads * length)
    positions = rows * length
    if learned is not None:
        positions = min(learned, positions)
    size = 6 if is_half else 4
    scores = positions * size * _SCORE_COPIES[True] + _LOSS_POSITIONS * 4 * _LOSS_COPIES
    computing = rows * length * (kept + passing) + shape.vocabulary * scores
    gradients = trainable_parameters * 4
    table = shape.vocabulary * shape.width * 4 if method == "full" else 0
    peak = computing + gradients + table
    if not is_accumulating:
        peak = max(computing + table, gradients + table)
    program = _PROGRAM_BYTES[device] + (0 if method == "full" else _PEFT_BYTES)
    return int(weights + state + peak + program)


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
