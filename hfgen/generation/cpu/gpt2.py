"""`DecodingGPT2`: GPT-2's forward pass as the engine calls it, with nothing else in it.

Of the step of a small model on a CPU, a third goes into what is not its matrices: masks that are
built again in every step, activations in eight parts, dropout that does nothing, keyword
arguments. The two calls of the engine, a prompt from position 0 and one token a row, are written
out here over the modules and weights of `GPT2LMHeadModel`; every other call is its own. The
numbers are the same up to the last bits of float32.

All but attention goes by rows. So prompts of any lengths are computed together (`prefill`), laid
side by side and each attending to itself; and in a step rows of about one length attend in one
block, which reads the columns of its longest row only.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import torch
from torch.nn.functional import scaled_dot_product_attention
from transformers import GPT2LMHeadModel
from transformers.cache_utils import DynamicCache
from transformers.modeling_outputs import CausalLMOutputWithPast
from transformers.models.gpt2.modeling_gpt2 import GPT2Block

from hfgen.generation.cache import SlotCache
from hfgen.generation.prefix import Prefix


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
    """A GPT-2 for the engine; made of a `GPT2LMHeadModel` by `hfgen.generation.cpu.prepared`."""

    block_rows = 8
    """So many neighbouring rows attend together in a step."""

    # The wrapper carries the signature, which tells what a model accepts.
    @functools.wraps(GPT2LMHeadModel.forward)
    def forward(self, input_ids: Any = None, **inputs: Any) -> Any:
        """Logits for ids (B, T), with keys and values appended to the cache."""
        if input_ids is None or not _is_engine_call(input_ids, inputs):
            return super().forward(input_ids, **inputs)
        batch, length = input_ids.shape
        cache = inputs["past_key_values"]
        blocks = [(slice(None), 0, None)]
        if isinstance(cache, SlotCache) and inputs.get("attention_mask") is not None:
            mask = inputs["attention_mask"][:, None, None, :].bool()
            blocks = [
                (rows, first, mask[rows, ..., first:])
                for rows, first in cache.blocks(self.block_rows)
            ]

        def attend(index: int, made: torch.Tensor, heads: _Heads) -> torch.Tensor:
            query, key, value = heads.parts(made.view(batch, length, -1))
            key, value = cache.update(key, value, index)
            mixed = [
                heads.attend(query[rows], key[rows, :, first:], value[rows, :, first:], mask)
                for rows, first, mask in blocks
            ]
            return mixed[0] if len(mixed) == 1 else torch.cat(mixed)

        hidden = self._hidden(input_ids.flatten(), inputs["position_ids"].flatten(), attend)
        hidden = hidden.view(batch, length, -1)
        kept = inputs.get("logits_to_keep", 0)
        logits = self._logits(hidden[:, -kept:] if kept else hidden)
        return CausalLMOutputWithPast(logits=logits, past_key_values=cache)

    def prefill(
        self, contexts: Sequence[tuple[int, ...]], prefix: Prefix
    ) -> tuple[torch.Tensor, list[DynamicCache]]:
        """Compute contexts of any lengths: logits (B, V) after each, and each one's cache.

        All of them begin with `prefix`, which is not computed again.
        """
        start = len(prefix.ids)
        lengths = [len(context) - start for context in contexts]
        caches = [prefix.copies(1) for _ in contexts]
        masks = [_after(start, length) if start else None for length in lengths]

        def attend(index: int, made: torch.Tensor, heads: _Heads) -> torch.Tensor:
            mixed = []
            parts = torch.split(made, lengths)
            for part, cache, mask in zip(parts, caches, masks, strict=True):
                query, key, value = heads.parts(part[None])
                key, value = cache.update(key, value, index)
                mixed.append(heads.attend(query, key, value, mask))
            return torch.cat(mixed)

        ids = torch.tensor(list(chain.from_iterable(context[start:] for context in contexts)))
        positions = torch.cat([torch.arange(start, start + length) for length in lengths])
        hidden = self._hidden(ids, positions, attend)
        return self._logits(hidden[torch.tensor(lengths).cumsum(0) - 1]), caches

    def _hidden(self, ids: Any, positions: Any, attend: Attend) -> torch.Tensor:
        """Hidden states (N, E) before the last norm, of ids (N,) of any texts."""
        body = self.transformer
        x = body.wte.weight[ids] + body.wpe.weight[positions]
        for index, block in enumerate(self._blocks):
            x = x + block.attn_c_proj(attend(index, block.c_attn(block.ln_1(x)), block.heads))
            x = x + block.mlp_c_proj(block.act(block.c_fc(block.ln_2(x))))
        hidden: torch.Tensor = x
        return hidden

    def _logits(self, hidden: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.lm_head(_norm(self.transformer.ln_f)(hidden))
        return logits

    @functools.cached_property
    def _blocks(self) -> list[_Block]:
        return [_Block.of(block) for block in self.transformer.h]


@dataclass(frozen=True, slots=True)
class _Heads:
    """The attention of a layer without its matrices."""

    count: int
    size: int
    scaling: float

    def parts(self, made: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Queries, keys and values (B, heads, T, size) of (B, T, 3 E)."""
        by_head = made.view(*made.shape[:2], 3, self.count, self.size)
        return by_head.permute(2, 0, 3, 1, 4).unbind()

    def attend(
        self, query: Any, key: Any, value: Any, mask: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Mixed values (B * T, E); each query sees the keys up to its own, or those of the mask."""
        is_causal = mask is None and query.shape[2] > 1
        mixed = scaled_dot_product_attention(
            query, key, value, mask, is_causal=is_causal, scale=self.scaling
        )
        return mixed.transpose(1, 2).reshape(-1, self.count * self.size)


Step = Callable[[torch.Tensor], torch.Tensor]
Attend = Callable[[int, torch.Tensor, _Heads], torch.Tensor]


@dataclass(frozen=True, slots=True)
class _Block:
    """What a step calls of a layer, so that it is looked up once and not in every step."""

    ln_1: Step
    c_attn: Step
    heads: _Heads
    attn_c_proj: Step
    ln_2: Step
    c_fc: Step
    act: Step
    mlp_c_proj: Step

    @classmethod
    def of(cls, block: Any) -> _Block:
        attn, mlp = block.attn, block.mlp
        return cls(
            ln_1=_norm(block.ln_1),
            c_attn=attn.c_attn.forward,
            heads=_Heads(attn.num_heads, attn.head_dim, attn.scaling),
            attn_c_proj=attn.c_proj.forward,
            ln_2=_norm(block.ln_2),
            c_fc=mlp.c_fc.forward,
            act=mlp.act.forward,
            mlp_c_proj=mlp.c_proj.forward,
        )


def _after(start: int, length: int) -> torch.Tensor:
    """The causal mask (1, 1, T, columns) of so many new tokens after `start` others."""
    columns = start + length
    return torch.ones((length, columns), dtype=torch.bool).tril(start)[None, None]


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
