"""`GenerationOptions`: every parameter of text generation, with its range, default and help.

This is the only home of those facts. Command-line flags, `-O name=value`, JSON rows and Python
keyword arguments are all read into this class and checked by it; `hfgen.generation.options.config`
turns it into a Transformers `GenerationConfig`. Names are Transformers' names. Nothing here imports
torch or Transformers: a wrong value is refused before a model is thought of.

A field that is None was not given. `resolve` fills it from the model's `generation_config.json`
and then from the defaults below (the `default` of each field).
"""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from hfgen.errors import InvalidOption, OptionConflict, UnknownOption
from hfgen.generation.constraints.grammars import OPTIONS as CONSTRAINTS
from hfgen.generation.constraints.grammars import grammar_of
from hfgen.generation.options.config_fields import REFUSED
from hfgen.generation.options.rules import (
    KIND_OF_DECODING,
    SAMPLING_ONLY,
    check_combination,
    decides_kind,
)
from hfgen.generation.options.specs import MAX_COUNT, MAX_SEED, Spec, checked, split_assignment
from hfgen.mentions import mention

Overflow = Literal["error", "truncate", "slide"]


def _option(kind: Any, help: str, **facts: Any) -> Any:
    return field(default=None, metadata={"spec": Spec(kind, help, **facts)})


