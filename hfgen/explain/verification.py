"""Whether a model's attention is softmax(QKᵀ/√d)V: recomputed from its queries, keys and values.

Queries and keys are taken as the model compares them, after rotation where it rotates them; grouped
keys are repeated; the mask tells which keys a query may see (causal, sliding window). The formula
is written out here in float64, and compared with the weights and the output of the model's own
layers.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch

from hfgen.errors import ModelUnsupported
from hfgen.explain.inside import computing_eagerly, encode

_NAME = "hfgen_recorded"
_OUTPUTS = ("c_proj", "o_proj", "out_proj", "dense")


@dataclass(frozen=True)
class Verified:
    """One layer against the formula."""

    layer: int
    scale: float
    """What scores are multiplied by; 1/√d in most models, 1 in GPT-Neo."""
    is_root: bool
    """Whether that is 1/√d."""
    weights_error: float
    """Largest difference of a weight."""
    output_error: float
    """Largest difference of the heads' output, relative to its largest value."""

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready mapping."""
        return {
            "layer": self.layer,
            "scale": self.scale,
            "is_one_over_root_d": self.is_root,
            "weights_error": self.weights_error,
            "output_error": self.output_error,
        }


@dataclass
class _Recorded:
    """What one attention layer computes with: (heads, T, d) each, keys and values repeated."""

    query: torch.Tensor
    key: torch.Tensor
    value: torch.Tensor
    scale: float
    softcap: float | None
    may_see: torch.Tensor
    """(T, T)."""
    query_scale: float = 1.0
    """What the queries have been multiplied by already (OPT)."""


@torch.inference_mode()
def verify(lm: Any, text: str) -> list[Verified]:
    """Recompute the attention of every layer on a text.

    Raises `ModelUnsupported` for architectures whose queries and keys cannot be had.
    """
    ids = torch.tensor([encode(lm, text).ids], device=lm.model.device)
    with _recording(lm.model) as recorded:
        lm.model(ids, use_cache=False)
    if not recorded:
        raise ModelUnsupported(
            f"the queries and keys of {lm.model.config.model_type} models cannot be recorded",
            hint="hfgen explain attention without --verify shows the weights",
        )
    with computing_eagerly(lm.model), _mixed_values(list(recorded)) as mixed:
        weights = lm.model(ids, use_cache=False, output_attentions=True).attentions
    found = []
    for layer, (module, one) in enumerate(recorded.items()):
        own_weights, own_output = formula(one)
        theirs = mixed[module].double()
        root = 1 / math.sqrt(one.query.shape[-1])
        scale = one.scale * one.query_scale
        found.append(
            Verified(
                layer=layer,
                scale=scale,
                is_root=math.isclose(scale, root, rel_tol=1e-6),
                weights_error=float((own_weights - weights[layer][0].double()).abs().max()),
                output_error=float((own_output - theirs).abs().max() / theirs.abs().max()),
            )
        )
    return found


def formula(one: _Recorded) -> tuple[torch.Tensor, torch.Tensor]:
    """softmax(QKᵀ·scale)V in float64: weights (heads, T, T) and output (T, heads · d)."""
    scores = one.query.double() @ one.key.double().transpose(1, 2) * one.scale
    if one.softcap is not None:
        scores = one.softcap * torch.tanh(scores / one.softcap)
    weights = scores.masked_fill(~one.may_see, -math.inf).softmax(dim=-1)
    output = weights @ one.value.double()
    return weights, output.transpose(0, 1).flatten(start_dim=1)


@contextlib.contextmanager
def _recording(model: Any) -> Iterator[dict[Any, _Recorded]]:
    """Note what each attention layer computes with."""
    recorded: dict[Any, _Recorded] = {}
    if model.config.model_type == "gpt_neo":
        with _recording_gpt_neo(model, recorded):
            yield recorded
        return
    if not getattr(model, "_supports_attention_backend", False):
        yield recorded
        return
    from transformers import AttentionInterface, AttentionMaskInterface
    from transformers.masking_utils import eager_mask

    def record(
        module: Any,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        attention_mask: torch.Tensor | None,
        scaling: float | None = None,
        softcap: float | None = None,
        s_aux: Any = None,
        **settings: Any,
    ) -> tuple[torch.Tensor, None]:
        if s_aux is not None:
            raise ModelUnsupported("attention with learned sinks is not verified")
        groups = query.shape[1] // key.shape[1]
        length = query.shape[2]
        may_see = torch.ones((length, length), dtype=torch.bool, device=query.device).tril()
        if attention_mask is not None:
            may_see = attention_mask[0, 0, :, :length] > -1
        one = _Recorded(
            query[0],
            key[0].repeat_interleave(groups, dim=0),
            value[0].repeat_interleave(groups, dim=0),
            query.shape[-1] ** -0.5 if scaling is None else float(scaling),
            softcap,
            may_see,
            query_scale=float(getattr(module, "scaling", 1.0)) if scaling == 1.0 else 1.0,
        )
        recorded[module] = one
        output = formula(one)[1].to(query.dtype).view(1, length, query.shape[1], -1)
        return output, None

    before = model.config._attn_implementation
    AttentionInterface.register(_NAME, record)
    AttentionMaskInterface.register(_NAME, eager_mask)
    model.set_attn_implementation(_NAME)
    try:
        yield recorded
    finally:
        model.set_attn_implementation(before)


@contextlib.contextmanager
def _recording_gpt_neo(model: Any, recorded: dict[Any, _Recorded]) -> Iterator[None]:
    """GPT-Neo: no scaling, and every other layer sees `window_size` tokens only."""

    def record(module: Any, given: Any, named: Any) -> None:
        hidden = named["hidden_states"] if "hidden_states" in named else given[0]
        length = hidden.shape[1]
        parts = [
            projection(hidden)[0].view(length, module.num_heads, -1).transpose(0, 1)
            for projection in (module.q_proj, module.k_proj, module.v_proj)
        ]
        may_see = torch.ones((length, length), dtype=torch.bool, device=hidden.device).tril()
        if module.attention_type == "local":
            may_see = may_see.triu(1 - model.config.window_size)
        query, key, value = parts
        recorded[module] = _Recorded(query, key, value, 1.0, None, may_see)

    layers = [block.attn.attention for block in model.transformer.h]
    hooks = [layer.register_forward_pre_hook(record, with_kwargs=True) for layer in layers]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


@contextlib.contextmanager
def _mixed_values(layers: list[Any]) -> Iterator[dict[Any, torch.Tensor]]:
    """What each layer hands to its output projection: (T, heads · d)."""
    mixed: dict[Any, torch.Tensor] = {}
    hooks = []
    for layer in layers:
        name = next((name for name in _OUTPUTS if hasattr(layer, name)), None)
        if name is None:
            raise ModelUnsupported("the output projection of the attention layers is not known")

        def note(module: Any, given: Any, layer: Any = layer) -> None:
            mixed[layer] = given[0][0]

        hooks.append(getattr(layer, name).register_forward_pre_hook(note))
    try:
        yield mixed
    finally:
        for hook in hooks:
            hook.remove()
