"""Frequency and presence penalty against plain loops over the model's logits."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from hfgen import GenerationOptions, Prompt
from hfgen.generation.sampling.draw import draw
from tests.conftest import build_model, wrap

PENALTIES = [(0.7, 0.0), (0.0, 1.5), (1.1, 0.4), (2.0, 2.0), (-0.5, -2.0), (-2.0, 1.0)]
LENGTH = 40


def lowered(scores: np.ndarray, generated: list[int], frequency: float, presence: float) -> Any:
    """OpenAI's formula, token by token."""
    scores = scores.copy()
    for token, count in Counter(generated).items():
        scores[token] -= np.float32(count * frequency + presence)
    return scores


def by_hand(lm: Any, text: str, penalties: tuple[float, float], seed: int | None) -> list[int]:
    """Decoding without a cache, greedy without a seed."""
    ids = lm.tokenizer.encode(text)
    start = len(ids)
    while len(ids) < start + LENGTH:
        with torch.inference_mode():
            logits = lm.model(torch.tensor([ids]), use_cache=False).logits[0, -1].numpy()
        scores = lowered(logits, ids[start:], *penalties)
        if seed is None:
            ids.append(int(scores.argmax()))
        else:
            warm = torch.from_numpy(scores / np.float32(0.8))[None]
            ids.append(int(draw(warm, [seed], [len(ids) - start])))
    return ids[start:]


@pytest.fixture(scope="module")
def lm(lm_of: Callable[[str], Any]) -> Any:
    return lm_of("gpt2")


@pytest.mark.parametrize("seed", [None, 3])
@pytest.mark.parametrize("penalties", PENALTIES)
def test_texts_equal_a_plain_loop(lm: Any, penalties: tuple[float, float], seed: int | None):
    """Alone, and in a batch whose neighbours have other penalties or none."""
    frequency, presence = penalties
    how: dict[str, Any] = {"do_sample": False} if seed is None else {"top_p": 1.0}
    how |= {"max_new_tokens": LENGTH, "ignore_eos": True}
    mine = GenerationOptions(frequency_penalty=frequency, presence_penalty=presence, **how)
    expected = by_hand(lm, "The king the king", penalties, seed)
    plain = by_hand(lm, "The king the king", (0.0, 0.0), seed)
    assert expected != plain
    assert list(lm.generate("The king the king", mine, seed=seed or 0).token_ids) == expected
    others = [
        GenerationOptions(**how),
        GenerationOptions(frequency_penalty=2, **how),
        GenerationOptions(repetition_penalty=1.3, no_repeat_ngram_size=3, **how),
    ]
    rows = [Prompt("The king the king", options=o, seed=seed or 0) for o in (others[0], mine)]
    rows += [Prompt("Well,", options=others[1], seed=1), Prompt("a", options=others[2], seed=2)]
    for slots in (2, 4):
        records = lm.generate(rows, slots=slots)
        assert [list(record.token_ids) for record in records[:2]] == [plain, expected]


def test_only_generated_tokens_count(lm: Any) -> None:
    """A prompt of the very token that would come leaves the first token as it is."""
    first = lm.generate("The king", do_sample=False, max_new_tokens=1)
    prompt = "The king" + first.completion * 2
    plain = lm.generate(prompt, do_sample=False, max_new_tokens=1)
    lowered = lm.generate(
        prompt, do_sample=False, max_new_tokens=1, frequency_penalty=2, presence_penalty=2
    )
    assert lowered.token_ids == plain.token_ids


def test_they_still_count_after_the_window_slid(tokenizer: Any) -> None:
    lm = wrap(build_model("gpt2", n_positions=32), tokenizer)
    options = {"do_sample": False, "max_new_tokens": 100, "overflow": "slide", "ignore_eos": True}
    text = lm.generate("The king", presence_penalty=2, frequency_penalty=2, **options).token_ids
    plain = lm.generate("The king", **options).token_ids
    assert len(set(text)) > len(set(plain))
    # By hand, with the window cut back to its newest half where it is full.
    ids = tokenizer.encode("The king")
    start, begin = len(ids), 0
    while len(ids) < start + 100:
        if len(ids) - begin > 32:
            begin = len(ids) - 16
        with torch.inference_mode():
            logits = lm.model(torch.tensor([ids[begin:]]), use_cache=False).logits[0, -1].numpy()
        ids.append(int(lowered(logits, ids[start:], 2, 2).argmax()))
    assert list(text) == ids[start:]


class _ByHand:
    def __init__(self, start: int, frequency: float, presence: float) -> None:
        self.start, self.penalties = start, (frequency, presence)

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        rows = zip(input_ids.tolist(), scores, strict=True)
        found = [lowered(s.numpy(), ids[self.start :], *self.penalties) for ids, s in rows]
        return torch.from_numpy(np.stack(found))


@pytest.mark.parametrize("penalties", [(0.7, 0.0), (0.0, 1.5), (-0.5, -1.0)])
def test_beams_honour_them(lm: Any, penalties: tuple[float, float]) -> None:
    frequency, presence = penalties
    record = lm.generate(
        "The king", num_beams=3, max_new_tokens=20, ignore_eos=True,
        frequency_penalty=frequency, presence_penalty=presence,
    )  # fmt: skip
    ids = torch.tensor([lm.tokenizer.encode("The king")])
    expected = lm.model.generate(
        ids, attention_mask=torch.ones_like(ids), num_beams=3, max_new_tokens=20, do_sample=False,
        eos_token_id=None, pad_token_id=0, logits_processor=[_ByHand(ids.shape[1], *penalties)],
    )  # fmt: skip
    assert list(record.token_ids) == expected[0, ids.shape[1] :].tolist()
    assert record.token_ids != lm.generate("The king", num_beams=3, max_new_tokens=20).token_ids


def test_guesses_ahead_do_not_change_them(lm: Any) -> None:
    options: dict[str, Any] = {
        "do_sample": False, "max_new_tokens": 30, "frequency_penalty": 0.9, "presence_penalty": 0.3
    }  # fmt: skip
    plain = lm.generate("The king", **options)
    assert lm.generate("The king", prompt_lookup_num_tokens=4, **options).token_ids == (
        plain.token_ids
    )
