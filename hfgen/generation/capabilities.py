"""Which models the engine can decode: those that keep keys and values, and take positions."""

from __future__ import annotations

import inspect
from typing import Any

from transformers.cache_utils import DynamicCache, DynamicLayer

from hfgen.errors import ModelUnsupported

# Architectures without `position_ids` that take positions from the mask (ALiBi and the like).
_POSITIONS_FROM_MASK = ("bloom", "ctrl", "falcon", "mpt", "xglm")


def forward_parameters(model: Any) -> frozenset[str]:
    """The names of what a model's forward pass takes."""
    return frozenset(inspect.signature(model.forward).parameters)


def check_forward(model: Any) -> None:
    """Refuse a model whose rows could not be told apart by positions, or that has no cache."""
    accepts = forward_parameters(model)
    if "past_key_values" not in accepts:
        raise _unsupported(model, "Transformers keeps no key-value cache for it")
    if "position_ids" not in accepts and model.config.model_type not in _POSITIONS_FROM_MASK:
        raise _unsupported(model, "it takes no explicit positions")


def check_cache(model: Any, cache: DynamicCache, length: int) -> None:
    """Refuse a model that keeps anything else than keys and values of every token.

    `cache` is what it filled with the first `length` tokens.
    """
    layers = cache.layers
    if not layers or any(
        type(layer) is not DynamicLayer or layer.get_seq_length() != length for layer in layers
    ):
        raise _unsupported(model, "it keeps a state other than keys and values")


def _unsupported(model: Any, reason: str) -> ModelUnsupported:
    return ModelUnsupported(
        f"hfgen cannot decode {model.config.model_type} models: {reason}",
        hint="GPT-2, GPT-Neo, GPT-J, GPT-NeoX, OPT, Bloom, Llama, Qwen and their like work",
    )
