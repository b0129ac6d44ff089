"""Guidance, watermark and assisted decoding against `model.generate`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from transformers import WatermarkDetector

from hfgen import GenerationOptions, Prompt
from hfgen.errors import ContextOverflow, ModelUnsupported
from hfgen.models.checkpoint.load_options import LoadOptions
from tests.conftest import build_model, wrap
from tests.generation.test_engine import PROMPTS, oracle


def guided(lm: Any, text: str, negative: str | None, scale: float, length: int) -> list[int]:
    ids = torch.tensor([lm.tokenizer.encode(text)])
    unwanted = None if negative is None else torch.tensor([lm.tokenizer.encode(negative)])
    with torch.inference_mode():
        out = lm.model.generate(
            ids,
            attention_mask=torch.ones_like(ids),
            guidance_scale=scale,
            negative_prompt_ids=unwanted,
            max_new_tokens=length,
            do_sample=False,
            pad_token_id=0,
        )
    return out[0, ids.shape[1] :].tolist()


@pytest.mark.parametrize("negative", [None, "A sad story about"])
@pytest.mark.parametrize("scale", [0.5, 1.5, 4.0])
def test_guidance_equals_generate(
    negative: str | None, scale: float, lm_of: Callable[[str], Any]
) -> None:
    lm = lm_of("gpt2")
    options = GenerationOptions(
        do_sample=False, guidance_scale=scale, negative_prompt=negative, max_new_tokens=20
    )
    expected = [guided(lm, text, negative, scale, 20) for text in PROMPTS[:4]]
    for slots in (1, 4):
        records = lm.generate(PROMPTS[:4], options, slots=slots)
        assert [list(record.token_ids) for record in records] == expected
    plain = lm.generate(PROMPTS[:4], do_sample=False, max_new_tokens=20)
    assert [list(record.token_ids) for record in plain] != expected


@pytest.mark.parametrize(("words", "length"), [(300, None), (40, 100), (1, 127)])
def test_a_negative_prompt_and_the_length_have_to_fit_the_window(
    words: int, length: int | None, lm_of: Callable[[str], Any]
) -> None:
    with pytest.raises(ContextOverflow, match=r"the negative prompt has \d+ tokens") as caught:
        lm_of("gpt2").generate(
            "a", guidance_scale=2, negative_prompt="x " * words, max_new_tokens=length
        )
    assert caught.value.hint is not None


def test_an_open_length_ends_where_the_longer_prompt_fills_the_window(
    lm_of: Callable[[str], Any],
) -> None:
    lm = lm_of("gpt2")
    negative = "x " * 40
    options = GenerationOptions(
        do_sample=False, guidance_scale=2, negative_prompt=negative, ignore_eos=True
    )
    record = lm.generate("The king", options)
    assert record.completion_tokens == 128 - len(lm.tokenizer.encode(negative)) < 100
    assert list(record.token_ids) == guided(lm, "The king", negative, 2, record.completion_tokens)


def test_a_negative_prompt_is_truncated_as_the_prompt_is(lm_of: Callable[[str], Any]) -> None:
    lm = lm_of("gpt2")
    negative = "x " * 100
    record = lm.generate(
        "The king", do_sample=False, guidance_scale=2, negative_prompt=negative,
        max_new_tokens=100, overflow="truncate", ignore_eos=True,
    )  # fmt: skip
    kept = lm.tokenizer.decode(lm.tokenizer.encode(negative)[-28:])
    assert record.completion_tokens == 100
    assert list(record.token_ids) == guided(lm, "The king", kept, 2, 100)


@pytest.mark.parametrize(
    "settings",
    [{}, {"bias": 5.0, "greenlist_ratio": 0.5}, {"seeding_scheme": "selfhash", "context_width": 3}],
    ids=str,
)
def test_watermark_equals_generate(settings: dict[str, Any], lm_of: Callable[[str], Any]) -> None:
    lm = lm_of("gpt2")
    options = GenerationOptions(
        do_sample=False, watermark=True, watermarking_config=settings or None, max_new_tokens=15
    )
    records = lm.generate(PROMPTS[:3], options)
    assert [list(r.token_ids) for r in records] == [oracle(lm, p, options) for p in PROMPTS[:3]]
    plain = lm.generate(PROMPTS[:3], do_sample=False, max_new_tokens=15)
    assert [r.token_ids for r in records] != [r.token_ids for r in plain]


def test_a_watermark_is_found_and_only_where_it_is(tokenizer: Any) -> None:
    lm = wrap(build_model("gpt2", initializer_range=0.02), tokenizer)
    options = GenerationOptions(max_new_tokens=100, ignore_eos=True, temperature=1.0)
    marked = lm.generate(PROMPTS, options, seed=1, watermark=True)
    plain = lm.generate(PROMPTS, options, seed=1)
    detector = WatermarkDetector(
        lm.model.config, "cpu", {"greenlist_ratio": 0.25}, ignore_repeated_ngrams=True
    )
    for records, expected in ((marked, True), (plain, False)):
        for record in records:
            found = detector(torch.tensor([record.token_ids]), return_dict=True)
            assert bool(found.prediction[0]) is expected


@pytest.mark.parametrize("extra", [{}, {"max_matching_ngram_size": 3}], ids=str)
def test_prompt_lookup_equals_greedy(
    extra: dict[str, Any], lm_of: Callable[[str], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    from transformers.generation.candidate_generator import PromptLookupCandidateGenerator

    asked: list[tuple[int, int]] = []
    stock = PromptLookupCandidateGenerator.get_candidates

    def get_candidates(self: Any, *arguments: Any, **settings: Any) -> Any:
        asked.append((self.num_output_tokens, self.max_matching_ngram_size))
        return stock(self, *arguments, **settings)

    monkeypatch.setattr(PromptLookupCandidateGenerator, "get_candidates", get_candidates)
    lm = lm_of("gpt2")
    text = "the king and the queen and the king and the"
    plain = lm.generate(text, do_sample=False, max_new_tokens=30)
    looked_up = lm.generate(
        text, do_sample=False, max_new_tokens=30, prompt_lookup_num_tokens=4, **extra
    )
    assert looked_up.token_ids == plain.token_ids
    assert looked_up.completion == plain.completion
    assert set(asked) == {(4, extra.get("max_matching_ngram_size", 2))}


def assist(monkeypatch: pytest.MonkeyPatch, lm: Any, assistant: Any) -> None:
    """Have loading the assistant give this one."""
    monkeypatch.setattr(lm, "_loaded_with", LoadOptions())
    monkeypatch.setattr("hfgen.language_model.load_named", lambda options: assistant)


def test_an_assistant_changes_no_token(tokenizer: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    lm = wrap(build_model("gpt2"), tokenizer)
    small = build_model("gpt2", n_layer=1)
    calls = 0
    stock = small.forward

    def counted(*args: Any, **kwargs: Any) -> Any:
        nonlocal calls
        calls += 1
        return stock(*args, **kwargs)

    small.forward = counted
    assist(monkeypatch, lm, wrap(small, tokenizer))
    for extra in ({}, {"num_assistant_tokens": 2, "num_assistant_tokens_schedule": "constant"}):
        plain = lm.generate(PROMPTS, do_sample=False, max_new_tokens=25)
        assisted = lm.generate(
            PROMPTS, do_sample=False, max_new_tokens=25, assistant_model="small", **extra
        )
        assert [r.token_ids for r in assisted] == [r.token_ids for r in plain]
        assert [r.finish_reason for r in assisted] == [r.finish_reason for r in plain]
    assert calls > 25


def test_sampled_assisted_text_repeats_by_seed(lm_of: Callable[[str], Any]) -> None:
    lm = lm_of("gpt2")
    ids = [
        lm.generate("The king and the king", prompt_lookup_num_tokens=3, seed=s, max_new_tokens=9)
        .token_ids
        for s in (1, 1, 2)
    ]  # fmt: skip
    assert ids[0] == ids[1] != ids[2]


def test_stops_hold_under_assistance(lm_of: Callable[[str], Any]) -> None:
    lm = lm_of("gpt2")
    text = "the king and the queen and the king and the"
    plain = lm.generate(text, do_sample=False, max_new_tokens=30)
    stop = plain.completion[8:11]
    expected = lm.generate(text, do_sample=False, max_new_tokens=30, stop_strings=[stop])
    found = lm.generate(
        text, do_sample=False, max_new_tokens=30, stop_strings=[stop], prompt_lookup_num_tokens=5
    )
    assert (found.completion, found.finish_reason) == (expected.completion, "stop")


def test_an_assistant_with_another_vocabulary_is_refused(
    tokenizer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    import copy

    other = copy.deepcopy(tokenizer)
    other.add_tokens(["<more>"])
    lm = wrap(build_model("gpt2"), tokenizer)
    assist(monkeypatch, lm, wrap(build_model("gpt2", vocab_size=4097), other))
    with pytest.raises(ModelUnsupported, match="another vocabulary"):
        lm.generate(Prompt("a"), assistant_model="other", max_new_tokens=3)
