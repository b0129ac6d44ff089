"""Scores of texts: what is scored, after what, and how the parts add up."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch

from hfgen import ScoredText
from hfgen.errors import DataError

TEXT = "Once upon a time there was a king.\nHe had a golden bird."


def logprobs(lm: Any, ids: list[int]) -> torch.Tensor:
    """Log-probabilities (T - 1, V) of what follows each id but the last."""
    with torch.inference_mode():
        return torch.log_softmax(lm.model(torch.tensor([ids])).logits[0, :-1].double(), dim=-1)


@pytest.fixture
def lm(lm_of: Callable[[str], Any]) -> Any:
    return lm_of("gpt2")


def test_a_text_is_scored_after_the_token_that_begins_texts(lm: Any) -> None:
    ids = [lm.tokenizer.bos_token_id, *lm.tokenizer.encode(TEXT)]
    table = logprobs(lm, ids)
    expected = math.fsum(float(table[i, t]) for i, t in enumerate(ids[1:]))
    score = lm.score(TEXT)
    assert score.log_likelihood == pytest.approx(expected, abs=1e-4)
    assert (score.tokens, score.bytes, score.after) == (len(ids) - 1, len(TEXT), "<|endoftext|>")
    assert score.perplexity == pytest.approx(math.exp(-expected / score.tokens), rel=1e-4)
    assert score.bits_per_byte == pytest.approx(-expected / math.log(2) / len(TEXT), rel=1e-4)


def test_without_it_the_first_token_is_context(lm: Any) -> None:
    ids = lm.tokenizer.encode(TEXT)
    table = logprobs(lm, ids)
    score = lm.score(TEXT, bos=False)
    expected = math.fsum(float(table[i, t]) for i, t in enumerate(ids[1:]))
    assert score.log_likelihood == pytest.approx(expected, abs=1e-4)
    assert (score.tokens, score.after) == (len(ids) - 1, None)
    assert score.bytes == len(TEXT) - len(lm.tokenizer.decode(ids[:1]))
    with pytest.raises(DataError, match="1 token: nothing to score"):
        lm.score("a", bos=False)


def test_a_continuation_takes_the_blanks_before_it(lm: Any) -> None:
    found = lm.score(
        [
            ScoredText(" king", context="There was a"),
            ScoredText("king", context="There was a "),
        ]
    )
    assert found[0].log_likelihood == pytest.approx(found[1].log_likelihood, abs=1e-6)
    assert found[0].tokens == 1
    whole, begun = lm.score(["There was a king", "There was a"])
    assert found[0].log_likelihood == pytest.approx(
        whole.log_likelihood - begun.log_likelihood, abs=2.0
    )


def test_tokens_and_lines_add_up(lm: Any) -> None:
    total = lm.score(TEXT).log_likelihood
    for by in ("token", "line"):
        score = lm.score(TEXT, by=by)
        assert "".join(unit.text for unit in score.units) == TEXT
        assert math.fsum(unit.logprob for unit in score.units) == pytest.approx(total, abs=1e-4)
    assert [unit.text for unit in lm.score(TEXT, by="line").units] == TEXT.splitlines(True)


def test_a_word_carries_its_boundary(lm: Any) -> None:
    """Against the definition, with the whole distribution of every place."""
    text = "the king's birds sing"
    ids = [lm.tokenizer.bos_token_id, *lm.tokenizer.encode(text), lm.tokenizer.eos_token_id]
    table = logprobs(lm, ids)
    begins = torch.tensor(
        [
            i
            for i in range(len(lm.tokenizer))
            if lm.tokenizer.decode([i])[:1].isspace() or i in lm.tokenizer.all_special_ids
        ]
    )
    boundary = table[:, begins].logsumexp(dim=-1)
    texts = [lm.tokenizer.decode([i]) for i in ids[1:-1]]
    starts = [0, *(i for i, piece in enumerate(texts) if i and piece[0] == " ")]
    expected = []
    for start, end in zip(starts, [*starts[1:], len(texts)], strict=True):
        own = math.fsum(float(table[i, ids[i + 1]]) for i in range(start, end))
        before = float(boundary[start]) if start else 0.0
        expected.append(own + float(boundary[end]) - before)
    found = lm.score(text, by="word").units
    assert [unit.text for unit in found] == ["the", " king's", " birds", " sing"]
    assert [unit.logprob for unit in found] == pytest.approx(expected, abs=1e-4)


def test_words_of_white_space_and_letters_together(lm: Any) -> None:
    units = lm.score("a  b\n\nOnce more", by="word").units
    assert "".join(unit.text for unit in units) == "a  b\n\nOnce more"
    assert [unit.text.split() for unit in units] == [["a"], ["b"], ["Once"], ["more"]]


def test_a_long_text_is_scored_in_windows(lm: Any) -> None:
    text = TEXT * 20
    tokens = len(lm.tokenizer.encode(text))
    for stride in (None, 16):
        score = lm.score(text, by="token", stride=stride)
        assert score.tokens == len(score.units) == tokens > 2 * lm.window
    both = lm.score([text, "x"])
    assert both[1].log_likelihood == pytest.approx(lm.score("x").log_likelihood, abs=1e-5)


def test_texts_keep_their_order_and_ids(lm: Any) -> None:
    texts = [ScoredText("word " * (n % 7 + 1), id=str(n)) for n in range(600)]
    found = lm.score(texts)
    assert [score.id for score in found] == [str(n) for n in range(600)]
    assert found[3].log_likelihood == pytest.approx(found[10].log_likelihood, abs=1e-5)
    assert [score.index for score in found] == list(range(600))


@pytest.mark.parametrize("text", ["", "\ud800"])
def test_what_is_no_text_is_refused(lm: Any, text: str) -> None:
    with pytest.raises(DataError):
        lm.score(text)
