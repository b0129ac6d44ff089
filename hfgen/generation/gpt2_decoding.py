"""`DecodingGPT2`: GPT-2's forward pass as the engine calls it, with nothing else in it.

Of the step of a small model on a CPU, a third goes into what is not its matrices: masks that are
built again in every step, activations in eight parts, dropout that does nothing, keyword
arguments. The two calls of the engine, a prompt from position 0 and one token a row, are written
out here over the modules and weights of `GPT2LMHeadModel`; every other call is its own. The
numbers are the same up to the last bits of float32.
"""

from __future__ import annotations

import functools
from typing import Any

import torch
from torch.nn.functional import layer_norm, scaled_dot_product_attention
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
        x = self._layers(input_ids, inputs["position_ids"], cache, mask)
        kept = inputs.get("logits_to_keep", 0)
        logits = self.lm_head(x[:, -kept:] if kept else x)
        return CausalLMOutputWithPast(logits=logits, past_key_values=cache)

    def _layers(self, ids: Any, positions: Any, cache: Any, mask: Any) -> torch.Tensor:
        """Hidden states (B, T, E) after the last norm."""
        body = self.transformer
        batch, length = ids.shape
        width, eps = body.embed_dim, body.ln_f.eps
        x = body.wte.weight[ids] + body.wpe.weight[positions]
        for index, block in enumerate(body.h):
            attn, mlp = block.attn, block.mlp
            h = layer_norm(x, (width,), block.ln_1.weight, block.ln_1.bias, eps)
            heads = attn.c_attn(h).view(batch, length, 3, attn.num_heads, attn.head_dim)
            query, key, value = heads.permute(2, 0, 3, 1, 4).unbind()
            key, value = cache.update(key, value, index)
            mixed = scaled_dot_product_attention(
                query, key, value, mask, is_causal=length > 1, scale=attn.scaling
            )
            x = x + attn.c_proj(mixed.transpose(1, 2).reshape(batch, length, width))
            h = layer_norm(x, (width,), block.ln_2.weight, block.ln_2.bias, eps)
            x = x + mlp.c_proj(mlp.act(mlp.c_fc(h)))
        return layer_norm(x, (width,), body.ln_f.weight, body.ln_f.bias, eps)


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
