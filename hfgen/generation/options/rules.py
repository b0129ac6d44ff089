"""Which generation options go together.

Works on mappings of the options that are given, by name.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hfgen.errors import OptionConflict
from hfgen.mentions import mention

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
        raise OptionConflict(
            f"{mention('temperature')} 0 is greedy, and {mention('do_sample')} asks for sampling",
            hint="drop one of the two",
        )
    for name in _meaningless(values):
        if name in BEAMS_ONLY:
            raise OptionConflict(f"{mention(name)} has no effect without beams",
                                 hint=f"add {mention('num_beams', 4)}")  # fmt: skip
        if values.get("do_sample") is False and name == "temperature" and values[name] == 0:
            continue
        if values.get("num_beams", 1) > 1 and "do_sample" not in values:
            raise OptionConflict(f"{mention(name)} has no effect on a beam search",
                                 hint=f"add {mention('do_sample', True)}, or drop it")  # fmt: skip
        raise OptionConflict(
            f"{mention(name)} has no effect on greedy decoding", hint=f"drop {mention(name)}"
        )
    low, high = values.get("min_new_tokens", 0), values.get("max_new_tokens")
    if high is not None and low > high:
        raise OptionConflict(
            f"{mention('min_new_tokens')} {low} is more than {mention('max_new_tokens')} {high}",
            hint=f"raise {mention('max_new_tokens')}",
        )
    _check_counts(values)
    _check_pairs(values)


_ASSISTED = ("assistant_model", "prompt_lookup_num_tokens")
_CONSTRAINTS = ("json_schema", "regex", "choices", "grammar")
_ONE_ROW = "guesses are checked for one text at a time, without other models or marks"
# An option, what it is nothing without, and a value for that.
_DEPENDENT: tuple[tuple[str, str, Any], ...] = (
    ("negative_prompt", "guidance_scale", 1.5),
    ("watermarking_config", "watermark", True),
    ("max_matching_ngram_size", "prompt_lookup_num_tokens", 10),
    ("num_assistant_tokens", "assistant_model", "NAME"),
    ("num_assistant_tokens_schedule", "assistant_model", "NAME"),
    ("assistant_confidence_threshold", "assistant_model", "NAME"),
)
_EXCLUSIVE = (
    ("assistant_model", "prompt_lookup_num_tokens", "both guess ahead"),
    *(
        (first, second, _ONE_ROW)
        for first in _ASSISTED
        for second in ("guidance_scale", "watermark", "logprobs", "max_time")
    ),
    *(
        (first, second, "a text keeps to one form")
        for i, first in enumerate(_CONSTRAINTS)
        for second in _CONSTRAINTS[i + 1 :]
    ),
    *(
        (first, second, reason)
        for first in _CONSTRAINTS
        for second, reason in (
            ("stop_strings", "the text ends where its form is complete"),
            ("stop_token_ids", "the text ends where its form is complete"),
            *((name, "guesses do not keep to a form") for name in _ASSISTED),
        )
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
    """What several texts and several beams rule out."""
    count, beams = values.get("num_return_sequences", 1), values.get("num_beams", 1)
    is_greedy = values.get("do_sample") is False or values.get("temperature") == 0
    if count > 1 and beams == 1 and is_greedy:
        raise OptionConflict(
            f"greedy decoding gives one text, {mention('num_return_sequences')} asks for {count}",
            hint=f"sample (drop {mention('do_sample', False)}), or search with "
            f"{mention('num_beams', count)}",
        )
    if beams > 1 and count > beams:
        raise OptionConflict(
            f"{mention('num_return_sequences')} {count} is more than "
            f"{mention('num_beams')} {beams}",
            hint=f"raise {mention('num_beams')} to {count}",
        )
    if beams > 1:
        for name, reason in (
            *((name, "each beam would need a grammar of its own") for name in _CONSTRAINTS),
            ("logprobs", "a beam's tokens are chosen by the whole sequence"),
            ("max_time", "a beam search is cut off without a result"),
        ):
            if name in values:
                raise OptionConflict(
                    f"{mention(name)} does not go with beams: {reason}", hint="drop one"
                )
        if values.get("overflow") == "slide":
            raise OptionConflict("the window cannot slide under a beam search",
                                 hint=f"use {mention('overflow', 'truncate')}")  # fmt: skip
    is_assisted = any(name in values for name in _ASSISTED)
    if is_assisted and (count > 1 or beams > 1 or values.get("overflow") == "slide"):
        raise OptionConflict(
            "assisted decoding makes one text at a time, without beams and within the window",
            hint=f"drop {' or '.join(map(mention, _ASSISTED))}",
        )
    if "guidance_scale" in values and (beams > 1 or values.get("overflow") == "slide"):
        raise OptionConflict(
            "guidance follows one text within the window, not beams or a sliding window",
            hint=f"drop {mention('guidance_scale')}",
        )


def _check_pairs(values: Mapping[str, Any]) -> None:
    """Options that need another one, and those that do not go with another one."""
    for name, other, value in _DEPENDENT:
        if name in values and not values.get(other):
            raise OptionConflict(
                f"{mention(name)} has no effect without {mention(other)}",
                hint=f"add {mention(other, value)}",
            )
    for first, second, reason in _EXCLUSIVE:
        if values.get(first) and values.get(second):
            raise OptionConflict(
                f"{mention(first)} does not go with {mention(second)}: {reason}", hint="drop one"
            )
