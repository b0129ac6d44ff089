"""The engine's own model: the same numbers, the original untouched, rows apart."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn
from transformers.cache_utils import DynamicCache
from transformers.pytorch_utils import Conv1D

from hfgen.errors import InvalidOption, OptionConflict
from hfgen.generation.cpu import prepared as module
from hfgen.generation.cpu.gpt2 import DecodingGPT2
from hfgen.generation.cpu.packed import Int8Linear, PackedLinear
from hfgen.generation.cpu.prepared import prepared
from hfgen.loading import load
from tests.conftest import ARCHITECTURES, build_model

IDS = torch.tensor([[5, 9, 44, 7, 3], [8, 8, 1, 60, 2]])
needs_kernels = pytest.mark.skipif(not module._has_kernels(), reason="no x86 kernels of oneDNN")


def logits(model: Any, ids: torch.Tensor) -> torch.Tensor:
    """Of a prompt and of one more token, as the engine asks for them."""
    cache = DynamicCache()
    positions = torch.arange(ids.shape[1]).expand_as(ids)
    inputs = {"position_ids": positions} if "position_ids" in signature(model) else {}
    with torch.inference_mode():
        first = model(
            input_ids=ids, attention_mask=torch.ones_like(ids), past_key_values=cache,
            use_cache=True, **inputs,
        ).logits  # fmt: skip
        second = model(input_ids=ids[:, :1], past_key_values=cache, use_cache=True).logits
    return torch.cat([first, second], dim=1)


def signature(model: Any) -> Any:
    import inspect

    return inspect.signature(model.forward).parameters


@needs_kernels
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_packed_weights_give_the_same_logits(
    architecture: str, model_of: Callable[[str], Any]
) -> None:
    model = model_of(architecture)
    kinds = {type(layer) for layer in model.modules()}
    own = prepared(model)
    assert any(type(layer) is PackedLinear for layer in own.modules())
    assert not any(type(layer) in (nn.Linear, Conv1D) for layer in own.modules())
    torch.testing.assert_close(logits(own, IDS), logits(model, IDS), atol=2e-5, rtol=1e-5)
    assert {type(layer) for layer in model.modules()} == kinds


def test_the_original_keeps_its_weights_and_trains(model_of: Callable[[str], Any]) -> None:
    model = build_model("gpt2")
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    prepared(model)
    prepared(model, quantize="int8")
    after = model.state_dict()
    assert all(torch.equal(tensor, after[name]) for name, tensor in before.items())
    assert not isinstance(model, DecodingGPT2)
    model.requires_grad_(True)
    model(input_ids=IDS, labels=IDS).loss.backward()


@needs_kernels
def test_in_place_no_original_is_left() -> None:
    model = build_model("gpt2")
    own = prepared(model, is_own=True)
    assert own is model
    assert not [name for name, _ in own.named_parameters() if "c_attn" in name]


@pytest.mark.parametrize("kind", [PackedLinear, Int8Linear])
@pytest.mark.parametrize("activation", [None, "gelu_tanh", "gelu"])
def test_a_row_does_not_depend_on_the_rows_beside_it(kind: Any, activation: str | None) -> None:
    if kind is PackedLinear and not module._has_kernels():
        pytest.skip("no x86 kernels of oneDNN")
    torch.manual_seed(0)
    layer = kind(torch.randn(96, 160), torch.randn(96), activation)
    rows = torch.randn(33, 160) * torch.logspace(-3, 3, 33)[:, None]
    together = layer(rows)
    for count in (1, 2, 7, 16, 32):
        assert torch.equal(layer(rows[-count:]), together[-count:])
    assert torch.equal(layer(rows.view(3, 11, 160)), together.view(3, 11, 96))


def test_integers_are_near_the_weights_and_exact_beyond_them() -> None:
    """Against the same sum in float64, over the values as they were rounded."""
    torch.manual_seed(0)
    weight, bias, rows = torch.randn(64, 200), torch.randn(64), torch.randn(9, 200)
    layer = Int8Linear(weight, bias)
    scale = weight.abs().amax(1, keepdim=True) / 127
    assert (layer.weight - weight).abs().le(scale / 2 * 1.0001).all()
    row_scale = rows.abs().amax(1, keepdim=True) / 127
    rounded = (rows / row_scale).round().double() * row_scale.double()
    # The layer narrows: what rounding left is there too, to half a step of a finer grid.
    exact = rows.double() @ layer.weight.double().t() + bias
    once = rounded @ layer.weight.double().t() + bias
    assert (layer(rows) - exact).abs().max() < (once - exact).abs().max() / 50
    assert torch.equal(layer(torch.zeros(2, 200)), bias.expand(2, 64))

    wide = Int8Linear(torch.randn(300, 200), None)
    expected = rounded @ wide.weight.double().t()
    torch.testing.assert_close(wide(rows).double(), expected, atol=1e-4, rtol=1e-5)


def test_a_row_of_nan_or_infinity_does_not_spread() -> None:
    torch.manual_seed(0)
    layer = Int8Linear(torch.randn(64, 40), None)
    rows = torch.randn(3, 40)
    clean = layer(rows)
    rows[1, 3] = float("nan")
    got = layer(rows)
    assert torch.equal(got[[0, 2]], clean[[0, 2]])
    assert got[1].isnan().all()


@pytest.mark.parametrize("architecture", ["gpt2", "llama", "gpt_neox"])
def test_int8_changes_the_distribution_little(
    architecture: str, model_of: Callable[[str], Any]
) -> None:
    model = model_of(architecture)
    exact = logits(model, IDS).log_softmax(-1)
    rounded = logits(prepared(model, quantize="int8"), IDS).log_softmax(-1)
    divergence = (exact.exp() * (exact - rounded)).sum(-1)
    assert 0 < divergence.mean() < 0.01


def test_unknown_precisions_and_half_precision_are_refused() -> None:
    with pytest.raises(InvalidOption, match="int8"):
        load("storyteller", quantize="int3")
    with pytest.raises(OptionConflict, match="float16"):
        prepared(build_model("gpt2").half(), quantize="int8")


def test_a_gpt2_of_another_form_keeps_its_own_forward_pass() -> None:
    model = build_model("gpt2", reorder_and_upcast_attn=True)
    assert not isinstance(prepared(model), DecodingGPT2)
