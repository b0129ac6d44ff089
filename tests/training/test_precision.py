"""Which precision is chosen, and which is refused."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from hfgen.errors import InvalidOption
from hfgen.training.planning.precision import MIN_WIDTH, choose
from tests.conftest import build_model


def model(width: int = 2 * MIN_WIDTH) -> Any:
    return build_model("gpt2", n_embd=width, n_layer=1, vocab_size=50)


@pytest.fixture
def processor(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Sets what the processor can do."""

    def able(**abilities: bool) -> None:
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: abilities)

    return able


@pytest.mark.parametrize("name", ["avx512_bf16", "amx_bf16"])
def test_a_processor_with_bf16_products_uses_them_for_wide_models(
    name: str, processor: Any
) -> None:
    processor(avx512_f=True, **{name: True})
    assert choose("auto", "cpu", model()) == "bf16"
    assert choose("auto", "cpu", model(MIN_WIDTH)) == "bf16"
    assert choose("auto", "cpu", model(MIN_WIDTH - 4)) == "fp32"
    assert choose("fp32", "cpu", model()) == "fp32"


def test_other_processors_and_devices_compute_in_float32(processor: Any) -> None:
    processor(avx2=True, avx512_bf16=False)
    assert choose("auto", "cpu", model()) == "fp32"
    assert choose("auto", "mps", model()) == "fp32"
    assert choose("bf16", "cpu", model()) == "bf16"


@pytest.mark.parametrize("has_bf16", [True, False])
def test_gpus(has_bf16: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda **_: has_bf16)
    assert choose("auto", "cuda:0", model(8)) == ("bf16" if has_bf16 else "fp16")
    assert choose("fp16", "cuda", model()) == "fp16"
    if has_bf16:
        assert choose("bf16", "cuda", model()) == "bf16"
    else:
        with pytest.raises(InvalidOption, match="fp16 or fp32 on this GPU"):
            choose("bf16", "cuda", model())


@pytest.mark.parametrize("device", ["cpu", "mps"])
def test_fp16_without_a_gpu_is_refused(device: str) -> None:
    """The Trainer would ignore it silently on a CPU."""
    with pytest.raises(InvalidOption, match="'fp16': must be bf16 or fp32") as error:
        choose("fp16", device, model())
    assert error.value.hint == 'use precision="bf16"'


def test_unknown_ones_are_refused() -> None:
    with pytest.raises(InvalidOption, match="fp8"):
        choose("fp8", "cpu", model())


def test_bf16_really_is_computed_on_this_machine(tmp_path: Any) -> None:
    """`bf16=True` reaches the products, in training and in validation, with float32 weights."""
    from tests.training.test_trainer import trainer

    made, seen = trainer(tmp_path, bf16=True, max_steps=2)
    kinds = []
    head = made.model.get_output_embeddings()
    head.register_forward_hook(lambda _m, _i, out: kinds.append(out.dtype))
    before = made.evaluate()
    made.train()
    assert set(kinds) == {torch.bfloat16}
    assert {p.dtype for p in made.model.parameters()} == {torch.float32}
    exact, losses = trainer(tmp_path, max_steps=2)
    exact_before = exact.evaluate()
    exact.train()
    assert before["eval_loss"] == pytest.approx(exact_before["eval_loss"], rel=1e-3)
    assert before["eval_loss"] != exact_before["eval_loss"]
    assert seen.losses == pytest.approx(losses.losses, rel=1e-3)
