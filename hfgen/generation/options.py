"""`GenerationOptions`: every parameter of text generation, with its range, default and help.

This is the only home of those facts. Command-line flags, `-O name=value`, JSON rows and Python
keyword arguments are all read into this class and checked by it; `hfgen.generation.config` turns
it into a Transformers `GenerationConfig`. Names are Transformers' names. Nothing here imports
torch or Transformers: a wrong value is refused before a model is thought of.

A field that is None was not given. `resolve` fills it from the model's `generation_config.json`
and then from the defaults below (the `default` of each field).
"""

from __future__ import annotations

import dataclasses
import difflib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from hfgen.errors import InvalidOption, OptionConflict, UnknownOption
from hfgen.generation.config_fields import REFUSED

# Enough for any model, and small enough for every tensor library.
MAX_COUNT = 10**9
# Seeds stay exact in JSON readers that hold numbers as doubles (jq, JavaScript).
MAX_SEED = 2**53 - 1

Overflow = Literal["error", "truncate", "slide"]
Panel = Literal[
    "Length and stops", "Sampling", "Repetition and bias", "Beams", "Output", "Advanced"
]


@dataclass(frozen=True)
class Spec:
    """What is known of one option: its range, default and help."""

    kind: Literal["int", "float", "bool", "choice", "strs", "ints", "biases", "pair", "json"]
    help: str
    panel: Panel = "Advanced"
    default: Any = None
    """Used when neither the user nor the model's generation_config.json gives a value."""
    flags: tuple[str, ...] = ()
    """Flags besides `--name-with-dashes`."""
    low: float | None = None
    high: float | None = None
    low_open: bool = False
    """Whether `low` itself is outside the range."""
    high_open: bool = False
    """Whether `high` itself is outside the range."""
    or_zero: bool = False
    """Whether 0 is allowed besides the range."""
    choices: tuple[str, ...] = ()
    has_flag: bool = True
    """Whether the option has a flag of its own; the others are reached by `-O name=value`."""
    metavar: str | None = None

    @property
    def allowed(self) -> str:
        """The range in words, for errors and help."""
        if self.kind == "choice":
            return " or ".join(self.choices)
        words = {
            "int": "a whole number",
            "float": "a number",
            "bool": "true or false",
            "strs": "a text or a list of non-empty texts",
            "ints": "a list of token ids",
            "biases": "TEXT=NUMBER",
            "pair": "START,FACTOR (a whole number from 0, a number above 0 to 100)",
            "json": "a list",
        }[self.kind]
        zero = "0 or " if self.or_zero else ""
        low = "" if self.low is None else f" {'above' if self.low_open else 'from'} {self.low:,}"
        to = "to" if not self.low_open else ", at most"
        high = "" if self.high is None else f" {', below' if self.high_open else to} {self.high:,}"
        high = high.replace(" ,", ",")
        return f"{zero}{words}{low}{high}"

    def contains(self, number: float) -> bool:
        """Whether a number lies in the range."""
        if self.or_zero and number == 0:
            return True
        is_low = self.low is not None and (
            number < self.low or (self.low_open and number == self.low)
        )
        is_high = self.high is not None and (
            number > self.high or (self.high_open and number == self.high)
        )
        return not is_low and not is_high


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
        "Most tokens to generate; without it, fewer where the model's window ends.",
        panel="Length and stops", default=200, flags=("-n",), low=1, high=MAX_COUNT,
    )  # fmt: skip
    min_new_tokens: int | None = _option(
        "int", "Fewest tokens before the end-of-text token may be chosen.",
        panel="Length and stops", low=0, high=MAX_COUNT,
    )  # fmt: skip
    stop_strings: tuple[str, ...] | None = _option(
        "strs", "Stop before this text appears (repeatable). It is not part of the output.",
        panel="Length and stops", flags=("--stop",), metavar="TEXT",
    )  # fmt: skip
    stop_token_ids: tuple[int, ...] | None = _option(
        "ints", "Stop at any of these token ids (comma-separated).",
        panel="Length and stops", low=0, high=MAX_COUNT, metavar="IDS",
    )  # fmt: skip
    ignore_eos: bool | None = _option(
        "bool", "Go on after the end-of-text token.", panel="Length and stops", default=False
    )
    max_time: float | None = _option(
        "float", "Stop after so many seconds, counted from the row's first step.",
        panel="Length and stops", low=0, low_open=True, high=MAX_COUNT, metavar="SECONDS",
    )  # fmt: skip
    overflow: Overflow | None = _option(
        "choice",
        "When prompt and length exceed the window: refuse, drop the prompt's beginning, or let "
        "the window slide.",
        panel="Length and stops", default="error", choices=("error", "truncate", "slide"),
    )  # fmt: skip

    do_sample: bool | None = _option(
        "bool", "Sample, or take the likeliest token each time.",
        panel="Sampling", default=True, flags=("/--greedy",),
    )  # fmt: skip
    temperature: float | None = _option(
        "float", "Below 1 sharpens the distribution, above 1 flattens it; 0 is greedy.",
        panel="Sampling", default=0.8, flags=("-t",), low=0.001, high=100, or_zero=True,
    )  # fmt: skip
    top_k: int | None = _option(
        "int",
        "Keep the K likeliest tokens; 0 keeps all.",
        panel="Sampling",
        default=0,
        low=0,
        high=MAX_COUNT,
    )
    top_p: float | None = _option(
        "float", "Keep the likeliest tokens that together have this probability.",
        panel="Sampling", default=0.95, low=0, low_open=True, high=1,
    )  # fmt: skip
    min_p: float | None = _option(
        "float", "Keep tokens at least this fraction as likely as the likeliest.",
        panel="Sampling", low=0, high=1,
    )  # fmt: skip
    typical_p: float | None = _option(
        "float", "Keep the most typical tokens that together have this probability.",
        panel="Sampling", low=0, low_open=True, high=1,
    )  # fmt: skip
    top_h: float | None = _option(
        "float", "Keep the likeliest tokens up to this share of the distribution's entropy.",
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
    no_repeat_ngram_size: int | None = _option(
        "int", "No sequence of so many tokens occurs twice; 0 is off.",
        panel="Repetition and bias", low=0, high=MAX_COUNT,
    )  # fmt: skip
    bad_words: tuple[str, ...] | None = _option(
        "strs", "Never generate this text, with or without a space before it (repeatable).",
        panel="Repetition and bias", metavar="TEXT",
    )  # fmt: skip
    logit_bias: tuple[tuple[str, float], ...] | None = _option(
        "biases",
        "Add NUMBER to the score of TEXT, with and without a space before it (repeatable).",
        panel="Repetition and bias", metavar="TEXT=NUMBER",
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
        "int", "Search with so many beams (without sampling, unless do_sample is given with it).",
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
        "and that of so many likeliest alternatives.",
        panel="Output", low=0, high=1000,
    )  # fmt: skip

    # Reached by -O name=value.
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
        "int", "No sequence of so many tokens of the prompt recurs; 0 is off.",
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
                object.__setattr__(self, name, _checked(name, spec, value))
        _check_combination(self)

    @classmethod
    def from_mapping(cls, values: Mapping[str, Any]) -> GenerationOptions:
        """Build from a mapping of field names (a JSON row, keyword arguments, a config table).

        Raises `InvalidOption` with the nearest name for an unknown one, and with the reason for
        a `GenerationConfig` field that hfgen refuses.
        """
        for name in values:
            if name not in SPECS:
                raise unknown_option(name)
        return cls(**values)

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
        if _decides_kind(upper) and _decides_kind(below):
            return self._filled_from(below)
        try:
            return GenerationOptions(**(below | upper))
        except OptionConflict:
            return self._filled_from(below)

    def _filled_from(self, values: Mapping[str, Any]) -> GenerationOptions:
        """These options and those of `values` that are valid and do not contradict them."""
        merged = self
        is_decided = _decides_kind(self.given())
        kind = [name for name in _KIND_OF_DECODING if name in values]
        others = [name for name in values if name not in _KIND_OF_DECODING]
        for name in ["temperature", *others] if is_decided else [*kind, "temperature", *others]:
            if name in values and getattr(merged, name) is None:
                try:
                    merged = GenerationOptions(**merged.given(), **{name: values[name]})
                except (InvalidOption, OptionConflict):
                    continue
        return merged

    def resolve(self, model_defaults: Mapping[str, Any] | None = None) -> GenerationOptions:
        """Fill every open field that has a default.

        `model_defaults` are the fields of the model's `generation_config.json`; those that are no
        options of hfgen, or lie outside the allowed range, are left out.
        """
        merged = self._filled_from(
            {
                name: value
                for name, value in (model_defaults or {}).items()
                if name in SPECS and name not in _NOT_FROM_MODEL and value is not None
            }
        )
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
        """Whether the next token is the likeliest one (after `resolve`)."""
        return self.do_sample is False

    @property
    def uses_beams(self) -> bool:
        """Whether decoding is a beam search."""
        return (self.num_beams or 1) > 1


SPECS: dict[str, Spec] = {f.name: f.metadata["spec"] for f in dataclasses.fields(GenerationOptions)}

SAMPLING_ONLY = (
    "temperature", "top_k", "top_p", "min_p", "typical_p", "top_h", "epsilon_cutoff", "eta_cutoff",
)  # fmt: skip
_KIND_OF_DECODING = ("do_sample", "num_beams")
BEAMS_ONLY = ("length_penalty", "early_stopping")

# A model's own file speaks of its defaults, not of one user's request.
_NOT_FROM_MODEL = ("seed", "num_return_sequences", "logprobs", "eos_token_id", "min_length")

_JSON_SHAPES = {
    "bad_words_ids": "a list of token id lists, as [[1, 2], [3]]",
    "sequence_bias": "a list of [token ids, number], as [[[1, 2], 0.5]]",
}


def unknown_option(name: str) -> UnknownOption:
    """The error for a name that is no option: why it is refused, or which one is near."""
    if name in REFUSED:
        return UnknownOption(f"{name} cannot be set: {REFUSED[name]}", hint=f"drop {name}")
    near = difflib.get_close_matches(name, SPECS, n=1)
    hint = f"did you mean {near[0]}?" if near else "hfgen generate --help lists the options"
    return UnknownOption(f"unknown option {name!r}", hint=hint)


def parse_assignment(text: str) -> tuple[str, Any]:
    """Read one `name=value` of `-O/--set`; the value is JSON where it can be, else a string."""
    name, separator, raw = text.partition("=")
    name = name.strip().replace("-", "_")
    if not separator or not name:
        raise InvalidOption("-O", text, "NAME=VALUE, as -O top_k=40")
    if name not in SPECS:
        raise unknown_option(name)
    try:
        value = json.loads(raw)
    except (ValueError, RecursionError):
        value = raw
    return name, value


def parse_text(name: str, texts: Sequence[str]) -> Any:
    """Turn the strings of a repeatable flag into the field's value (lists, biases, pairs)."""
    kind = SPECS[name].kind
    if kind == "ints":
        return [part.strip() for text in texts for part in text.split(",") if part.strip()]
    if kind == "pair":
        return texts[-1]
    return list(texts)


def _checked(name: str, spec: Spec, value: Any) -> Any:
    """Return `value` in the field's own type, or raise `InvalidOption`."""
    try:
        result = _CONVERTERS[spec.kind](value)
    except (TypeError, ValueError, OverflowError, RecursionError):
        allowed = _JSON_SHAPES.get(name, spec.allowed)
        raise InvalidOption(name, value, allowed) from None
    numbers = result if spec.kind == "ints" else (result,) if spec.kind in ("int", "float") else ()
    if not all(map(spec.contains, numbers)):
        raise InvalidOption(name, value, spec.allowed)
    if spec.kind == "choice" and result not in spec.choices:
        raise InvalidOption(name, value, spec.allowed)
    if name == "early_stopping":
        return {"true": True, "false": False}.get(result, result)
    if name in _JSON_SHAPES:
        try:
            return _JSON_CONVERTERS[name](result)
        except (TypeError, ValueError):
            raise InvalidOption(name, value, _JSON_SHAPES[name]) from None
    return result


def _as_int(value: Any) -> int:
    if isinstance(value, bool):
        raise TypeError
    if isinstance(value, float) and not value.is_integer():
        raise ValueError
    if isinstance(value, str) and not value.strip().lstrip("+-").isdecimal():
        raise ValueError
    return int(value)


def _as_float(value: Any) -> float:
    if isinstance(value, bool):
        raise TypeError
    number = float(value)
    if not math.isfinite(number):
        raise ValueError
    return number


def _as_bool(value: Any) -> bool:
    if isinstance(value, bool):
        return value
    if isinstance(value, str) and value.lower() in ("true", "false", "yes", "no", "on", "off"):
        return value.lower() in ("true", "yes", "on")
    raise TypeError


def _as_choice(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if not isinstance(value, str):
        raise TypeError
    return value


def _as_strs(value: Any) -> tuple[str, ...]:
    texts = (value,) if isinstance(value, str) else tuple(value)
    if not texts or not all(isinstance(text, str) and text for text in texts):
        raise TypeError
    return texts


def _as_ints(value: Any) -> tuple[int, ...]:
    if isinstance(value, str):
        value = value.split(",")
    elif isinstance(value, int):
        value = (value,)
    numbers = tuple(_as_int(item) for item in value)
    if not numbers:
        raise ValueError
    return numbers


def _as_biases(value: Any) -> tuple[tuple[str, float], ...]:
    if isinstance(value, Mapping):
        value = list(value.items())
    biases = []
    for item in (value,) if isinstance(value, str) else value:
        # The text itself may hold "=", the number cannot.
        text, number = item.rsplit("=", 1) if isinstance(item, str) else item
        if not isinstance(text, str) or not text:
            raise TypeError
        biases.append((text, _as_float(number)))
    if not biases:
        raise ValueError
    return tuple(biases)


def _as_pair(value: Any) -> tuple[int, float]:
    start, factor = value.split(",") if isinstance(value, str) else value
    pair = _as_int(start), _as_float(factor)
    if not 0 <= pair[0] <= MAX_COUNT or not 0 < pair[1] <= 100:
        raise ValueError
    return pair


def _as_json(value: Any) -> Any:
    return json.loads(value) if isinstance(value, str) else value


_CONVERTERS: dict[str, Any] = {
    "int": _as_int,
    "float": _as_float,
    "bool": _as_bool,
    "choice": _as_choice,
    "strs": _as_strs,
    "ints": _as_ints,
    "biases": _as_biases,
    "pair": _as_pair,
    "json": _as_json,
}


def _id_sequence(value: Any) -> tuple[int, ...]:
    ids = _as_ints(value)
    if min(ids) < 0:
        raise ValueError
    return ids


_JSON_CONVERTERS: dict[str, Any] = {
    "bad_words_ids": lambda rows: tuple(_id_sequence(row) for row in rows),
    "sequence_bias": lambda rows: tuple((_id_sequence(ids), _as_float(bias)) for ids, bias in rows),
}


def _decides_kind(values: Mapping[str, Any]) -> bool:
    return any(name in values for name in _KIND_OF_DECODING)


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


def _check_combination(options: GenerationOptions) -> None:
    values = options.given()
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


_EXCLUSIVE = (
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
    for first, second, reason in _EXCLUSIVE:
        if values.get(first) and values.get(second):
            raise OptionConflict(f"{first} does not go with {second}: {reason}", hint="drop one")
