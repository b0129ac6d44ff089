"""One pass of the stock model with everything kept that explanations need."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch

from hfgen.errors import DataError, ModelUnsupported, UsageError
from hfgen.generation.text import Vocabulary

_FINAL_NORMS = ("ln_f", "final_layer_norm", "norm", "final_norm", "norm_f")


@dataclass(frozen=True)
class Encoded:
    """A text as the model reads it."""

    ids: tuple[int, ...]
    tokens: tuple[str, ...]
    """The text of each, U+FFFD where a token is part of a character."""
    left_out: int = 0
    """Tokens at the end that the context window has no room for."""


@dataclass(frozen=True)
class Inside:
    """What a pass computed."""

    logits: torch.Tensor
    """(T, V), float32."""
    attentions: torch.Tensor | None
    """(layers, heads, T, T): weights of each query (row) on keys (columns)."""
    residuals: torch.Tensor
    """(layers + 1, T, E): the residual stream before each layer, and after the last."""


def encode(lm: Any, text: str, *, bos: bool = False) -> Encoded:
    """Tokens of a text, the first ones that fit the window. Raises `DataError` for none."""
    try:
        ids = [int(i) for i in lm.tokenizer.encode(text, add_special_tokens=False)]
    except (UnicodeEncodeError, TypeError) as error:
        raise DataError("the text is not valid Unicode") from error
    first = lm.tokenizer.bos_token_id
    if bos and first is not None:
        ids = [first, *ids]
    if not ids:
        raise DataError("the text has no tokens", hint="give a text of at least one character")
    room = len(ids) if lm.window is None else lm.window
    decode = Vocabulary(lm.tokenizer).token_text
    special = dict.fromkeys(lm.tokenizer.all_special_ids)
    name = lm.tokenizer.convert_ids_to_tokens
    tokens = [str(name(i)) if i in special else decode(i) for i in ids[:room]]
    return Encoded(tuple(ids[:room]), tuple(tokens), max(0, len(ids) - room))


@torch.inference_mode()
def look(lm: Any, ids: tuple[int, ...], *, with_attention: bool = False) -> Inside:
    """Run the model on ids. Raises `ModelUnsupported` for one that does not show its attention."""
    model = lm.model
    norm = final_norm(model)
    last: list[torch.Tensor] = []
    hook = norm.register_forward_pre_hook(lambda module, given: last.append(given[0]))
    try:
        with computing_eagerly(model) if with_attention else contextlib.nullcontext():
            made = model(
                torch.tensor([ids], device=model.device),
                output_attentions=with_attention,
                output_hidden_states=True,
                use_cache=False,
            )
    finally:
        hook.remove()
    attentions = None
    if with_attention:
        if not made.attentions or any(layer is None for layer in made.attentions):
            raise ModelUnsupported(
                f"{model.config.model_type} models do not show attention weights",
                hint="explain tokens and explain lens work with them",
            )
        attentions = torch.stack([layer[0].float() for layer in made.attentions])
    # The last hidden state has been through the final norm already.
    residuals = torch.stack([*(h[0].float() for h in made.hidden_states[:-1]), last[-1][0].float()])
    return Inside(made.logits[0].float(), attentions, residuals)


def final_norm(model: Any) -> Any:
    """The norm between the last layer and the output head."""
    body = model.base_model
    for part in (body, getattr(body, "decoder", None)):
        for name in _FINAL_NORMS:
            if (norm := getattr(part, name, None)) is not None:
                return norm
    raise ModelUnsupported(
        f"hfgen does not know where the layers of {model.config.model_type} models end",
        hint="models that normalise before their head are supported",
    )


@contextlib.contextmanager
def computing_eagerly(model: Any) -> Iterator[None]:
    """Have attention computed step by step, so that its weights can be seen."""
    before = model.config._attn_implementation
    model.set_attn_implementation("eager")
    try:
        yield
    finally:
        model.set_attn_implementation(before)


def chosen(count: int, asked: list[int] | None, what: str) -> list[int]:
    """The numbers of layers or heads that are asked for, all if None. Raises `UsageError`."""
    if asked is None:
        return list(range(count))
    for number in asked:
        if not 0 <= number < count:
            raise UsageError(f"there is no {what} {number}: the model has {what}s 0 to {count - 1}")
    return asked
