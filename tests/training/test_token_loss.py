"""The loss of learned positions alone against all positions, and the chunked sum against torch."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from hfgen.models.silence import quiet
from hfgen.training.data.collators import IGNORED, Dense, Padded
from hfgen.training.data.encode import EncodedExample
from hfgen.training.loop.loss import (
    ScoredModel,
    can_leave_out,
    learned,
    summed_loss,
    token_loss,
)
from tests.conftest import ARCHITECTURES, build_model
from tests.training.test_batches import EOS, documents

NAMES = sorted(set(ARCHITECTURES) - {"bloom", "opt"})


def quiet_model(name: str) -> Any:
    """With gradients, and no dropout."""
    model: Any = build_model(name, initializer_range=0.05)
    return model.eval()


def rows() -> list[EncodedExample]:
    """Among them one of a single token, and one of which nothing is learned."""
    nothing = EncodedExample([5, 6, 7], [False] * 3)
    return [*documents(5, seed=4), EncodedExample([9], [True]), nothing]


def slopes(model: Any) -> torch.Tensor:
    return torch.cat([p.grad.flatten() for p in model.parameters()])


@pytest.mark.parametrize("collator", [Dense, Padded])
@pytest.mark.parametrize("name", NAMES)
def test_what_is_left_out_changes_neither_loss_nor_gradients(name: str, collator: Any) -> None:
    model = quiet_model(name)
    assert can_leave_out(model)
    batch = collator(EOS)(rows())
    seen = []
    model.get_output_embeddings().register_forward_hook(lambda _m, _i, out: seen.append(out.shape))
    total, count = ScoredModel(model).loss(model, batch)
    assert seen[-1][0] == count < batch["labels"].numel()
    total.backward()
    found = slopes(model)
    model.zero_grad()
    inputs = {name: value for name, value in batch.items() if name != "labels"}
    logits = model(**inputs).logits[:, :-1]
    expected = torch.nn.functional.cross_entropy(
        logits.reshape(-1, logits.shape[-1]), batch["labels"][:, 1:].reshape(-1), reduction="sum"
    )
    expected.backward()
    assert total.item() == pytest.approx(expected.item(), rel=1e-6)
    assert (found - slopes(model)).abs().max() < 1e-5 * found.abs().max()


def test_softcapped_logits_are_the_models_own() -> None:
    import transformers

    config = transformers.Gemma2Config(
        vocab_size=300, hidden_size=16, intermediate_size=16, num_hidden_layers=1, head_dim=8,
        num_attention_heads=2, num_key_value_heads=1, final_logit_softcapping=1.0,
    )  # fmt: skip
    torch.manual_seed(0)
    model = transformers.Gemma2ForCausalLM(config)
    torch.nn.init.normal_(model.lm_head.weight)
    ids = torch.arange(20).reshape(2, 10)
    total, count = ScoredModel(model).loss(model, {"input_ids": ids, "labels": ids})
    logits = model(ids).logits
    assert float(logits.detach().abs().max()) <= 1.0
    assert count == 18
    assert total.item() == pytest.approx(token_loss(logits, ids)[0].item(), rel=1e-6)


def test_an_adapter_leaves_out_too() -> None:
    peft = pytest.importorskip("peft")
    config = peft.LoraConfig(target_modules=["q_proj"], task_type="CAUSAL_LM")
    with quiet():
        model = peft.get_peft_model(quiet_model("llama"), config)
    assert can_leave_out(model)
    batch = Dense(EOS)(rows())
    total, count = ScoredModel(model).loss(model, batch)
    inputs = {name: value for name, value in batch.items() if name != "labels"}
    expected, number = token_loss(model(**inputs).logits, batch["labels"])
    assert count == number
    assert total.item() == pytest.approx(expected.item(), rel=1e-6)


class _NumberAlone(torch.nn.Module):
    """A model that has the argument, but understands only a number."""

    def __init__(self, inner: Any) -> None:
        super().__init__()
        self.inner = inner

    def get_input_embeddings(self) -> Any:
        return self.inner.get_input_embeddings()

    def forward(self, logits_to_keep: Any = 0, **inputs: Any) -> Any:
        return self.inner(**inputs)


def test_models_that_compute_all_positions_have_the_same_loss() -> None:
    inner = quiet_model("gpt2")
    model = _NumberAlone(inner).eval()
    assert not can_leave_out(model)
    batch = Padded(EOS)(rows())
    total, count = ScoredModel(model).loss(model, batch)
    expected, number = ScoredModel(inner).loss(inner, batch)
    assert count == number
    assert total.item() == pytest.approx(expected.item(), rel=1e-6)


def test_a_batch_of_which_nothing_is_learned_has_no_gradient() -> None:
    model = quiet_model("gpt2")
    ids = torch.tensor([[1, 2, 3]])
    total, count = ScoredModel(model).loss(
        model, {"input_ids": ids, "labels": torch.full_like(ids, IGNORED)}
    )
    assert (total.item(), count) == (0.0, 0)
    total.backward()
    assert slopes(model).abs().max() == 0.0


def test_places_come_before_what_they_predict() -> None:
    labels = torch.tensor([[IGNORED, 4, IGNORED, 6], [5, IGNORED, IGNORED, IGNORED]])
    places, targets = learned(labels)
    assert places.tolist() == [[True, False, True, False], [False] * 4]
    assert targets.tolist() == [4, 6]
    assert labels[0].tolist() == [IGNORED, 4, IGNORED, 6]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_sum_in_chunks_is_cross_entropy(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    logits = (3 * torch.randn(700, 90)).to(dtype).requires_grad_()
    targets = torch.randint(90, (700,))
    total = summed_loss(logits, targets)
    exact = torch.nn.functional.cross_entropy(logits.double(), targets, reduction="sum")
    assert total.item() == pytest.approx(exact.item(), rel=1e-6)
    (found,) = torch.autograd.grad(total * 0.3, logits)
    (expected,) = torch.autograd.grad(exact * 0.3, logits)
    assert found.dtype == dtype
    assert (found.double() - expected.double()).abs().max() < (1e-6 if dtype.itemsize > 2 else 1e-3)


def test_the_slope_is_that_of_small_differences() -> None:
    logits = torch.randn(5, 7, dtype=torch.float64).float().requires_grad_()
    targets = torch.tensor([0, 1, 2, 3, 6])
    (found,) = torch.autograd.grad(summed_loss(logits, targets), logits)
    step = torch.zeros_like(logits)
    step[2, 4] = 1e-2
    with torch.no_grad():
        rise = summed_loss(logits + step, targets) - summed_loss(logits - step, targets)
    assert found[2, 4].item() == pytest.approx(rise.item() / 2e-2, abs=1e-4)
