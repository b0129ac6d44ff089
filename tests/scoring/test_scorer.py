"""Scores are those of a plain forward pass, whatever is computed beside them."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from typing import Any

import pytest
import torch

from hfgen.errors import ContextOverflow, UsageError
from hfgen.scoring import scorer as module
from hfgen.scoring.scorer import Request, Scores
from hfgen.scoring.windows import strided
from tests.conftest import ARCHITECTURES


def ids(rng: random.Random, count: int) -> tuple[int, ...]:
    return tuple(rng.randrange(4096) for _ in range(count))


def plain(model: Any, request: Request) -> list[float]:
    """Log-probabilities by one call of the model, of this request alone."""
    whole = torch.tensor([[*request.context_ids, *request.target_ids]])
    with torch.inference_mode():
        table = torch.log_softmax(model(whole).logits[0].double(), dim=-1)
    start = len(request.context_ids)
    return [
        float(table[start + at - 1, token_id]) for at, token_id in enumerate(request.target_ids)
    ]


@pytest.fixture
def requests() -> list[Request]:
    """Shared contexts, lonely ones, one-token targets and long ones, in no order."""
    rng = random.Random(1)
    shared, other = ids(rng, 40), ids(rng, 20)
    made = [Request(shared, ids(rng, n)) for n in (1, 3, 7, 2)]
    made += [Request(other, ids(rng, 1)) for _ in range(2)]
    made += [Request(ids(rng, 1 + 5 * n), ids(rng, 1 + (n * 7) % 30)) for n in range(9)]
    made.append(Request(ids(rng, 1), ids(rng, 120)))
    made.append(made[0])
    rng.shuffle(made)
    return made


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_scores_equal_a_plain_pass(
    architecture: str, lm_of: Callable[[str], Any], requests: list[Request]
) -> None:
    lm = lm_of(architecture)
    found = lm.scorer().score(requests)
    for request, scores in zip(requests, found, strict=True):
        assert scores.logprobs == pytest.approx(plain(lm.model, request), abs=1e-5)
        assert scores.total == pytest.approx(math.fsum(scores.logprobs))


def test_neither_order_nor_batch_nor_parts_change_a_score(
    lm_of: Callable[[str], Any], requests: list[Request], monkeypatch: pytest.MonkeyPatch
) -> None:
    lm = lm_of("gpt2")
    expected = lm.scorer().score(requests, top=3)
    alone = [lm.scorer().score([request], top=3)[0] for request in requests]
    backwards = lm.scorer().score(requests[::-1], top=3)[::-1]
    monkeypatch.setattr(module, "_PASS_LOGITS", 4096 * 11)  # logits of eleven tokens at once
    in_parts = lm.scorer().score(requests, top=3)
    for found in (alone, backwards, in_parts):
        for one, other in zip(found, expected, strict=True):
            assert one.logprobs == pytest.approx(other.logprobs, abs=1e-5)
            assert one.ranks == other.ranks
            assert [[i for i, _ in best] for best in one.top] == [
                [i for i, _ in best] for best in other.top
            ]


def test_a_shared_context_is_computed_once(lm_of: Callable[[str], Any]) -> None:
    rng = random.Random(2)
    context = ids(rng, 60)
    scorer = lm_of("llama").scorer()
    scorer.score([Request(context, ids(rng, 4)) for _ in range(5)])
    assert scorer.tokens == 60 + 5 * 3


def test_ranks_and_alternatives(lm_of: Callable[[str], Any]) -> None:
    lm = lm_of("gpt2")
    greedy = lm.generate("Once upon a time", do_sample=False, max_new_tokens=5, logprobs=4)
    context = tuple(lm.tokenizer.encode("Once upon a time"))
    scores = lm.scorer().score([Request(context, greedy.token_ids)], top=4)[0]
    assert scores.is_greedy
    assert set(scores.ranks) == {0}
    for token, logprob, best in zip(greedy.logprobs, scores.logprobs, scores.top, strict=True):
        assert logprob == pytest.approx(token.logprob, abs=1e-5)
        assert [i for i, _ in best] == [i for i, _, _ in token.top]
    unlikely = lm.scorer().score([Request(context, (greedy.logprobs[0].top[2][0],))])[0]
    assert unlikely.ranks == (2,)
    assert not unlikely.is_greedy


@pytest.mark.parametrize("stride", [None, 1, 17, 64, 127])
def test_windows_score_each_token_once(lm_of: Callable[[str], Any], stride: int | None) -> None:
    lm = lm_of("gpt2")
    text = ids(random.Random(3), 300)
    windows = list(strided(text[:1], text[1:], lm.window, stride))
    assert [i for window in windows for i in window.target_ids] == list(text[1:])
    for window in windows:
        assert len(window.input_ids) <= lm.window
    step = lm.window if stride is None else stride
    # Each but the first has all the context that its window can hold.
    assert all(len(w.input_ids) == lm.window for w in windows[1:])
    assert {len(w.target_ids) for w in windows[1:-1]} <= {step}
    scores = sum(lm.scorer().score(windows), Scores((), ()))
    assert len(scores.logprobs) == 299


def test_a_uniform_model_gives_log_of_the_vocabulary(model_of: Callable[[str], Any]) -> None:
    model = model_of("gpt2")
    saved = model.lm_head.weight.data.clone()
    try:
        model.lm_head.weight.data.zero_()
        found = module.Scorer(model, 128).score([Request((1, 2, 3), (4, 5))])[0]
    finally:
        model.lm_head.weight.data.copy_(saved)
    assert found.logprobs == pytest.approx([-math.log(4096)] * 2, abs=1e-6)
    assert found.ranks == (0, 0)


def test_what_cannot_be_scored_is_refused(lm_of: Callable[[str], Any]) -> None:
    lm = lm_of("gpt2")
    with pytest.raises(ContextOverflow, match="129 tokens"):
        lm.scorer().score([Request((1,) * 100, (2,) * 30)])
    with pytest.raises(UsageError):
        Request((), (1,))
    with pytest.raises(UsageError, match="1 to 128"):
        list(strided((1,), (2,), 128, 200))
