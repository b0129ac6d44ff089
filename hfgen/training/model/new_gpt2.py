"""A new GPT-2: its sizes by name or by number, its weights at random, and what it needs.

Sizes named `124m` and up are those of GPT-2 (Radford et al. 2019, table 2). Smaller ones have the
same form with heads of 32 or 64 and a smaller window, for data and machines that are smaller. A
size is counted with the vocabulary that stands beside it; another changes the number of weights.

Weights begin as GPT-2's: normal with deviation 0.02, those of projections back into the residual
stream scaled by 1 / sqrt(2 * layers). There is no dropout unless asked for: text that is seen a
few times only is better learned without.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from hfgen.errors import InvalidOption, OptionConflict, OutOfMemory
from hfgen.mentions import mention
from hfgen.models.sizing.memory import Memory, main_memory
from hfgen.models.sizing.quantities import in_bytes, in_short
from hfgen.models.sizing.shape import shape_of

DEFAULT_SIZE = "3m"
TRAINING_BYTES = 16
"""For each weight, in float32: itself, its gradient and AdamW's two moments."""
_MOST = {"n_layer": 1024, "n_embd": 65_536, "n_head": 1024, "n_positions": 1 << 20}


@dataclass(frozen=True)
class Size:
    """The sizes of a GPT-2."""

    n_layer: int
    n_embd: int
    n_head: int
    n_positions: int
    vocab_size: int
    """The vocabulary that goes with it, where none is asked for."""

    @property
    def in_words(self) -> str:
        """Layers, width and heads."""
        layers, heads = (
            f"{count} {word}{'s' * (count != 1)}"
            for count, word in ((self.n_layer, "layer"), (self.n_head, "head"))
        )
        return f"{layers}, {self.n_embd} wide, {heads}"


SIZES: dict[str, Size] = {
    "1m": Size(5, 96, 3, 512, 4096),
    "3m": Size(5, 192, 6, 512, 4096),
    "10m": Size(6, 320, 5, 1024, 8192),
    "30m": Size(9, 448, 7, 1024, 16_384),
    "124m": Size(12, 768, 12, 1024, 50_257),
    "355m": Size(24, 1024, 16, 1024, 50_257),
    "774m": Size(36, 1280, 20, 1024, 50_257),
    "1558m": Size(48, 1600, 25, 1024, 50_257),
}
_ALSO = {
    "gpt2": "124m", "gpt2-medium": "355m", "gpt2-large": "774m", "gpt2-xl": "1558m",
    "1.5b": "1558m",
}  # fmt: skip


@dataclass(frozen=True)
class Description:
    """What a model is and needs."""

    parameters: int
    """Numbers that are learned; tied embeddings count once."""
    weights_bytes: int
    """In float32, as it is trained and written."""
    training_bytes: int
    """Weights, gradients and AdamW's moments; activations come on top."""


def find_size(name: str) -> Size:
    """The size of that name, in any case of letters. Raises `InvalidOption`."""
    key = name.casefold()
    if found := SIZES.get(_ALSO.get(key, key)):
        return found
    raise InvalidOption("size", name, f"{', '.join(SIZES)} (or {', '.join(_ALSO)})")


def choose_size(
    name: str | None = None,
    *,
    n_layer: int | None = None,
    n_embd: int | None = None,
    n_head: int | None = None,
    n_positions: int | None = None,
    vocab_size: int | None = None,
) -> Size:
    """The size of that name (`3m` where there is none), with what is given in its place.

    With `n_embd` alone, heads of 64 or 32 values are chosen. Raises `InvalidOption` for a number
    outside its range and `OptionConflict` where width and heads do not go together.
    """
    base = find_size(name or DEFAULT_SIZE)
    given = {"n_layer": n_layer, "n_embd": n_embd, "n_head": n_head, "n_positions": n_positions}
    for option, value in given.items():
        low = 2 if option == "n_positions" else 1
        if value is not None and not low <= value <= _MOST[option]:
            allowed = f"a whole number from {low} to {_MOST[option]:,}"
            raise InvalidOption(option, value, allowed)
    width = n_embd or base.n_embd
    heads = n_head or (base.n_head if n_embd is None else _heads_of(width))
    if width % heads:
        raise OptionConflict(
            f"{mention('n_embd')} {width} cannot be divided among {heads} heads "
            f"({mention('n_head')})",
            hint=f"use {mention('n_embd', max(1, round(width / heads)) * heads)}, or another "
            f"{mention('n_head')}",
        )
    return Size(
        n_layer=n_layer or base.n_layer,
        n_embd=width,
        n_head=heads,
        n_positions=n_positions or base.n_positions,
        vocab_size=vocab_size or base.vocab_size,
    )


def _heads_of(width: int) -> int:
    """Heads of 64 values, else of 32, else of the nearest even number that divides the width."""
    for values in (64, 32):
        if width % values == 0 and width > values:
            return width // values
    fitting = (values for values in range(1, width + 1) if width % values == 0)
    return width // min(fitting, key=lambda values: (abs(values - 48), values))


def model_config(size: Size, tokenizer: Any, *, dropout: float = 0.0) -> Any:
    """The `GPT2Config` of a size, with the tokenizer's vocabulary and end of texts."""
    from transformers import GPT2Config

    bos, eos = tokenizer.bos_token_id, tokenizer.eos_token_id
    return GPT2Config(
        vocab_size=len(tokenizer),
        n_positions=size.n_positions,
        n_embd=size.n_embd,
        n_layer=size.n_layer,
        n_head=size.n_head,
        resid_pdrop=dropout,
        embd_pdrop=dropout,
        attn_pdrop=dropout,
        bos_token_id=eos if bos is None else bos,
        eos_token_id=eos,
        pad_token_id=None,
    )


def describe(size: Size) -> Description:
    """Count the weights of a size and the memory that training them takes; nothing is built."""
    config = {
        "model_type": "gpt2", "n_layer": size.n_layer, "n_embd": size.n_embd,
        "n_head": size.n_head, "n_positions": size.n_positions, "vocab_size": size.vocab_size,
    }  # fmt: skip
    parameters = shape_of(config).weights
    return Description(parameters, 4 * parameters, TRAINING_BYTES * parameters)


def check_memory(size: Size, memory: Memory | None = None) -> None:
    """Raise `OutOfMemory` for a model whose training cannot fit, with the estimate.

    `memory` is the device's; the machine's where it is None. Activations are not counted: what is
    refused here would not fit with a batch of one short row.
    """
    memory = memory or main_memory()
    need = describe(size)
    if memory is None or need.training_bytes <= memory.available_bytes:
        return
    fitting = [
        name
        for name, other in SIZES.items()
        if describe(other).training_bytes <= memory.available_bytes / 2
    ]
    where = "GPU memory" if memory.device != "cpu" else "memory"
    raise OutOfMemory(
        f"training a model of {in_short(need.parameters)} parameters takes at least "
        f"{in_bytes(need.training_bytes)}, and {in_bytes(memory.available_bytes)} of {where} are "
        "free",
        hint=f"use {mention('size', fitting[-1])}" if fitting else "choose a smaller model",
    )


def build_model(config: Any, seed: int) -> Any:
    """A model of random weights in float32; the same seed gives the same ones."""
    import torch
    from transformers import GPT2LMHeadModel

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return GPT2LMHeadModel(config).float()
