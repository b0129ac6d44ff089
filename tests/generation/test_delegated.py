"""Beam search and assisted decoding are `model.generate`'s, in hfgen's records."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from hfgen import GenerationOptions, Prompt
from hfgen.errors import GenerationFailed
from tests.conftest import build_model, wrap
from tests.generation.test_engine import PROMPTS, oracle


@pytest.mark.parametrize(
    "extra",
    [{}, {"length_penalty": 2.0}, {"early_stopping": True}, {"no_repeat_ngram_size": 2},
     {"repetition_penalty": 1.3}],
    ids=str,
)  # fmt: skip
def test_beams_equal_generate(extra: dict[str, Any], lm_of: Callable[[str], Any]) -> None:
    lm = lm_of("gpt2")
    options = GenerationOptions(num_beams=3, max_new_tokens=15, **extra)
    for prompt in PROMPTS[:2]:
        record = lm.generate(prompt, options)
        expected = oracle(lm, prompt, options)
        assert list(record.token_ids) == expected[: len(record.token_ids)]
        assert set(expected[len(record.token_ids) :]) <= {0}


def test_sampled_beams_repeat_by_seed_and_leave_the_global_generator_alone(
    lm_of: Callable[[str], Any],
) -> None:
    lm = lm_of("gpt2")
    options = GenerationOptions(num_beams=2, do_sample=True, max_new_tokens=12, temperature=2.0)
    before = torch.random.get_rng_state()
    texts = [lm.generate("The king", options, seed=seed).token_ids for seed in (1, 1, 2)]
    assert torch.equal(torch.random.get_rng_state(), before)
    assert texts[0] == texts[1] != texts[2]


def test_several_beams_are_records_of_one_prompt(lm_of: Callable[[str], Any]) -> None:
    lm = lm_of("gpt2")
    records = lm.generate(
        ["The king", "Well,"], num_beams=4, num_return_sequences=3, max_new_tokens=8
    )
    assert [record.index for record in records] == [0, 0, 0, 1, 1, 1]
    assert len({record.token_ids for record in records[:3]}) == 3
    assert all(record.text.startswith(record.prompt) for record in records)


def test_beams_stop_at_strings_and_ids(lm_of: Callable[[str], Any]) -> None:
    lm = lm_of("gpt2")
    plain = lm.generate("The king", num_beams=2, max_new_tokens=15)
    stop = plain.completion[4:7]
    stopped = lm.generate("The king", num_beams=2, max_new_tokens=15, stop_strings=[stop])
    assert stop not in stopped.completion
    by_id = lm.generate(
        "The king", num_beams=2, max_new_tokens=15, stop_token_ids=[plain.token_ids[0]]
    )
    # The best of the beams ends there, or goes round it to the end.
    is_stopped = by_id.token_ids[-1] == plain.token_ids[0]
    assert by_id.finish_reason == ("stop" if is_stopped else "length")
    assert plain.token_ids[0] not in by_id.token_ids[:-1]


def test_beams_and_engine_rows_mix_in_one_run(lm_of: Callable[[str], Any]) -> None:
    lm = lm_of("gpt2")
    prompts = [
        Prompt("The king"),
        Prompt("The king", options=GenerationOptions(num_beams=2)),
        Prompt("Well,"),
    ]
    records = lm.generate(prompts, seed=4, max_new_tokens=10)
    assert [record.index for record in records] == [0, 1, 2]
    beam = lm.generate("The king", num_beams=2, max_new_tokens=10)
    assert records[1].token_ids == beam.token_ids
    assert records[2].token_ids == lm.generate("Well,", seed=6, max_new_tokens=10).token_ids


def test_beams_obey_the_options_and_not_the_models_own_file(tokenizer: Any) -> None:
    model = build_model("gpt2")
    lm = wrap(model, tokenizer)
    plain = lm.generate("The king", num_beams=3, max_new_tokens=10, ignore_eos=True)
    assert plain.completion_tokens == 10
    model.generation_config.eos_token_id = list(range(1, 4096, 2))
    model.generation_config.return_dict_in_generate = True
    model.generation_config.guidance_scale = 3.0
    again = lm.generate("The king", num_beams=3, max_new_tokens=10, ignore_eos=True)
    assert again.token_ids == plain.token_ids


def test_a_stop_string_counts_only_in_generated_text(lm_of: Callable[[str], Any]) -> None:
    lm = lm_of("gpt2")
    plain = lm.generate("The king", num_beams=2, max_new_tokens=10, ignore_eos=True)
    spanning = "ing" + plain.completion[:2]
    assert spanning not in plain.completion
    record = lm.generate(
        "The king", num_beams=2, max_new_tokens=10, ignore_eos=True, stop_strings=[spanning]
    )
    assert record.completion == plain.completion
    assert record.finish_reason == "length"


@pytest.mark.parametrize("is_sampled", [False, True])
def test_beams_with_nothing_to_choose_fail(lm_of: Callable[[str], Any], is_sampled: bool) -> None:
    options = {"suppress_tokens": range(4096), "max_new_tokens": 3, "do_sample": is_sampled}
    with pytest.raises(GenerationFailed, match="no token can be sampled"):
        lm_of("gpt2").generate("a", num_beams=2, **options)
