"""`DecodingGPT2`: GPT-2's forward pass as the engine calls it, with nothing else in it.

Of the step of a small model on a CPU, a third goes into what is not its matrices: masks that are
built again in every step, activations in eight parts, dropout that does nothing, keyword
arguments. The two calls of the engine, a prompt from position 0 and one token a row, are written
out here over the modules and weights of `GPT2LMHeadModel`; every other call is its own. The
numbers are the same up to the last bits of float32.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn.functional import scaled_dot_product_attention
from transformers import GPT2LMHeadModel
from transformers.cache_utils import DynamicCache
from transformers.modeling_outputs import CausalLMOutputWithPast
from transformers.models.gpt2.modeling_gpt2 import GPT2Block

from hfgen.generation.cache import SlotCache


def can_decode(model: Any) -> bool:
    """Whether a model is a GPT-2 whose steps are what is written out here."""
    if type(model) is not GPT2LMHeadModel:
        return False
    config = model.config
    return (
        config._attn_implementation == "sdpa"
        and not config.add_cross_attention
        and not config.reorder_and_upcast_attn
        and all(type(block) is GPT2Block for block in model.transformer.h)
    )


class DecodingGPT2(GPT2LMHeadModel):  # type: ignore[misc]
    """A GPT-2 for the engine; made of a `GPT2LMHeadModel` by `hfgen.generation.prepared`."""

    # The wrapper carries the signature, which tells what a model accepts.
    @functools.wraps(GPT2LMHeadModel.forward)
    def forward(self, input_ids: Any = None, **inputs: Any) -> Any:
        """Logits for ids (B, T), with keys and values appended to the cache."""
        if input_ids is None or not _is_engine_call(input_ids, inputs):
            return super().forward(input_ids, **inputs)
        cache = inputs["past_key_values"]
        mask = None
        if input_ids.shape[1] == 1 and inputs.get("attention_mask") is not None:
            mask = inputs["attention_mask"][:, None, None, :].bool()
        hidden = self._hidden(input_ids, inputs["position_ids"], cache, mask)
        kept = inputs.get("logits_to_keep", 0)
        logits = self.lm_head(hidden[:, -kept:] if kept else hidden)
        return CausalLMOutputWithPast(logits=logits, past_key_values=cache)

    def _hidden(self, ids: Any, positions: Any, cache: Any, mask: Any) -> torch.Tensor:
        """Hidden states (B, T, E) after the last norm."""
        body = self.transformer
        batch, length = ids.shape
        # Everything but attention goes by rows, and takes (B * T, E).
        x = (body.wte.weight[ids] + body.wpe.weight[positions]).view(-1, body.embed_dim)
        for index, block in enumerate(self._blocks):
            made = block.c_attn(block.ln_1(x)).view(batch, length, 3, block.heads, block.head_dim)
            query, key, value = made.permute(2, 0, 3, 1, 4).unbind()
            key, value = cache.update(key, value, index)
            mixed = scaled_dot_product_attention(
                query, key, value, mask, is_causal=length > 1, scale=block.scaling
            )
            x = x + block.attn_c_proj(mixed.transpose(1, 2).reshape(x.shape))
            x = x + block.mlp_c_proj(block.act(block.c_fc(block.ln_2(x))))
        return _norm(body.ln_f)(x).view(batch, length, body.embed_dim)

    @functools.cached_property
    def _blocks(self) -> list[_Block]:
        return [_Block.of(block) for block in self.transformer.h]


Step = Callable[[torch.Tensor], torch.Tensor]


@dataclass(frozen=True, slots=True)
class _Block:
    """What a step calls of a layer, so that it is looked up once and not in every step."""

    ln_1: Step
    c_attn: Step
    attn_c_proj: Step
    ln_2: Step
    c_fc: Step
    act: Step
    mlp_c_proj: Step
    heads: int
    head_dim: int
    scaling: float

    @classmethod
    def of(cls, block: Any) -> _Block:
        attn, mlp = block.attn, block.mlp
        return cls(
            ln_1=_norm(block.ln_1),
            c_attn=attn.c_attn.forward,
            attn_c_proj=attn.c_proj.forward,
            ln_2=_norm(block.ln_2),
            c_fc=mlp.c_fc.forward,
            act=mlp.act.forward,
            mlp_c_proj=mlp.c_proj.forward,
            heads=attn.num_heads,
            head_dim=attn.head_dim,
            scaling=attn.scaling,
        )


def _norm(layer: Any) -> Step:
    return functools.partial(
        torch.layer_norm,
        normalized_shape=layer.normalized_shape,
        weight=layer.weight,
        bias=layer.bias,
        eps=layer.eps,
    )


_USED = {"past_key_values", "attention_mask", "position_ids", "use_cache", "logits_to_keep"}


def _is_engine_call(ids: torch.Tensor, inputs: dict[str, Any]) -> bool:
    """Whether it is one token a row of a `SlotCache`, or unpadded prompts and an empty cache."""
    if not _USED.issuperset(inputs) or inputs.get("position_ids") is None:
        return False
    cache: Any = inputs.get("past_key_values")
    mask = inputs.get("attention_mask")
    if isinstance(cache, SlotCache):
        return ids.shape[1] == 1
    return (
        type(cache) is DynamicCache
        and not cache.get_seq_length()
        and mask is not None
        and mask.shape == ids.shape
        and bool(mask.all())
    )
