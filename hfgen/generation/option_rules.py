"""Which generation options go together.

Works on mappings of the options that are given, by name.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hfgen.errors import OptionConflict

SAMPLING_ONLY = (
    "temperature", "top_k", "top_p", "min_p", "typical_p", "top_h", "epsilon_cutoff", "eta_cutoff",
)  # fmt: skip
KIND_OF_DECODING = ("do_sample", "num_beams")
BEAMS_ONLY = ("length_penalty", "early_stopping")


def decides_kind(values: Mapping[str, Any]) -> bool:
    """Whether the options say which kind of decoding is meant: greedy, sampling or beams."""
    return any(name in values for name in KIND_OF_DECODING)


def _meaningless(values: Mapping[str, Any]) -> list[str]:
    """Names among `values` that the others leave without effect."""
    names: list[str] = []
    is_greedy = values.get("do_sample") is False or values.get("temperature") == 0
    has_beams = values.get("num_beams", 1) > 1
    if values.get("do_sample") is False:
        names += [n for n in SAMPLING_ONLY if n in values]
    elif is_greedy:
        names += [n for n in SAMPLING_ONLY if n in values and n != "temperature"]
    elif has_beams and "do_sample" not in values:
        names += [n for n in SAMPLING_ONLY if n in values]
    if not has_beams:
        names += [n for n in BEAMS_ONLY if n in values]
    return names


def check_combination(values: Mapping[str, Any]) -> None:
    """Raise `OptionConflict` for options that contradict each other."""
    if values.get("do_sample") is True and values.get("temperature") == 0:
        raise OptionConflict("temperature 0 is greedy, and do_sample asks for sampling",
                             hint="drop one of the two")  # fmt: skip
    for name in _meaningless(values):
        if name in BEAMS_ONLY:
            raise OptionConflict(f"{name} has no effect without beams", hint="add --num-beams 4")
        if values.get("do_sample") is False and name == "temperature" and values[name] == 0:
            continue
        if values.get("num_beams", 1) > 1 and "do_sample" not in values:
            raise OptionConflict(
                f"{name} has no effect on a beam search", hint="add --do-sample, or drop it"
            )
        raise OptionConflict(
            f"{name} has no effect on greedy decoding", hint=f"drop --{name.replace('_', '-')}"
        )
    low, high = values.get("min_new_tokens", 0), values.get("max_new_tokens")
    if high is not None and low > high:
        raise OptionConflict(f"min_new_tokens {low} is more than max_new_tokens {high}",
                             hint="raise --max-new-tokens")  # fmt: skip
    _check_counts(values)


_ASSISTED = ("assistant_model", "prompt_lookup_num_tokens")
_ONE_ROW = "guesses are checked for one text at a time, without other models or marks"
# An option, what it is nothing without, and what to type.
_DEPENDENT = (
    ("negative_prompt", ("guidance_scale",), "add --guidance-scale 1.5"),
    ("watermarking_config", ("watermark",), "add --watermark"),
    ("max_matching_ngram_size", ("prompt_lookup_num_tokens",), "add --prompt-lookup-num-tokens 10"),
    ("num_assistant_tokens", ("assistant_model",), "add --assistant-model NAME"),
    ("num_assistant_tokens_schedule", ("assistant_model",), "add --assistant-model NAME"),
    ("assistant_confidence_threshold", ("assistant_model",), "add --assistant-model NAME"),
)
_EXCLUSIVE = (
    ("assistant_model", "prompt_lookup_num_tokens", "both guess ahead"),
    *(
        (first, second, _ONE_ROW)
        for first in _ASSISTED
        for second in ("guidance_scale", "watermark", "logprobs", "max_time")
    ),
    ("eos_token_id", "ignore_eos", "the one names tokens that the other ignores"),
    ("min_length", "min_new_tokens", "Transformers lets the second override the first"),
    *(
        ("ignore_eos", name, "no end-of-text token is left for it")
        for name in ("min_new_tokens", "min_length", "exponential_decay_length_penalty")
    ),
    (
        "remove_invalid_values",
        "exponential_decay_length_penalty",
        "banned tokens get a finite score, which the penalty then raises",
    ),
)


def _check_counts(values: Mapping[str, Any]) -> None:
    count, beams = values.get("num_return_sequences", 1), values.get("num_beams", 1)
    is_greedy = values.get("do_sample") is False or values.get("temperature") == 0
    if count > 1 and beams == 1 and is_greedy:
        raise OptionConflict(
            f"greedy decoding gives one text, num_return_sequences asks for {count}",
            hint="sample (drop --greedy), or search with --num-beams",
        )
    if beams > 1 and count > beams:
        raise OptionConflict(
            f"num_return_sequences {count} is more than num_beams {beams}",
            hint=f"raise --num-beams to {count}",
        )
    if beams > 1:
        for name, reason in (
            ("logprobs", "a beam's tokens are chosen by the whole sequence"),
            ("max_time", "a beam search is cut off without a result"),
        ):
            if name in values:
                raise OptionConflict(f"{name} does not go with beams: {reason}", hint="drop one")
        if values.get("overflow") == "slide":
            raise OptionConflict("the window cannot slide under a beam search",
                                 hint="--overflow truncate")  # fmt: skip
    for name, others, hint in _DEPENDENT:
        if name in values and not any(values.get(other) for other in others):
            raise OptionConflict(f"{name} has no effect without {' or '.join(others)}", hint=hint)
    is_assisted = any(name in values for name in _ASSISTED)
    if is_assisted and (count > 1 or beams > 1 or values.get("overflow") == "slide"):
        raise OptionConflict(
            "assisted decoding makes one text at a time, without beams and within the window",
            hint="drop --assistant-model or --prompt-lookup-num-tokens",
        )
    if "guidance_scale" in values and (beams > 1 or values.get("overflow") == "slide"):
        raise OptionConflict(
            "guidance follows one text within the window, not beams or a sliding window",
            hint="drop --guidance-scale",
        )
    for first, second, reason in _EXCLUSIVE:
        if values.get(first) and values.get(second):
            raise OptionConflict(f"{first} does not go with {second}: {reason}", hint="drop one")
