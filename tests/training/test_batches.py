"""Padded and packed batches: labels by position, documents that do not see each other, the loss."""

from __future__ import annotations

import copy
import random
from collections.abc import Callable
from typing import Any

import pytest
import torch

from hfgen.training.data.collators import (
    IGNORED,
    LEAK_LIMIT,
    Dense,
    Packed,
    Padded,
    labels_of,
    leak,
    pack,
)
from hfgen.training.data.encode import EncodedExample
from hfgen.training.loop.loss import token_loss
from tests.conftest import build_model

EOS = 0


def documents(count: int, *, seed: int = 0, longest: int = 20) -> list[EncodedExample]:
    """Random rows whose prompts are not learned; they hold EOS and end with it."""
    rng = random.Random(seed)
    made = []
    for _ in range(count):
        length = rng.randrange(1, longest)
        prompt = rng.randrange(length)
        ids = [rng.randrange(4096) if rng.random() < 0.9 else EOS for _ in range(length)]
        made.append(EncodedExample([*ids, EOS], [False] * prompt + [True] * (length + 1 - prompt)))
    return made


@torch.no_grad()
def loss_alone(model: Any, example: EncodedExample) -> tuple[float, int]:
    """The oracle: each target token's own log-probability, one by one."""
    log_probabilities = model(torch.tensor([example.ids])).logits[0].double().log_softmax(-1)
    places = [i for i in range(1, len(example.ids)) if example.is_learned[i]]
    return -sum(float(log_probabilities[i - 1, example.ids[i]]) for i in places), len(places)


def test_labels_come_from_positions() -> None:
    example = EncodedExample([EOS, 5, EOS, 6, EOS], [True, False, True, True, True])
    assert labels_of(example) == [IGNORED, IGNORED, EOS, 6, EOS]
    batch = Padded(EOS)([example, EncodedExample([7, EOS], [False, True])])
    assert batch["labels"].tolist() == [
        [IGNORED, IGNORED, EOS, 6, EOS],
        [IGNORED, EOS, IGNORED, IGNORED, IGNORED],
    ]
    assert batch["attention_mask"].tolist() == [[1] * 5, [1, 1, 0, 0, 0]]
    assert batch["input_ids"].tolist() == [[EOS, 5, EOS, 6, EOS], [7, EOS, EOS, EOS, EOS]]
    assert Padded(EOS, multiple_of=8)([example])["labels"].shape == (1, 8)
    assert all(value.dtype == torch.long for value in batch.values())


