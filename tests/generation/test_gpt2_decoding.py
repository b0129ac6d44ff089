"""The written-out forward pass of GPT-2: prompts side by side, rows in blocks, rows sorted."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from transformers.cache_utils import DynamicCache

from hfgen import GenerationOptions, Prompt
from hfgen.generation.cache import SlotCache
from hfgen.generation.cpu.gpt2 import DecodingGPT2
from hfgen.generation.cpu.prepared import prepared
from hfgen.generation.prefix import Prefix
from tests.conftest import build_model, wrap

CONTEXTS = [(5, 9, 44), (7,), (8, 8, 1, 60, 2, 30, 31), (5, 9, 44, 3)]
TEXT = "Once upon a time there was an old king who had three sons and a golden bird"


@pytest.mark.parametrize("quantize", [None, "int8"])
def test_prompts_side_by_side_are_those_computed_alone(quantize: str | None) -> None:
    model = prepared(build_model("gpt2"), quantize=quantize)
    if not isinstance(model, DecodingGPT2):
        pytest.skip("no x86 kernels of oneDNN")
    with torch.inference_mode():
        logits, caches = model.prefill(CONTEXTS, Prefix())
        for context, found, cache in zip(CONTEXTS, logits, caches, strict=True):
            alone = DynamicCache()
            ids = torch.tensor([context])
            expected = model(
                input_ids=ids, attention_mask=torch.ones_like(ids), past_key_values=alone,
                position_ids=torch.arange(len(context))[None], use_cache=True,
            ).logits[0, -1]  # fmt: skip
            assert torch.equal(found, expected)
            for layer, other in zip(cache.layers, alone.layers, strict=True):
                assert torch.equal(layer.keys, other.keys)
                assert torch.equal(layer.values, other.values)


def test_many_rows_of_unlike_lengths(tokenizer: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ninety prompts through thirty slots: blocks of rows, prompts that enter together, sorting."""
    lm = wrap(build_model("gpt2"), tokenizer)
    sorts = []
    sort_rows = SlotCache.sort_rows

    def watched(cache: SlotCache, block_rows: int) -> list[int] | None:
        order = sort_rows(cache, block_rows)
        sorts.append(order is not None)
        return order

    monkeypatch.setattr(SlotCache, "sort_rows", watched)
    prompts = [
        Prompt(
            TEXT[i % 9 : i % 9 + 1 + (i * 7) % 61],
            options=GenerationOptions(max_new_tokens=1 + (i * 17) % 60),
        )
        for i in range(90)
    ]
    crowded = lm.generate(prompts, seed=1, slots=30, ignore_eos=True)
    monkeypatch.undo()
    alone = [lm.generate(p, seed=1 + i, slots=1, ignore_eos=True) for i, p in enumerate(prompts)]
    assert [r.token_ids for r in crowded] == [r.token_ids for r in alone]
    if isinstance(lm._decoding, DecodingGPT2):
        assert any(sorts)
        assert sum(sorts) < len(sorts) / 4


def filled(lengths: list[int]) -> SlotCache:
    """A cache whose rows hold their number in keys and its negative in values."""
    cache = SlotCache()
    for number, length in enumerate(lengths, 1):
        prompt = DynamicCache()
        keys = torch.full((1, 2, length, 4), float(number))
        prompt.update(keys, -keys, 0)
        cache.insert(prompt, 0, reserve=4)
    return cache


def test_blocks_leave_out_what_no_row_of_theirs_has() -> None:
    cache = filled([9, 3, 2, 5, 1])
    assert cache.blocks(2) == [(slice(0, 2), 0), (slice(2, 4), 4), (slice(4, 6), 8)]
    assert cache.blocks(8) == [(slice(0, 8), 0)]


def test_rows_are_sorted_once_that_pays() -> None:
    lengths = [1, 9, 1, 9, 1, 9, 1, 9]
    cache = filled(lengths)
    orders = [cache.sort_rows(2) for _ in range(20)]
    first = next(order for order in orders if order is not None)
    assert sum(order is not None for order in orders) == 1
    assert orders[0] is None
    assert [lengths[old] for old in first] == [9, 9, 9, 9, 1, 1, 1, 1]
    layer = cache.layers[0]
    for row, old in enumerate(first):
        assert cache.length(row) == lengths[old]
        assert (layer.keys[row, :, 9 - lengths[old] : 9] == old + 1).all()
        assert (layer.values[row, :, 9 - lengths[old] : 9] == -old - 1).all()
