"""What a run of `pretrain` is given when nobody says: passes, batch, learning rate.

It knows numbers only, no data and no model.

Sources: Hoffmann et al. 2022 (20 tokens for each weight), Muennighoff et al. 2023 (text repeated up
to four times teaches nearly as much as new text), DeepSeek-AI 2024 (arXiv:2401.02954, section 3.1:
batch and learning rate by the compute of a run).
"""

from __future__ import annotations

import math

from hfgen.training.planning.defaults import Defaults

TOKENS_PER_WEIGHT = 20
MOST_EPOCHS = 4
_TOKENS_AT_ONCE = 4096
_WARMUP = 0.05
# Of a model that is trained further: measured with so many weights (see `continued_defaults`).
_MEASURED_WEIGHTS = 5_920_000
_CONTINUED_EPOCHS = 2
_CONTINUED_TOKENS = 2048
_CONTINUED_RATE, _CONTINUED_POWER = 3e-4, 0.5


def pretrain_defaults(
    parameters: int, train_tokens: int, length: int, *, tokens: float | None = None
) -> Defaults:
    """Choose for so many weights and tokens of text in rows of `length`.

    `tokens` is how many the run will learn, repeated ones included, where that is known.
    """
    epochs = TOKENS_PER_WEIGHT * parameters / train_tokens
    epochs = max(1.0, min(MOST_EPOCHS, round(epochs, 1)))
    compute = 6.0 * parameters * (tokens or epochs * train_tokens)
    rows = max(1.0, batch_tokens(compute) / length)
    return Defaults(
        epochs=epochs,
        effective_batch=1 << round(math.log2(rows)),
        learning_rate=float(f"{learning_rate(compute):.1g}"),
        warmup=_WARMUP,
        rows_at_once=_rows_at_once(length),
    )


def continued_defaults(parameters: int, length: int) -> Defaults:
    """Choose for a model that is trained further.

    Of the bundled model, 5.9 million weights, with AdamW and two passes over 60 kB: on a book like
    those it knows 3e-4 lowered the bits per byte from 1.406 to 1.403 and 1e-3 raised them to 1.463;
    on Python code 3e-4 lowered them from 4.61 to 2.94, in steps of 2,048 tokens, and to 3.18 in
    steps of twice as many. The power 0.5 leads to 7e-5 for GPT-2 and 9e-6 for 7 billion weights,
    which are common for those sizes and not measured here.
    """
    rows = max(1.0, _CONTINUED_TOKENS / length)
    ratio = min(1.0, _MEASURED_WEIGHTS / max(1, parameters))
    return Defaults(
        epochs=_CONTINUED_EPOCHS,
        effective_batch=1 << round(math.log2(rows)),
        learning_rate=float(f"{_CONTINUED_RATE * ratio**_CONTINUED_POWER:.1g}"),
        warmup=_WARMUP,
        rows_at_once=_rows_at_once(length),
    )


def _rows_at_once(length: int) -> int:
    return 1 << max(0, math.floor(math.log2(_TOKENS_AT_ONCE / length)))


def batch_tokens(compute: float) -> float:
    """Tokens of an optimizer step, for a run of so many floating-point operations."""
    return 0.2920 * math.pow(compute, 0.3271)


def learning_rate(compute: float) -> float:
    """The peak."""
    return 0.3118 * math.pow(compute, -0.1250)
