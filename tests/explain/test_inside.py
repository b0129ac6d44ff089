"""What is shown of a model is what a plain computation of its own numbers gives."""

from __future__ import annotations

import math
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import transformers

import hfgen.explain as explain
from hfgen.errors import DataError, ModelUnsupported, UsageError

TEXT = "Once upon a time there was a king who had a golden bird."
SHOWN = ["gpt2", "gpt_neo", "gpt_neox", "opt", "llama", "qwen2", "mistral", "gemma3"]


def plain(lm: Any, text: str, **settings: Any) -> Any:
    ids = torch.tensor([lm.tokenizer.encode(text)])
    before = lm.model.config._attn_implementation
    lm.model.set_attn_implementation("eager")
    try:
        with torch.inference_mode():
            return lm.model(ids, use_cache=False, **settings)
    finally:
        lm.model.set_attn_implementation(before)


@pytest.mark.parametrize("architecture", SHOWN)
def test_attention_is_the_models_and_follows_the_formula(
    architecture: str, lm_of: Callable[[str], Any]
) -> None:
    lm = lm_of(architecture)
    kernel = lm.model.config._attn_implementation
    found = explain.attention(lm, TEXT)
    expected = plain(lm, TEXT, output_attentions=True).attentions
    assert np.abs(found.weights - torch.cat(list(expected)).numpy()).max() < 1e-6
    assert np.allclose(found.weights.sum(axis=-1), 1, atol=1e-5)
    layers = explain.verify(lm, TEXT)
    assert len(layers) == len(expected)
    for layer in layers:
        assert layer.weights_error < 1e-5
        assert layer.output_error < 1e-5
        assert layer.is_root == (architecture not in ("gpt_neo", "gemma3"))
    assert lm.model.config._attn_implementation == kernel
    assert np.allclose(found.rollout.sum(axis=-1), 1)


