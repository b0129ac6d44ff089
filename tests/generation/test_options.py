"""Ranges, combinations and precedence of `GenerationOptions`, and the walk over Transformers'."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest

from hfgen import GenerationOptions
from hfgen.errors import InvalidOption, OptionConflict, UnknownOption
from hfgen.generation.options.config_fields import REFUSED
from hfgen.generation.options.options import SPECS, parse_assignment
from hfgen.mentions import spelled


def test_every_generation_config_field_is_decided() -> None:
    """A Transformers release with a new field fails here until it is an option or refused."""
    from transformers import GenerationConfig

    fields = set(GenerationConfig().__dict__)
    assert fields - set(SPECS) - set(REFUSED) == set()
    assert set(REFUSED) - fields == set()
    assert set(SPECS) & set(REFUSED) == set()


@pytest.mark.parametrize("name", REFUSED)
def test_refused_fields_say_why(name: str) -> None:
    with pytest.raises(UnknownOption) as caught:
        GenerationOptions.from_mapping({name: 1})
    assert spelled(REFUSED[name]) in caught.value.message


def test_an_unknown_name_suggests_the_nearest() -> None:
    with pytest.raises(UnknownOption) as caught:
        GenerationOptions.from_mapping({"temprature": 1})
    assert caught.value.hint == "did you mean temperature?"


WRONG: list[tuple[str, Any]] = [
    ("max_new_tokens", 0), ("max_new_tokens", 10**10), ("max_new_tokens", -3),
    ("max_new_tokens", 1.5),
    ("max_new_tokens", "many"), ("max_new_tokens", True), ("max_new_tokens", ""),
    ("min_new_tokens", -1),
    ("stop_strings", ""), ("stop_strings", []), ("stop_strings", [1]), ("stop_strings", 3),
    ("stop_token_ids", [-1]), ("stop_token_ids", "a,b"), ("stop_token_ids", []),
    ("ignore_eos", "perhaps"), ("ignore_eos", 1),
    ("max_time", 0), ("max_time", "soon"), ("max_time", float("nan")), ("max_time", "inf"),
    ("overflow", "ignore"), ("overflow", True),
    ("temperature", -0.1), ("temperature", 101), ("temperature", "hot"), ("temperature", 1e-39),
    ("temperature", []),
    ("top_k", -1), ("top_k", 2.5), ("top_p", 0), ("top_p", 1.5), ("top_p", -1),
    ("min_p", -0.1), ("min_p", 1.1), ("typical_p", 0), ("typical_p", 1.1),
    ("top_h", 0), ("top_h", 2), ("epsilon_cutoff", -1), ("epsilon_cutoff", 2),
    ("eta_cutoff", -1), ("eta_cutoff", 2), ("seed", -1), ("seed", 2**53), ("seed", 0.5),
    ("num_return_sequences", 0), ("num_return_sequences", 1025),
    ("repetition_penalty", 0), ("repetition_penalty", -1), ("no_repeat_ngram_size", -1),
    ("frequency_penalty", 2.1), ("frequency_penalty", -2.1), ("presence_penalty", "much"),
    ("bad_words", []), ("logit_bias", "x"), ("logit_bias", "=3"), ("logit_bias", "x=y"),
    ("logit_bias", "x=1e7"), ("logit_bias", "x=nan"),
    ("sequence_bias", [[[1], 1e9]]),
    ("suppress_tokens", "1,,x"), ("exponential_decay_length_penalty", "5"),
    ("exponential_decay_length_penalty", "5,0"), ("exponential_decay_length_penalty", "-5,1"),
    ("num_beams", 0), ("length_penalty", "long"), ("early_stopping", "maybe"),
    ("logprobs", -1), ("logprobs", 1001),
    ("guidance_scale", -1), ("guidance_scale", 101), ("prompt_lookup_num_tokens", 0),
    ("negative_prompt", ""), ("assistant_model", 5), ("watermark", "maybe"),
    ("num_assistant_tokens", 0), ("num_assistant_tokens_schedule", "often"),
    ("assistant_confidence_threshold", 2), ("max_matching_ngram_size", 0),
    ("watermarking_config", 3), ("watermarking_config", {"biass": 1}),
    ("watermarking_config", {"greenlist_ratio": 1}), ("watermarking_config", {"context_width": 0}),
    ("watermarking_config", {"seeding_scheme": "left"}),
    ("bad_words_ids", 3), ("bad_words_ids", [[-1]]), ("bad_words_ids", "[1,"),
    ("sequence_bias", [[1]]), ("sequence_bias", {"a": 1}), ("eos_token_id", -1),
]  # fmt: skip


@pytest.mark.parametrize(("name", "value"), WRONG, ids=str)
def test_a_wrong_value_is_refused_with_name_value_and_range(name: str, value: Any) -> None:
    with pytest.raises(InvalidOption) as caught:
        GenerationOptions(**{name: value})
    message = caught.value.message
    assert message.startswith(f"{name} = ")
    assert "must be" in message
    assert len(message) < 250


def test_every_option_with_a_range_refuses_something() -> None:
    assert {name for name, _ in WRONG} >= {
        name for name, spec in SPECS.items() if spec.low is not None and spec.has_flag
    }


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("max_new_tokens", "12", 12),
        ("max_new_tokens", 12.0, 12),
        ("temperature", "0.5", 0.5),
        ("temperature", 1, 1.0),
        ("stop_strings", "x", ("x",)),
        ("stop_token_ids", "1, 2", (1, 2)),
        ("stop_token_ids", 5, (5,)),
        ("ignore_eos", "true", True),
        ("logit_bias", ["a=b=-2.5"], (("a=b", -2.5),)),
        ("logit_bias", {"x": 1}, (("x", 1.0),)),
        ("exponential_decay_length_penalty", "5,1.1", (5, 1.1)),
        ("early_stopping", "never", "never"),
        ("early_stopping", True, True),
        ("early_stopping", "false", False),
        ("bad_words_ids", "[[1,2],[3]]", ((1, 2), (3,))),
        ("sequence_bias", [[[1, 2], 0.5]], (((1, 2), 0.5),)),
    ],
)
def test_values_are_read_from_text_and_from_json(name: str, text: Any, value: Any) -> None:
    extra = {"num_beams": 2} if name == "early_stopping" else {}
    assert getattr(GenerationOptions(**{name: text}, **extra), name) == value


CONFLICTS: list[dict[str, Any]] = [
    *({"do_sample": False, name: 0.5 if name != "top_k" else 5} for name in
      ("temperature", "top_k", "top_p", "min_p", "typical_p", "top_h", "epsilon_cutoff",
       "eta_cutoff")),
    {"temperature": 0, "top_p": 0.5},
    {"do_sample": True, "temperature": 0},
    {"num_return_sequences": 2, "do_sample": False},
    {"num_return_sequences": 2, "temperature": 0},
    {"num_return_sequences": 3, "num_beams": 2},
    {"num_beams": 2, "top_k": 5},
    {"num_beams": 2, "logprobs": 1},
    {"num_beams": 2, "max_time": 1},
    {"num_beams": 2, "overflow": "slide"},
    {"length_penalty": 1.0},
    {"early_stopping": True},
    {"min_new_tokens": 5, "max_new_tokens": 4},
    {"min_new_tokens": 5, "min_length": 4},
    {"eos_token_id": 3, "ignore_eos": True},
    {"min_new_tokens": 3, "ignore_eos": True},
    {"negative_prompt": "x"},
    {"watermarking_config": {"bias": 3}},
    {"max_matching_ngram_size": 3},
    {"num_assistant_tokens": 3},
    {"assistant_model": "x", "prompt_lookup_num_tokens": 3},
    *({name: value, **other}
      for name, value in (("assistant_model", "x"), ("prompt_lookup_num_tokens", 3))
      for other in ({"num_beams": 2}, {"num_return_sequences": 2}, {"overflow": "slide"},
                    {"guidance_scale": 2}, {"watermark": True}, {"logprobs": 1}, {"max_time": 1})),
    {"guidance_scale": 2, "num_beams": 2},
    {"guidance_scale": 2, "overflow": "slide"},
    {"remove_invalid_values": True, "exponential_decay_length_penalty": "1,1.1"},
]  # fmt: skip


@pytest.mark.parametrize("values", CONFLICTS, ids=str)
def test_contradictions_are_refused_with_a_hint(values: dict[str, Any]) -> None:
    with pytest.raises(OptionConflict) as caught:
        GenerationOptions(**values)
    assert caught.value.hint


def test_defaults() -> None:
    resolved = GenerationOptions().resolve()
    assert (resolved.do_sample, resolved.temperature, resolved.top_p) == (True, 0.8, 0.95)
    assert (resolved.max_new_tokens, resolved.top_k, resolved.num_beams) == (200, 0, 1)


@pytest.mark.parametrize(
    ("given", "model", "expected"),
    [
        ({}, {"temperature": 0.6, "top_p": 0.5}, {"temperature": 0.6, "top_p": 0.5}),
        ({"temperature": 1.2}, {"temperature": 0.6}, {"temperature": 1.2, "do_sample": True}),
        ({}, {"do_sample": False, "temperature": 0.6}, {"do_sample": False, "temperature": None}),
        ({"top_k": 5}, {"do_sample": False}, {"top_k": 5, "do_sample": True}),
        ({"do_sample": False}, {"temperature": 0.6}, {"do_sample": False, "temperature": None}),
        ({"temperature": 0}, {"top_k": 50}, {"do_sample": False, "top_k": None}),
        ({"num_beams": 4}, {"top_p": 0.9}, {"do_sample": False, "top_p": None}),
        ({"num_beams": 4}, {"do_sample": True, "top_p": 0.9}, {"do_sample": False, "top_p": None}),
        ({"do_sample": False}, {"num_beams": 4}, {"num_beams": 1}),
        ({"min_new_tokens": 300}, {}, {"max_new_tokens": 300}),
        ({}, {"num_beams": 4, "length_penalty": 2.0}, {"num_beams": 4, "length_penalty": 2.0}),
        (
            {"top_p": 0.5},
            {"do_sample": False, "repetition_penalty": 1.5},
            {"top_p": 0.5, "do_sample": True, "repetition_penalty": 1.5},
        ),
        (
            {"max_new_tokens": 3},
            {"min_new_tokens": 9},
            {"max_new_tokens": 3, "min_new_tokens": None},
        ),
        ({"num_beams": 4, "do_sample": True}, {"top_p": 0.9}, {"do_sample": True, "top_p": 0.9}),
        ({}, {"top_p": 7, "max_length": 20}, {"top_p": 0.95, "max_new_tokens": 200}),
        ({}, {"max_new_tokens": 9}, {"max_new_tokens": 9}),
        ({"min_new_tokens": 3}, {"min_length": 9}, {"min_new_tokens": 3, "min_length": None}),
        ({}, {"repetition_penalty": 1.1, "eos_token_id": 7}, {"repetition_penalty": 1.1}),
    ],
    ids=str,
)
def test_precedence_over_the_models_own_file(
    given: dict[str, Any], model: dict[str, Any], expected: dict[str, Any]
) -> None:
    resolved = GenerationOptions(**given).resolve(model)
    assert {name: getattr(resolved, name) for name in expected} == expected


def test_an_upper_level_silences_what_it_makes_meaningless_below() -> None:
    upper = GenerationOptions(do_sample=False)
    merged = upper.over(GenerationOptions(top_p=0.5, max_new_tokens=9, temperature=0.7))
    assert merged.given() == {"max_new_tokens": 9, "do_sample": False}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("top_k=40", ("top_k", 40)),
        ("top-k=40", ("top_k", 40)),
        ('stop_strings=["a"]', ("stop_strings", ["a"])),
        ("stop_strings=a=b", ("stop_strings", "a=b")),
        ("ignore_eos=true", ("ignore_eos", True)),
    ],
)
def test_assignments(text: str, expected: tuple[str, Any]) -> None:
    assert parse_assignment(text) == expected


@pytest.mark.parametrize("text", ["", "top_k", "=3"])
def test_a_malformed_assignment_is_refused(text: str) -> None:
    with pytest.raises(InvalidOption):
        parse_assignment(text)


def test_options_need_neither_torch_nor_transformers() -> None:
    code = (
        "import sys, hfgen, hfgen.errors; hfgen.GenerationOptions(top_k=3).resolve();"
        "print([m for m in ('torch', 'transformers', 'huggingface_hub') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