@dataclass(frozen=True)
class GenerationOptions:
    """Parameters of one generation; None means "not given".

    Raises `InvalidOption` for a value outside its range and `OptionConflict` for values that
    contradict each other.
    """

    max_new_tokens: int | None = _option(
        "int",
        "Maximum number of new tokens; without it, fewer if the context window is full.",
        panel="Length and stops", default=200, flags=("-n",), low=1, high=MAX_COUNT,
    )  # fmt: skip
    min_new_tokens: int | None = _option(
        "int", "Fewest tokens before the end-of-text token may be chosen.",
        panel="Length and stops", low=0, high=MAX_COUNT,
    )  # fmt: skip
    stop_strings: tuple[str, ...] | None = _option(
        "strs", "Stop before this text appears (repeatable). It is not part of the output.",
        panel="Length and stops", flags=("--stop",), metavar="TEXT", has_escapes=True,
    )  # fmt: skip
    stop_token_ids: tuple[int, ...] | None = _option(
        "ints", "Stop at any of these token ids (comma-separated).",
        panel="Length and stops", low=0, high=MAX_COUNT, metavar="IDS",
    )  # fmt: skip
    ignore_eos: bool | None = _option(
        "bool", "Go on after the end-of-text token.", panel="Length and stops", default=False
    )
    max_time: float | None = _option(
        "float", "Stop after this many seconds, counted from the row's first step.",
        panel="Length and stops", low=0, low_open=True, high=MAX_COUNT, metavar="SECONDS",
    )  # fmt: skip
    overflow: Overflow | None = _option(
        "choice",
        "When prompt and length exceed the window: refuse, drop the prompt's beginning, or let "
        "the window slide.",
        panel="Length and stops", default="error", choices=("error", "truncate", "slide"),
    )  # fmt: skip

    do_sample: bool | None = _option(
        "bool", "Sample, or take the most likely token each time.",
        panel="Sampling", default=True, flags=("/--greedy",),
    )  # fmt: skip
    temperature: float | None = _option(
        "float", "Below 1 sharpens the distribution, above 1 flattens it; 0 is greedy.",
        panel="Sampling", default=0.8, flags=("-t",), low=0.001, high=100, or_zero=True,
    )  # fmt: skip
    top_k: int | None = _option(
        "int",
        "Keep the K most likely tokens; 0 keeps all.",
        panel="Sampling",
        default=0,
        low=0,
        high=MAX_COUNT,
    )
    top_p: float | None = _option(
        "float", "Keep the most likely tokens that together have this probability.",
        panel="Sampling", default=0.95, low=0, low_open=True, high=1,
    )  # fmt: skip
    min_p: float | None = _option(
        "float", "Keep tokens at least this fraction as likely as the most likely.",
        panel="Sampling", low=0, high=1,
    )  # fmt: skip
    typical_p: float | None = _option(
        "float", "Keep the most typical tokens that together have this probability.",
        panel="Sampling", low=0, low_open=True, high=1,
    )  # fmt: skip
    top_h: float | None = _option(
        "float", "Keep the most likely tokens up to this share of the distribution's entropy.",
        panel="Sampling", low=0, low_open=True, high=1,
    )  # fmt: skip
    epsilon_cutoff: float | None = _option(
        "float", "Drop tokens less likely than this (3e-4 to 9e-4 is usual).",
        panel="Sampling", low=0, high=1, high_open=True,
    )  # fmt: skip
    eta_cutoff: float | None = _option(
        "float", "Drop tokens less likely than an entropy-dependent bound (3e-4 to 2e-3 is usual).",
        panel="Sampling", low=0, high=1, high_open=True,
    )  # fmt: skip
    seed: int | None = _option(
        "int", "Seed of the sampling; drawn and reported when not given.",
        panel="Sampling", low=0, high=MAX_SEED,
    )  # fmt: skip
    num_return_sequences: int | None = _option(
        "int", "How many texts to generate for each prompt.",
        panel="Sampling", default=1, low=1, high=1024,
    )  # fmt: skip

    repetition_penalty: float | None = _option(
        "float", "Above 1 makes tokens of prompt and text so far less likely.",
        panel="Repetition and bias", low=0, low_open=True, high=100,
    )  # fmt: skip
    frequency_penalty: float | None = _option(
        "float", "Subtracted from a token's score for each time it was generated.",
        panel="Repetition and bias", low=-2, high=2,
    )  # fmt: skip
    presence_penalty: float | None = _option(
        "float", "Subtracted once from the score of every token that was generated.",
        panel="Repetition and bias", low=-2, high=2,
    )  # fmt: skip
    no_repeat_ngram_size: int | None = _option(
        "int", "No sequence of this many tokens occurs twice; 0 is off.",
        panel="Repetition and bias", low=0, high=MAX_COUNT,
    )  # fmt: skip
    bad_words: tuple[str, ...] | None = _option(
        "strs", "Never generate this text, with or without a space before it (repeatable).",
        panel="Repetition and bias", metavar="TEXT", has_escapes=True,
    )  # fmt: skip
    logit_bias: tuple[tuple[str, float], ...] | None = _option(
        "biases",
        "Add NUMBER to the score of TEXT, with and without a space before it (repeatable).",
        panel="Repetition and bias", metavar="TEXT=NUMBER", has_escapes=True,
    )  # fmt: skip
    suppress_tokens: tuple[int, ...] | None = _option(
        "ints", "Token ids that are never generated (comma-separated).",
        panel="Repetition and bias", low=0, high=MAX_COUNT, metavar="IDS",
    )  # fmt: skip
    exponential_decay_length_penalty: tuple[int, float] | None = _option(
        "pair", "From START new tokens on, raise the end-of-text token's score by FACTOR^n.",
        panel="Repetition and bias", has_flag=False, metavar="START,FACTOR",
    )  # fmt: skip

    num_beams: int | None = _option(
        "int", "Search with this many beams (without sampling, unless do_sample is given with it).",
        panel="Beams", default=1, low=1, high=1024,
    )  # fmt: skip
    length_penalty: float | None = _option(
        "float", "Above 0 favours longer beams, below 0 shorter ones.",
        panel="Beams", low=-100, high=100,
    )  # fmt: skip
    early_stopping: bool | str | None = _option(
        "choice", "When the beam search ends.", panel="Beams", choices=("true", "false", "never")
    )

    logprobs: int | None = _option(
        "int",
        "Report each token's log-probability under the model (before temperature and filters) "
        "and those of this many most likely alternatives.",
        panel="Output", low=0, high=1000,
    )  # fmt: skip

    json_schema: str | None = _option(
        "schema",
        "Answer in JSON of this schema: a file, the schema itself, or a list of fields, as "
        "'name, age int, tags list'.",
        panel="Structured output", metavar="SCHEMA", names_file=True,
    )  # fmt: skip
    regex: str | None = _option(
        "str", "The text matches this regular expression as a whole.",
        panel="Structured output", metavar="REGEX",
    )  # fmt: skip
    choices: tuple[str, ...] | None = _option(
        "strs", "The text is one of these (comma-separated, or a JSON list).",
        panel="Structured output", metavar="A,B", has_commas=True,
    )  # fmt: skip
    grammar: str | None = _option(
        "str", "The text is one of this Lark grammar: a file, or the grammar itself.",
        panel="Structured output", metavar="FILE", names_file=True,
    )  # fmt: skip

    guidance_scale: float | None = _option(
        "float",
        "Above 1 keeps closer to the prompt, by a second computation without it; 1 is off.",
        panel="Guidance and watermark",
        low=0,
        high=100,
    )
    negative_prompt: str | None = _option(
        "str",
        "With guidance: the text to steer away from.",
        panel="Guidance and watermark",
        metavar="TEXT",
        has_escapes=True,
    )
    watermark: bool | None = _option(
        "bool",
        "Mark the text statistically; hfgen detect-watermark finds the mark.",
        panel="Guidance and watermark",
        default=False,
    )

    prompt_lookup_num_tokens: int | None = _option(
        "int",
        "Guess this many tokens ahead from repetitions in the text; the guesses only save time.",
        panel="Assisted decoding",
        low=1,
        high=1024,
    )
    assistant_model: str | None = _option(
        "str",
        "A smaller model with the same vocabulary guesses ahead; the guesses only save time.",
        panel="Assisted decoding",
        metavar="NAME",
    )

    # Reached by -O name=value.
    num_assistant_tokens: int | None = _option(
        "int", "How many tokens the assistant guesses.", low=1, high=1024, has_flag=False
    )
    num_assistant_tokens_schedule: str | None = _option(
        "choice",
        "How the number of guesses changes.",
        choices=("heuristic", "heuristic_transient", "constant"),
        has_flag=False,
    )
    assistant_confidence_threshold: float | None = _option(
        "float", "The assistant stops guessing below it.", low=0, high=1, has_flag=False
    )
    max_matching_ngram_size: int | None = _option(
        "int", "Longest repetition that prompt lookup looks for.", low=1, high=64, has_flag=False
    )
    watermarking_config: tuple[tuple[str, Any], ...] | None = _option(
        "json",
        'The watermark\'s settings, as {"bias": 2.5, "greenlist_ratio": 0.25}.',
        has_flag=False,
    )
    min_length: int | None = _option(
        "int", "Fewest tokens, prompt included.", low=0, high=MAX_COUNT, has_flag=False
    )
    begin_suppress_tokens: tuple[int, ...] | None = _option(
        "ints", "Token ids never generated first.", low=0, high=MAX_COUNT, has_flag=False
    )
    bad_words_ids: tuple[tuple[int, ...], ...] | None = _option(
        "json", "Token id sequences that are never generated, as [[1, 2], [3]].", has_flag=False
    )
    sequence_bias: tuple[tuple[tuple[int, ...], float], ...] | None = _option(
        "json", "Biases of token id sequences, as [[[1, 2], 0.5]].", has_flag=False
    )
    forced_bos_token_id: int | None = _option(
        "int", "Token id forced after a prompt of one token.", low=0, high=MAX_COUNT, has_flag=False
    )
    forced_eos_token_id: int | None = _option(
        "int",
        "Token id forced as the last one at the length limit.",
        low=0,
        high=MAX_COUNT,
        has_flag=False,
    )
    eos_token_id: tuple[int, ...] | None = _option(
        "ints",
        "End-of-text token ids, in place of the model's.",
        low=0,
        high=MAX_COUNT,
        has_flag=False,
    )
    encoder_repetition_penalty: float | None = _option(
        "float",
        "Above 1 favours tokens of the prompt.",
        low=0,
        low_open=True,
        high=100,
        has_flag=False,
    )
    encoder_no_repeat_ngram_size: int | None = _option(
        "int", "No sequence of this many tokens of the prompt recurs; 0 is off.",
        low=0, high=MAX_COUNT, has_flag=False,
    )  # fmt: skip
    renormalize_logits: bool | None = _option(
        "bool", "Normalise the scores after all processors.", has_flag=False
    )
    remove_invalid_values: bool | None = _option(
        "bool", "Replace NaN and infinite scores.", has_flag=False
    )

    def __post_init__(self) -> None:
        for name, spec in SPECS.items():
            value = getattr(self, name)
            if value is not None:
                object.__setattr__(self, name, checked(name, spec, value))
        given = self.given()
        check_combination(given)
        grammar_of(given)

    @classmethod
    def from_mapping(cls, values: Mapping[str, Any]) -> GenerationOptions:
        """Build from a mapping of names (a JSON row, keyword arguments, a config table).

        Flags that are no field's name are understood too: `stop`, `greedy`. Raises
        `InvalidOption` with the nearest name for an unknown one, and with the reason for a
        `GenerationConfig` field that hfgen refuses.
        """
        found: dict[str, Any] = {}
        for name, value in values.items():
            field, value = _field_of(name, value)
            if field not in SPECS:
                raise unknown_option(name)
            if value is not None and found.get(field) is not None:
                raise OptionConflict(
                    f"{name} says what {mention(field)} says too", hint="leave one of them out"
                )
            found[field] = found.get(field) if value is None else value
        return cls(**found)

    def given(self) -> dict[str, Any]:
        """The fields that were given, by name."""
        return {name: value for name in SPECS if (value := getattr(self, name)) is not None}

    def over(self, lower: GenerationOptions) -> GenerationOptions:
        """These options, with what they leave open taken from `lower`.

        An option of `lower` that contradicts this level (sampling parameters under an explicit
        `do_sample=False`, say) is dropped: precedence is no contradiction. `do_sample` and
        `num_beams` go together: the level that gives one of them decides both.
        """
        upper, below = self.given(), lower.given()
        if not upper or not below:
            return lower if below else self
        if decides_kind(upper) and decides_kind(below):
            return self._filled_from(below)
        try:
            return GenerationOptions(**(below | upper))
        except OptionConflict:
            return self._filled_from(below)

    def _filled_from(self, values: Mapping[str, Any]) -> GenerationOptions:
        """These options and those of `values` that are valid and do not contradict them."""
        merged = self
        is_decided = decides_kind(self.given())
        kind = [name for name in KIND_OF_DECODING if name in values]
        others = [name for name in values if name not in KIND_OF_DECODING]
        for name in ["temperature", *others] if is_decided else [*kind, "temperature", *others]:
            if name in values and getattr(merged, name) is None:
                try:
                    merged = GenerationOptions(**merged.given(), **{name: values[name]})
                except (InvalidOption, OptionConflict):
                    continue
        return merged

    def with_model_defaults(self, model_defaults: Mapping[str, Any]) -> GenerationOptions:
        """Fill open fields from the fields of a model's `generation_config.json`.

        Those that are no options of hfgen, or lie outside the allowed range, are left out.
        """
        return self._filled_from(
            {
                name: value
                for name, value in model_defaults.items()
                if name in SPECS and name not in _NOT_FROM_MODEL and value is not None
            }
        )

    def resolve(self, model_defaults: Mapping[str, Any] | None = None) -> GenerationOptions:
        """Fill every open field that has a default, from `model_defaults` first."""
        merged = self.with_model_defaults(model_defaults or {})
        filled = merged.given()
        if "do_sample" not in filled:
            is_greedy = filled.get("temperature") == 0 or filled.get("num_beams", 1) > 1
            filled["do_sample"] = not is_greedy
        filled.setdefault("max_new_tokens", max(200, filled.get("min_new_tokens", 0)))
        for name, spec in SPECS.items():
            if name not in filled and spec.default is not None:
                filled[name] = spec.default
        if not filled["do_sample"]:
            for name in SAMPLING_ONLY:
                filled.pop(name, None)
        return GenerationOptions(**filled)

    @property
    def is_greedy(self) -> bool:
        """Whether the next token is the most likely one (after `resolve`)."""
        return self.do_sample is False

    @property
    def is_assisted(self) -> bool:
        """Whether an assistant model or prompt lookup guesses ahead."""
        return self.assistant_model is not None or self.prompt_lookup_num_tokens is not None

    @property
    def uses_beams(self) -> bool:
        """Whether decoding is a beam search."""
        return (self.num_beams or 1) > 1


