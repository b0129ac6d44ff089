"""Where attention heads look: weights, rollout, and what a head is known to do.

Attention shows what a head reads, not why the model answers as it does (Jain and Wallace 2019,
"Attention is not Explanation"); `attribute` and ablation ask for causes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from hfgen.errors import UsageError
from hfgen.explain.inside import chosen, encode, look

_REPEATED = 50
_ROWS = 4


@dataclass(frozen=True)
class Attention:
    """Weights with axes layer, head, query, key; each query's weights add up to 1."""

    tokens: tuple[str, ...]
    layers: tuple[int, ...]
    heads: tuple[int, ...]
    weights: np.ndarray
    """[layer][head][query][key]."""
    rollout: np.ndarray
    """[query][key]: through all layers, heads averaged, half of it staying in place (Abnar and
    Zuidema 2020, "Quantifying Attention Flow in Transformers")."""
    left_out: int = 0

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready mapping."""
        return {
            "tokens": list(self.tokens),
            "layers": list(self.layers),
            "heads": list(self.heads),
            "weights": self.weights.tolist(),
            "rollout": self.rollout.tolist(),
            "axes": ["layer", "head", "query", "key"],
            "left_out": self.left_out,
        }


@dataclass(frozen=True)
class HeadScore:
    """What a head does on random tokens that are repeated; 1 is always."""

    layer: int
    head: int
    previous: float
    """Mean weight on the token before."""
    duplicate: float
    """Mean weight on the same token's first occurrence."""
    induction: float
    """Mean weight on what followed it there (Olsson et al. 2022, "prefix matching")."""
    first: float
    """Mean weight on the first token of all (a sink)."""

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready mapping."""
        return {
            "layer": self.layer,
            "head": self.head,
            "previous_token": self.previous,
            "duplicate_token": self.duplicate,
            "induction": self.induction,
            "first_token": self.first,
        }


def attention(
    lm: Any,
    text: str,
    *,
    layers: Sequence[int] | None = None,
    heads: Sequence[int] | None = None,
    bos: bool = False,
) -> Attention:
    """Attention weights of a text, the beginning that fits the window.

    Raises `UsageError` for a layer or head that is not there, `ModelUnsupported` where the model
    shows no weights.
    """
    encoded = encode(lm, text, bos=bos)
    inside = look(lm, encoded.ids, with_attention=True)
    assert inside.attentions is not None
    weights = inside.attentions.cpu().numpy()
    which = chosen(weights.shape[0], None if layers is None else list(layers), "layer")
    of_each = chosen(weights.shape[1], None if heads is None else list(heads), "head")
    return Attention(
        encoded.tokens,
        tuple(which),
        tuple(of_each),
        weights[which][:, of_each],
        rollout(weights),
        encoded.left_out,
    )


def rollout(weights: np.ndarray) -> np.ndarray:
    """Attention through all layers (query, key), from weights (layer, head, query, key)."""
    length = weights.shape[-1]
    found = np.eye(length)
    for layer in weights.mean(axis=1):
        found = (0.5 * layer + 0.5 * np.eye(length)) @ found
    return found


def head_scores(lm: Any, *, no_first: bool = False, seed: int = 0) -> list[HeadScore]:
    """What each head does, by random tokens r written twice: r r.

    `no_first` leaves the weight on the first token out, and shares it among the others. Raises
    `UsageError` for a window that is too short.
    """
    length = _REPEATED if lm.window is None else min(_REPEATED, lm.window // 2)
    if length < 2:
        raise UsageError(f"the context window of {lm.window} tokens is too short for this")
    draw = np.random.default_rng(seed)
    size = int(lm.model.get_input_embeddings().weight.shape[0])
    total: Any = 0.0
    for _ in range(_ROWS):
        once = draw.choice(size, size=length, replace=size < length)
        inside = look(lm, tuple(map(int, [*once, *once])), with_attention=True)
        assert inside.attentions is not None
        weights = inside.attentions
        first = weights[..., 0].mean(dim=-1)
        if no_first:
            weights = weights.clone()
            weights[..., 0] = 0
            weights = weights / weights.sum(dim=-1, keepdim=True).clamp_min(1e-9)
        total = total + torch.stack(
            [
                _diagonal(weights, 1, 1),
                _diagonal(weights, length, length),
                _diagonal(weights, length - 1, length),
                first,
            ]
        )
    mean = (total / _ROWS).cpu().numpy()
    return [
        HeadScore(layer, head, *(float(value) for value in mean[:, layer, head]))
        for layer in range(mean.shape[1])
        for head in range(mean.shape[2])
    ]


def _diagonal(weights: torch.Tensor, back: int, start: int) -> torch.Tensor:
    """Mean weight (layer, head) of queries from `start` on, on the key so far back."""
    queries = torch.arange(start, weights.shape[-1], device=weights.device)
    return weights[..., queries, queries - back].mean(dim=-1)
