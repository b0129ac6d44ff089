"""New models: counts are those of the real ones, wrong shapes and too large ones are refused."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from hfgen.errors import InvalidOption, OptionConflict, OutOfMemory
from hfgen.models.sizing.memory import Memory
from hfgen.training.model.new_gpt2 import (
    SIZES,
    build_model,
    check_memory,
    choose_size,
    describe,
    find_size,
    model_config,
)

NAMED = {
    "1m": 1e6, "3m": 3e6, "10m": 10e6, "30m": 30e6, "124m": 124_439_808, "355m": 354_823_168,
    "774m": 774_030_080, "1558m": 1_557_611_200,
}  # fmt: skip


class Vocabulary:
    """All that a configuration takes from a tokenizer."""

    def __init__(self, size: int, bos: int | None = 0, eos: int = 0) -> None:
        self.size, self.bos_token_id, self.eos_token_id = size, bos, eos

    def __len__(self) -> int:
        return self.size


@pytest.mark.parametrize("name", SIZES)
def test_sizes_have_the_weights_they_are_named_for(name: str) -> None:
    from transformers import GPT2LMHeadModel

    size = find_size(name)
    expected = NAMED[name]
    with torch.device("meta"):
        model = GPT2LMHeadModel(model_config(size, Vocabulary(size.vocab_size)))
    count = sum(parameter.numel() for parameter in model.parameters())
    told = describe(size)
    assert told.parameters == count
    assert (told.weights_bytes, told.training_bytes) == (4 * count, 16 * count)
    assert count == expected if expected > 1e8 else count == pytest.approx(expected, rel=0.07)


def test_a_model_can_be_described_by_numbers() -> None:
    size = choose_size("10m", n_layer=2, n_embd=64, n_head=4, n_positions=128, vocab_size=300)
    model = build_model(model_config(size, Vocabulary(300)), seed=1)
    assert describe(size).parameters == sum(p.numel() for p in model.parameters())
    assert model.lm_head.weight is model.transformer.wte.weight
    assert choose_size() == SIZES["3m"]
    assert choose_size("GPT2-XL") == find_size("1.5b") == SIZES["1558m"]


@pytest.mark.parametrize(
    ("width", "heads"), [(768, 12), (512, 8), (96, 3), (32, 1), (64, 2), (100, 2), (7, 1), (1, 1)]
)
def test_heads_are_chosen_for_a_width(width: int, heads: int) -> None:
    assert choose_size(n_embd=width).n_head == heads


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"name": "7b"}, "size = '7b': must be 1m, 3m, .*gpt2-xl"),
        ({"n_layer": 0}, "n_layer = 0: must be a whole number from 1 to 1,024"),
        ({"n_embd": 10**9}, "n_embd = 1000000000"),
        ({"n_head": -1}, "n_head = -1"),
        ({"n_positions": 1}, "n_positions = 1: must be a whole number from 2"),
    ],
)
def test_wrong_sizes(given: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidOption, match=message):
        choose_size(**given)


def test_heads_must_divide_the_width() -> None:
    with pytest.raises(
        OptionConflict, match="n_embd 100 cannot be divided among 3 heads"
    ) as caught:
        choose_size(n_embd=100, n_head=3)
    assert caught.value.hint == "use n_embd=99, or another n_head"
    assert choose_size(n_embd=99, n_head=3).n_embd == 99


def test_weights_begin_as_gpt2s() -> None:
    size = choose_size(n_layer=8, n_embd=256, vocab_size=2000)
    config = model_config(size, Vocabulary(2000))
    model = build_model(config, seed=3)
    scaled = 0.02 / math.sqrt(2 * 8)
    for name, weight in model.state_dict().items():
        if name.endswith("c_proj.weight"):
            assert float(weight.std()) == pytest.approx(scaled, rel=0.05), name
        elif name.endswith(("c_attn.weight", "c_fc.weight", "wte.weight")):
            assert float(weight.std()) == pytest.approx(0.02, rel=0.05), name
        elif name.endswith("bias"):
            assert not weight.any(), name
    assert {weight.dtype for weight in model.parameters()} == {torch.float32}


def test_the_same_seed_gives_the_same_weights() -> None:
    config = model_config(choose_size("1m", n_layer=1), Vocabulary(300))
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    first, second, other = (build_model(config, seed) for seed in (1, 1, 2))
    assert torch.equal(torch.rand(1), expected)
    for one, two in zip(first.parameters(), second.parameters(), strict=True):
        assert torch.equal(one, two)
    assert not torch.equal(first.lm_head.weight, other.lm_head.weight)


def test_the_configuration_is_the_tokenizers() -> None:
    config = model_config(choose_size("1m"), Vocabulary(300, bos=None, eos=7), dropout=0.1)
    assert (config.vocab_size, config.bos_token_id, config.eos_token_id) == (300, 7, 7)
    assert (config.resid_pdrop, config.embd_pdrop, config.attn_pdrop) == (0.1, 0.1, 0.1)
    assert model_config(choose_size("1m"), Vocabulary(300, bos=0, eos=7)).bos_token_id == 0
    assert model_config(choose_size("1m"), Vocabulary(300)).attn_pdrop == 0


def test_a_model_too_large_for_memory_is_refused_first() -> None:
    gigabytes = Memory("cpu", 8 * 10**9, 6 * 10**9)
    check_memory(SIZES["355m"], gigabytes)
    with pytest.raises(OutOfMemory) as caught:
        check_memory(SIZES["774m"], gigabytes)
    assert caught.value.message == (
        "training a model of 774M parameters takes at least 12 GB, and 6.0 GB of memory are free"
    )
    assert caught.value.hint == 'use size="124m"'
    with pytest.raises(OutOfMemory, match="of GPU memory are free") as caught:
        check_memory(SIZES["1m"], Memory("cuda", 10**6, 10**6))
    assert caught.value.hint == "choose a smaller model"
    with pytest.raises(OutOfMemory):
        check_memory(choose_size(n_layer=1024, n_embd=65_536))