SPECS: dict[str, Spec] = {f.name: f.metadata["spec"] for f in dataclasses.fields(GenerationOptions)}

CHAT_DEFAULTS = GenerationOptions(temperature=0.3, top_p=0.9)
"""Of chat models whose own `generation_config.json` says nothing of sampling."""

FLAG_NAMES: dict[str, tuple[str, bool]] = {
    flag.lstrip("/-").replace("-", "_"): (name, flag.startswith("/"))
    for name, spec in SPECS.items()
    for flag in spec.flags
    if len(flag) > 2
}
"""Long flags that are no field's name: the field, and whether the flag is its opposite."""

# A model's own file speaks of its defaults, not of one user's request.
_NOT_FROM_MODEL = (
    "seed", "num_return_sequences", "logprobs", "eos_token_id", "min_length", *CONSTRAINTS,
)  # fmt: skip


def _field_of(name: str, value: Any) -> tuple[str, Any]:
    """The field and the value that a name means, and that of a flag."""
    field, is_opposite = FLAG_NAMES.get(name, (name, False))
    return field, (not value if is_opposite and isinstance(value, bool) else value)


def unknown_option(name: str) -> UnknownOption:
    """The error for a name that is no option: why it is refused, or which one is near."""
    if name in REFUSED:
        return UnknownOption(f"{name} cannot be set: {REFUSED[name]}", hint=f"drop {name}")
    near = difflib.get_close_matches(name, SPECS, n=1)
    hint = f"did you mean {near[0]}?" if near else None
    return UnknownOption(f"unknown option {name!r}", hint=hint)


def parse_assignment(text: str) -> tuple[str, Any]:
    """Read one `name=value` of `-O/--set`; the value is JSON where it can be, else a string."""
    name, value = split_assignment(text, example="top_k=40", specs=SPECS)
    if name not in SPECS:
        raise unknown_option(name)
    return name, value


def parse_text(name: str, texts: Sequence[str]) -> Any:
    """Turn the strings of a repeatable flag into the field's value (lists, biases, pairs)."""
    kind = SPECS[name].kind
    if kind == "ints":
        return [part.strip() for text in texts for part in text.split(",") if part.strip()]
    if kind == "pair":
        return texts[-1]
    return list(texts)
