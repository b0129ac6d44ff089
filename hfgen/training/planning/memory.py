"""The memory of a training step, before it is made.

Knows a model's shape and the options that matter, no model. What one process holds at the worst
moment is the sum of

    weights      float32; of a QLoRA base, 4 bits each and their scales
    learning     gradients and the optimizer's state, of the weights that are trained
    activations  what the forward pass keeps for the backward pass, layer by layer; with gradient
                 checkpointing one layer's, and the input of every other
    scores       logits of the positions that are learned, (N, V), and their gradient; with them
                 the gradient of the tied table of tokens, which is made twice
    stepping     the optimizer's own work, where that is more than activations and scores
    program      Python, torch and Transformers; on a GPU, CUDA's own

Compared with the peaks of 15 real runs in separate processes, it was 0.91 to 1.11 of them: GPT-2
shapes of 3.5, 30 and 124 million weights and a Llama of 135 million on a CPU, whole and LoRA, fp32
and bf16, with gradient checkpointing, accumulation and dropout and without, 1 and 8 rows of 128 to
512 tokens. Not measured: GPUs, QLoRA, and optimizers other than AdamW in whole runs.
"""

from __future__ import annotations

from typing import Literal

from hfgen.models.sizing.shape import Shape
from hfgen.training.options.common import Method

Precision = Literal["fp32", "bf16", "fp16"]
Device = Literal["cpu", "cuda"]

# Bytes of optimizer state for each trained weight, by what the optimizer's name contains.
_STATE_BYTES = (
    ("schedule_free", 8.0), ("8bit", 2.0), ("4bit", 1.0), ("ademamix", 12.0), ("adafactor", 0.1),
    ("lion", 4.0), ("rmsprop", 4.0), ("adagrad", 4.0), ("sgd", 0.0), ("lomo", 0.1),
    ("apollo", 1.0), ("galore", 2.0), ("adam", 8.0),
)  # fmt: skip
# Values of the feed-forward width that are kept for the backward pass, by activation: 2 where it is
# one operation, as `TokenTrainer` makes GPT-2's.
_KEPT_INNER = {"relu": 1, "gelu_fast": 7}
_KEPT_INNER_USUAL = 2
_KEPT_INNER_GATED = 4
# Bytes of a 4-bit weight with its scale.
_NF4_BYTES = 0.5625
# Positions whose scores the loss is computed from at a time, and what it makes of them.
_LOSS_POSITIONS, _LOSS_COPIES = 256, 2
_PROGRAM_BYTES = {"cpu": 480_000_000, "cuda": 600_000_000}
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
    learned (all, when None). `activation` is the configuration's name of it. Attention that is
    not fused (`eager`) keeps its matrices (B, H, T, T), and so does any with `dropout` on a CPU.
    While several batches are added up, the gradients of those before are held too.
    """
    needs_matrices = not is_attention_fused or (dropout > 0 and device == "cpu")
    matrices = (3 if dropout else 1) if needs_matrices else 0
    layer = kept_bytes(
        shape, length, precision=precision, activation=activation, dropout=dropout,
        matrices=matrices,
    )  # fmt: skip
    kept = layer * shape.layers
    if gradient_checkpointing:  # of two layers, since the C library keeps blocks that were freed
        kept = 2 * layer + shape.width * 4 * shape.layers
    # The gradients of one layer's activations while they are computed.
    passing = 4 * (3 * shape.inner + 2 * shape.width + matrices * shape.heads * length)
    computing = rows * length * (kept + passing)
    all_positions = rows * length
    scored = all_positions if learned is None else min(learned, all_positions)
    computing += _score_bytes(shape, scored) + _table_bytes(shape, method)
    gradients = trainable_parameters * 4
    # The optimizer's own work: on a GPU on all weights at once, else on the largest matrix.
    stepping = gradients if device == "cuda" else 2 * _table_bytes(shape, method)
    held = _weight_bytes(shape, method, trainable_parameters, precision)
    held += trainable_parameters * state_bytes(optim) + _PROGRAM_BYTES[device]
    computing += gradients if is_accumulating else 0
    return int(held + max(computing, gradients + stepping))


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
        norms, inner = 4 * shape.width, _KEPT_INNER.get(activation or "", _KEPT_INNER_USUAL)
    # Queries, keys, values, what comes out, and a mask.
    attention = (4 * shape.head_size + matrices * length) * shape.heads + length
    size = 4 if precision == "fp32" else 2
    masks = 8 * shape.width if dropout else 0
    return norms * 4 + (attention + inner * shape.inner) * size + masks


def state_bytes(optim: str) -> float:
    """Bytes that an optimizer keeps for each weight it trains, by Transformers' name of it."""
    return next((size for part, size in _STATE_BYTES if part in optim), 8.0)


def _weight_bytes(
    shape: Shape, method: Method, trainable_parameters: int, precision: Precision
) -> float:
    """The weights, an adapter's own and the library for it, and autocast's copies of matrices."""
    total = shape.weights * 4.0
    if method == "qlora":
        quantized = shape.weights - shape.embedding_weights
        total = quantized * _NF4_BYTES + shape.embedding_weights * 4.0
    if method != "full":
        total += trainable_parameters * 4.0 + _PEFT_BYTES
    return total if precision == "fp32" else total + shape.weights * 2.0


def _score_bytes(shape: Shape, positions: int) -> int:
    """Logits and their gradient, float32 under autocast too, and a chunk that is summed up."""
    return (2 * positions + _LOSS_COPIES * _LOSS_POSITIONS) * shape.vocabulary * 4


def _table_bytes(shape: Shape, method: Method) -> int:
    """The table of tokens, in float32, where it is trained."""
    return shape.vocabulary * shape.width * 4 if method == "full" else 0