@pytest.mark.parametrize("length", [20, 21, 64])
def test_packing_keeps_every_row_once(length: int) -> None:
    examples = documents(200)
    rows = pack(examples, length)
    assert all(len(row.ids) <= length for row in rows)
    found: list[tuple[list[int], list[int]]] = []
    for row in rows:
        starts = [i for i, position in enumerate(row.position_ids) if position == 0]
        for start, stop in zip(starts, [*starts[1:], len(row.ids)], strict=True):
            assert row.position_ids[start:stop] == list(range(stop - start))
            assert row.labels[start] == IGNORED
            found.append((row.ids[start:stop], row.labels[start:stop]))
    assert sorted(found) == sorted((e.ids, labels_of(e)) for e in examples)
    assert rows == pack(examples, length)
    needed = -(-sum(len(e.ids) for e in examples) // length)
    assert len(rows) <= needed * 1.1 + 1


def test_packing_refuses_what_does_not_fit() -> None:
    with pytest.raises(ValueError, match="21 tokens does not fit a row of 20"):
        pack([EncodedExample([1] * 21, [True] * 21)], 20)


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("name", ["gpt2", "llama", "qwen2", "gpt_neox", "mistral"])
def test_packed_documents_do_not_see_each_other(name: str, attention: str) -> None:
    # In float64, so that what is left is no rounding of these models' large random weights.
    model = build_model(name).double()
    model.set_attn_implementation(attention)
    examples = documents(40)
    rows = pack(examples, 48)
    assert 1 < len(rows) < len(examples)
    batch = Packed(EOS, length=50)(rows)
    assert batch["input_ids"].shape == batch["labels"].shape == (len(rows), 50)
    assert "attention_mask" not in batch
    with torch.no_grad():
        logits = model(
            input_ids=batch["input_ids"], position_ids=batch["position_ids"], use_cache=False
        ).logits
        for index, row in enumerate(rows):
            starts = [i for i, position in enumerate(row.position_ids) if position == 0]
            for start, stop in zip(starts, [*starts[1:], len(row.ids)], strict=True):
                alone = model(torch.tensor([row.ids[start:stop]])).logits[0]
                assert (logits[index, start:stop] - alone).abs().max() < 1e-5
        joined = model(input_ids=batch["input_ids"], use_cache=False).logits
        assert (joined - logits).abs().max() > 0.1
    assert leak(model) < 1e-5


@pytest.mark.parametrize("scale", [0.02, 0.25])
@pytest.mark.parametrize("name", ["bloom", "opt"])
def test_models_that_cannot_be_trained_on_packed_rows(name: str, scale: float) -> None:
    """ALiBi knows no positions, and OPT's mask does not look at them."""
    changes = {"init_std": scale} if name == "opt" else {"initializer_range": scale}
    assert leak(build_model(name, **changes)) > 10 * LEAK_LIMIT


@pytest.mark.parametrize("name", ["gpt_neo", "gptj", "gpt_bigcode", "gemma3"])
def test_other_models_that_can(name: str) -> None:
    model = build_model(name).train()
    assert leak(model) < 1e-5
    assert leak(model.bfloat16()) < 0.05
    assert model.training


@pytest.mark.parametrize("name", ["gpt2", "llama"])
def test_loss_is_the_hand_summed_loss_of_the_learned_tokens(
    model_of: Callable[[str], Any], name: str
) -> None:
    model = model_of(name)
    examples = documents(12, seed=3)
    expected = [loss_alone(model, example) for example in examples]
    total, count = sum(e[0] for e in expected), sum(e[1] for e in expected)
    padded = Padded(EOS)(examples)
    packed = Packed(EOS)(pack(examples, 64))
    with torch.no_grad():
        for batch in (padded, packed):
            labels = batch.pop("labels")
            got, number = token_loss(model(**batch, use_cache=False).logits, labels)
            assert number == count == int((labels != IGNORED).sum())
            assert float(got) == pytest.approx(total, rel=1e-5)


def gradients(model: Any, batch: dict[str, torch.Tensor]) -> tuple[float, torch.Tensor]:
    """Mean loss of all positions' logits, and its gradient at every weight."""
    model.zero_grad()
    labels = batch["labels"]
    inputs = {name: value for name, value in batch.items() if name != "labels"}
    logits = model(**inputs, use_cache=False).logits[:, :-1]
    loss = torch.nn.functional.cross_entropy(
        logits.reshape(-1, logits.shape[-1]), labels[:, 1:].reshape(-1), ignore_index=IGNORED
    )
    loss.backward()
    return float(loss.detach()), torch.cat([p.grad.flatten() for p in model.parameters()])


@pytest.mark.parametrize("name", ["gpt2", "llama", "gpt_neox", "qwen2", "gptj", "gemma3"])
def test_dense_batches_have_the_loss_and_the_gradients_of_padded_ones(name: str) -> None:
    model = build_model(name, initializer_range=0.05)
    examples = [
        *documents(7, seed=2),
        EncodedExample([9], [True]),
        EncodedExample([8, 9], [False] * 2),
    ]
    dense, padded = Dense(EOS)(examples), Padded(EOS)(examples)
    assert dense["input_ids"].shape[1] == padded["input_ids"].shape[1]
    assert len(dense["input_ids"]) < len(examples)
    assert "attention_mask" not in dense
    loss, slopes = gradients(model, dense)
    expected, expected_slopes = gradients(model, padded)
    assert loss == pytest.approx(expected, rel=1e-6)
    assert (slopes - expected_slopes).abs().max() < 1e-5 * expected_slopes.abs().max()


def test_loss_equals_the_models_own_and_has_its_gradient(model_of: Callable[[str], Any]) -> None:
    model = copy.deepcopy(model_of("gpt2"))
    batch = Padded(EOS)(documents(4, seed=1))
    output = model(**batch)
    total, count = token_loss(output.logits, batch["labels"])
    assert total.item() / count == pytest.approx(output.loss.item(), rel=1e-5)
    weight = model.transformer.wte.weight
    (own,) = torch.autograd.grad(output.loss, weight, retain_graph=True)
    (ours,) = torch.autograd.grad(total / count, weight)
    assert torch.allclose(own, ours, atol=1e-6)


def test_loss_of_nothing_and_of_equal_chances() -> None:
    logits = torch.zeros(2, 3000, 7, dtype=torch.bfloat16)
    labels = torch.full((2, 3000), IGNORED)
    assert token_loss(logits, labels)[1] == 0
    labels[:, :] = 3
    total, count = token_loss(logits, labels)
    assert count == 2 * 2999
    assert float(total) / count == pytest.approx(torch.tensor(7.0).log().item(), rel=1e-6)