def test_what_verify_computes_is_not_what_it_compares_with(
    lm_of: Callable[[str], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A formula with another scale is found out."""
    from hfgen.explain import verification

    right = verification.formula

    def wrong(one: Any) -> Any:
        one.scale = one.scale * 2
        return right(one)

    monkeypatch.setattr(verification, "formula", wrong)
    assert max(layer.weights_error for layer in explain.verify(lm_of("llama"), TEXT)) > 1e-3


@pytest.mark.parametrize("architecture", SHOWN)
def test_the_lens_ends_in_the_models_output(architecture: str, lm_of: Callable[[str], Any]) -> None:
    lm = lm_of(architecture)
    found = explain.lens(lm, TEXT, top=2)
    made = plain(lm, TEXT)
    best = torch.softmax(made.logits[0].double(), dim=-1).topk(2, dim=-1)
    for at, place in enumerate(found.top[-1]):
        assert [p for _, p in place] == pytest.approx(best.values[at].tolist(), abs=1e-5)
        assert place[0][0] == lm.tokenizer.decode([int(best.indices[at, 0])])
    assert found.kl[-1].max() < 1e-9
    assert found.kl[0].max() > 0.01
    layers = lm.model.config.num_hidden_layers
    assert found.layers == tuple(range(layers + 1))


def test_the_lens_norms_each_layer_by_its_own_values(lm_of: Callable[[str], Any]) -> None:
    lm = lm_of("gpt2")
    made = plain(lm, TEXT, output_hidden_states=True)
    body = lm.model.transformer
    with torch.inference_mode():
        table = torch.log_softmax(lm.model.lm_head(body.ln_f(made.hidden_states[1])).double(), -1)
    output = torch.log_softmax(made.logits.double(), dim=-1)
    expected = (output.exp() * (output - table)).sum(dim=-1)[0]
    found = explain.lens(lm, TEXT, layers=[1])
    assert np.allclose(found.kl[0], expected.numpy(), atol=1e-5)


def test_tokens_are_scored_as_hfgen_score_does(lm_of: Callable[[str], Any]) -> None:
    lm = lm_of("gpt2")
    found = explain.tokens(lm, TEXT)
    units = lm.score(TEXT, by="token").units
    assert [one.token for one in found] == [unit.text for unit in units]
    assert [one.rank for one in found] == [unit.rank for unit in units]
    for one, unit in zip(found, units, strict=True):
        assert one.surprisal == pytest.approx(-unit.logprob / math.log(2), abs=1e-4)
        assert 0 <= one.sure_from <= lm.model.config.num_hidden_layers
        assert 0 < one.entropy <= math.log2(4096)
    assert explain.tokens(lm, TEXT, bos=False)[0].token == found[1].token


@pytest.mark.parametrize("method", ["occlusion", "gradient-x-input", "integrated-gradients"])
@pytest.mark.parametrize("architecture", ["gpt2", "llama", "gemma3"])
def test_attribution_against_plain_loops(
    architecture: str, method: Any, lm_of: Callable[[str], Any]
) -> None:
    lm = lm_of(architecture)
    text, target = "Once upon a time there", " was a king"
    found = explain.attribute(lm, text, target=target, method=method)
    prompt, ids = lm.tokenizer.encode(text), lm.tokenizer.encode(target)
    embed = lm.model.get_input_embeddings()

    def value(rows: torch.Tensor) -> torch.Tensor:
        behind = embed(torch.tensor([ids[:-1]]))
        logits = lm.model(inputs_embeds=torch.cat([rows, behind], dim=1)).logits[0, -len(ids) :]
        return torch.log_softmax(logits, -1)[range(len(ids)), ids].sum()

    def number(rows: torch.Tensor) -> float:
        return float(value(rows).detach())

    inputs = embed(torch.tensor([prompt])).detach()
    assert found.value == pytest.approx(number(inputs), abs=1e-4)
    assert len(found.scores) == len(prompt)
    if method == "occlusion":
        for at, score in enumerate(found.scores):
            without = inputs.clone()
            without[0, at] = 0
            assert score == pytest.approx(number(inputs) - number(without), abs=1e-4)
    elif method == "gradient-x-input":
        given = inputs.clone().requires_grad_()
        value(given).backward()
        expected = (given.grad * given).sum(-1)[0].detach().tolist()
        assert list(found.scores) == pytest.approx(expected, abs=1e-4)
    else:
        assert found.completeness_error is not None
        if found.steps is not None and found.steps < 512:
            assert found.completeness_error < 0.01
            total = found.value - found.baseline_value
            assert sum(found.scores) == pytest.approx(total, rel=0.011)


def test_one_answer_rather_than_another_is_the_difference(lm_of: Callable[[str], Any]) -> None:
    lm = lm_of("gpt2")
    one = explain.attribute(lm, TEXT, target=" king", method="occlusion")
    other = explain.attribute(lm, TEXT, target=" bird", method="occlusion")
    both = explain.attribute(lm, TEXT, target=" king", instead=" bird", method="occlusion")
    expected = [a - b for a, b in zip(one.scores, other.scores, strict=True)]
    assert list(both.scores) == pytest.approx(expected, abs=1e-4)


def test_a_head_made_by_hand_for_the_token_before_is_found() -> None:
    """A head whose queries ask for the position before theirs, and whose keys say their own."""
    scores = explain.head_scores(_previous_token_lm())
    best = max(scores, key=lambda score: score.previous)
    assert (best.layer, best.head) == (0, 0)
    assert best.previous > 0.95
    others = [score.previous for score in scores if (score.layer, score.head) != (0, 0)]
    assert max(others) < 0.2


def _previous_token_lm() -> Any:
    return SimpleNamespace(model=_previous_token_model(), window=64)


def _previous_token_model() -> Any:
    config = transformers.GPT2Config(
        vocab_size=200, n_embd=128, n_layer=1, n_head=2, n_positions=64, bos_token_id=0,
        eos_token_id=0,
    )  # fmt: skip
    model = transformers.GPT2LMHeadModel(config).eval()
    with torch.no_grad():
        angles = torch.arange(64)[:, None] * torch.exp(-torch.arange(32) * 0.15)[None]
        table = torch.cat([angles.sin(), angles.cos()], dim=1)
        model.transformer.wte.weight.zero_()
        model.transformer.wpe.weight.zero_()
        model.transformer.wpe.weight[:, :64] = table
        # The other half keeps the norm's mean at 0 and its variance the same everywhere.
        model.transformer.wpe.weight[:, 64:] = -table
        layer = model.transformer.h[0].attn.c_attn
        layer.weight.zero_()
        layer.bias.zero_()
        # Head 0 of two: dimensions 0 to 63. A query is its position turned back by one token.
        turn = torch.exp(-torch.arange(32) * 0.15)
        sine, cosine = turn.sin(), turn.cos()
        eye = torch.arange(32)
        layer.weight[eye, eye] = 30 * cosine
        layer.weight[eye + 32, eye] = -30 * sine
        layer.weight[eye, eye + 32] = 30 * sine
        layer.weight[eye + 32, eye + 32] = 30 * cosine
        layer.weight[torch.arange(64), 128 + torch.arange(64)] = 1
    return model


def test_positions_of_each_kind(lm_of: Callable[[str], Any]) -> None:
    learned = explain.positions(lm_of("gpt2"))
    weight = lm_of("gpt2").model.transformer.wpe.weight.detach().numpy()
    assert learned.kind == "learned"
    assert np.allclose(learned.norms, np.linalg.norm(weight, axis=1), rtol=1e-5)
    assert learned.similarity[3, 5] == pytest.approx(
        float(weight[3] @ weight[5] / np.linalg.norm(weight[3]) / np.linalg.norm(weight[5])),
        abs=1e-5,
    )
    assert learned.spectrum.sum() == pytest.approx(1)
    assert explain.positions(lm_of("opt"), length=10).length == 10
    rotary = explain.positions(lm_of("llama"))
    head = 32 // 4
    expected = [2 * math.pi * 10000 ** (2 * i / head) for i in range(head // 2)]
    assert rotary.wavelengths.tolist() == pytest.approx(expected, rel=1e-4)
    assert explain.positions(lm_of("bloom")).slopes.tolist() == [2**-2, 2**-4, 2**-6, 2**-8]


def test_the_published_encoding_agrees_with_itself(lm_of: Callable[[str], Any]) -> None:
    from hfgen.explain.position_encoding import sinusoidal

    table = sinusoidal(128, 32)
    assert table[7, 4] == pytest.approx(math.sin(7 / 10000 ** (4 / 32)))
    assert table[7, 5] == pytest.approx(math.cos(7 / 10000 ** (4 / 32)))
    lm = lm_of("gpt2")
    weight = lm.model.transformer.wpe.weight
    saved = weight.detach().clone()
    try:
        weight.data.copy_(torch.tensor(table))
        assert explain.positions(lm).agreement == pytest.approx(1, abs=1e-6)
    finally:
        weight.data.copy_(saved)


def test_what_cannot_be_shown_is_refused(lm_of: Callable[[str], Any]) -> None:
    lm = lm_of("gpt2")
    with pytest.raises(UsageError, match="there is no layer 3: the model has layers 0 to 2"):
        explain.attention(lm, TEXT, layers=[3])
    with pytest.raises(UsageError, match="there is no head 4"):
        explain.attention(lm, TEXT, heads=[4])
    with pytest.raises(DataError, match="no tokens"):
        explain.lens(lm, "")
    with pytest.raises(DataError, match="one token"):
        explain.tokens(lm, "a", bos=False)
    with pytest.raises(UsageError, match="target has no tokens"):
        explain.attribute(lm, TEXT, target="")
    with pytest.raises(DataError, match="the context window has 128"):
        explain.attribute(lm, "a b c d " * 40, target=" king is here")
    with pytest.raises(ModelUnsupported, match="cannot be recorded"):
        explain.verify(lm_of("bloom"), TEXT)


def test_a_long_text_is_cut_and_says_so(lm_of: Callable[[str], Any]) -> None:
    found = explain.attention(lm_of("gpt2"), "a b c d " * 40)
    assert len(found.tokens) == 128
    assert found.left_out > 0
