"""Pickled weights (`pytorch_model.bin`) that lie one level down in their file.

Training loops save what they like: `{"state_dict": weights, "epoch": 3}`. Transformers takes the
keys of the file for names of weights, and would find none.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any


@contextlib.contextmanager
def unwrapping() -> Iterator[None]:
    """Have Transformers find the weights of files in which all of them lie under one key."""
    from transformers import modeling_utils

    original = modeling_utils.load_state_dict

    def load_state_dict(*arguments: Any, **options: Any) -> Any:
        return unwrapped(original(*arguments, **options))

    modeling_utils.load_state_dict = load_state_dict
    try:
        yield
    finally:
        modeling_utils.load_state_dict = original


def unwrapped(loaded: Any) -> Any:
    """Return the weights in what a file holds: itself, or the one dictionary of weights in it."""
    if not isinstance(loaded, dict) or any(map(_is_tensor, loaded.values())):
        return loaded
    inner = [value for value in loaded.values() if isinstance(value, dict) and _has_tensors(value)]
    return inner[0] if len(inner) == 1 else loaded


def _has_tensors(values: dict[Any, Any]) -> bool:
    return bool(values) and all(map(_is_tensor, values.values()))


def _is_tensor(value: object) -> bool:
    import torch

    return isinstance(value, torch.Tensor)
