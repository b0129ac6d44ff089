"""What is known of one generation option, and how its values are read and checked.

Values come as text (flags), as JSON (`-O`, rows) or as Python objects. No torch, no Transformers.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from hfgen.errors import InvalidOption
from hfgen.generation.constraints.schemas import SHORT_FORM, read_schema
from hfgen.generation.options.typed_text import ESCAPES as ESCAPES
from hfgen.generation.options.typed_text import content_of, separated
from hfgen.generation.options.typed_text import unescaped as unescaped

# Enough for any model, and small enough for every tensor library.
MAX_COUNT = 10**9
# Seeds stay exact in JSON readers that hold numbers as doubles (jq, JavaScript).
MAX_SEED = 2**53 - 1


@dataclass(frozen=True)
class Spec:
    """What is known of one option: its range, default and help."""

    kind: Literal[
        "int", "float", "bool", "choice", "str", "strs", "ints", "biases", "pair", "json", "schema"
    ]
    help: str
    panel: str = "Advanced"
    """Where help pages list it."""
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
    spellings: Mapping[str, str] = field(default_factory=dict)
    """Other words for some of `choices`, each with the one it stands for."""
    words: tuple[str, ...] = ()
    """Words that are allowed besides numbers."""
    has_flag: bool = True
    """Whether the option has a flag of its own; the others are reached by `-O name=value`."""
    metavar: str | None = None
    has_escapes: bool = False
    """Whether it is text that `unescaped` reads where it was typed: as a flag, in a variable."""

    has_commas: bool = False
    """Whether commas separate its texts where it was typed."""
    names_file: bool = False
    """Whether what was typed may be the name of a file that holds the value."""

    def typed(self, value: Any) -> Any:
        """The value, or list of values, that was typed."""
        if self.has_commas:
            return separated(value)
        if self.names_file and isinstance(value, str):
            return content_of(value)
        if not self.has_escapes:
            return value
        if isinstance(value, list):
            return [self.typed(item) for item in value]
        return unescaped(value) if isinstance(value, str) else value

    @property
    def allowed(self) -> str:
        """The range in words, for errors and help."""
        if self.kind == "choice":
            return " or ".join(self.choices)
        words = {
            "int": "a whole number",
            "float": "a number",
            "bool": "true or false",
            "str": "a text",
            "strs": "a text or a list of non-empty texts",
            "ints": "a list of token ids",
            "biases": "TEXT=NUMBER, the number from -1,000,000 to 1,000,000",
            "pair": "START,FACTOR (a whole number from 0, a number above 0 to 100)",
            "json": "a list",
            "schema": SHORT_FORM,
        }[self.kind]
        zero = "".join(f"{word} or " for word in self.words) + "0 or " * self.or_zero
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


_JSON_SHAPES = {
    "bad_words_ids": "a list of token id lists, as [[1, 2], [3]]",
    "sequence_bias": "a list of [token ids, number], as [[[1, 2], 0.5]]",
    "watermarking_config": "an object with bias, greenlist_ratio (above 0, below 1), hashing_key, "
    'seeding_scheme ("lefthash" or "selfhash") and context_width (from 1)',
}


def checked(name: str, spec: Spec, value: Any) -> Any:
    """Return `value` in the field's own type, or raise `InvalidOption`."""
    if isinstance(value, str) and value in spec.words:
        return value
    try:
        result = _CONVERTERS[spec.kind](value)
    except (TypeError, ValueError, OverflowError, RecursionError):
        allowed = _JSON_SHAPES.get(name, spec.allowed)
        raise InvalidOption(name, value, allowed) from None
    numbers = result if spec.kind == "ints" else (result,) if spec.kind in ("int", "float") else ()
    if not all(map(spec.contains, numbers)):
        raise InvalidOption(name, value, spec.allowed)
    if spec.kind == "choice":
        result = spec.spellings.get(result, result)
        if result not in spec.choices:
            raise InvalidOption(name, value, spec.allowed)
    if name == "early_stopping":
        return {"true": True, "false": False}.get(result, result)
    if name in _JSON_SHAPES:
        try:
            return _JSON_CONVERTERS[name](result)
        except (KeyError, TypeError, ValueError):
            raise InvalidOption(name, value, _JSON_SHAPES[name]) from None
    return result


def split_assignment(text: str, *, example: str, specs: Mapping[str, Spec]) -> tuple[str, Any]:
    """Read one `name=value` of `-O/--set`; the value is JSON where it can be, else a typed string.

    Raises `InvalidOption` for what is none.
    """
    name, separator, raw = text.partition("=")
    name = name.strip().replace("-", "_")
    if not separator or not name:
        raise InvalidOption("-O", text, f"NAME=VALUE, as -O {example}")
    try:
        return name, json.loads(raw)
    except (ValueError, RecursionError):
        return name, specs[name].typed(raw) if name in specs else raw


# Far beyond any score, and far from overflow.
_HIGHEST_BIAS = 1e6


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


def _as_str(value: Any) -> str:
    if not isinstance(value, str) or not value:
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


def _bias(value: Any) -> float:
    bias = _as_float(value)
    if abs(bias) > _HIGHEST_BIAS:
        raise ValueError
    return bias


def _as_biases(value: Any) -> tuple[tuple[str, float], ...]:
    if isinstance(value, Mapping):
        value = list(value.items())
    biases = []
    for item in (value,) if isinstance(value, str) else value:
        # The text itself may hold "=", the number cannot.
        text, number = item.rsplit("=", 1) if isinstance(item, str) else item
        if not isinstance(text, str) or not text:
            raise TypeError
        biases.append((text, _bias(number)))
    if not biases:
        raise ValueError
    return tuple(biases)


def _as_pair(value: Any) -> tuple[int, float]:
    start, factor = value.split(",") if isinstance(value, str) else value
    pair = _as_int(start), _as_float(factor)
    if not 0 <= pair[0] <= MAX_COUNT or not 0 < pair[1] <= 100:
        raise ValueError
    return pair


def _as_schema(value: Any) -> str:
    return json.dumps(read_schema(value), ensure_ascii=False)


def _as_json(value: Any) -> Any:
    return json.loads(value) if isinstance(value, str) else value


_CONVERTERS: dict[str, Any] = {
    "int": _as_int,
    "float": _as_float,
    "bool": _as_bool,
    "choice": _as_choice,
    "str": _as_str,
    "strs": _as_strs,
    "ints": _as_ints,
    "biases": _as_biases,
    "pair": _as_pair,
    "json": _as_json,
    "schema": _as_schema,
}


def _id_sequence(value: Any) -> tuple[int, ...]:
    ids = _as_ints(value)
    if min(ids) < 0:
        raise ValueError
    return ids


_WATERMARK_FIELDS: dict[str, Any] = {
    "bias": _as_float,
    "context_width": _as_int,
    "greenlist_ratio": _as_float,
    "hashing_key": _as_int,
    "seeding_scheme": _as_str,
}


def _watermark_settings(value: Any) -> tuple[tuple[str, Any], ...]:
    found = {name: _WATERMARK_FIELDS[name](item) for name, item in dict(value).items()}
    if not 0 < found.get("greenlist_ratio", 0.5) < 1 or found.get("context_width", 1) < 1:
        raise ValueError
    if found.get("seeding_scheme", "lefthash") not in ("lefthash", "selfhash"):
        raise ValueError
    return tuple(sorted(found.items()))


_JSON_CONVERTERS: dict[str, Any] = {
    "watermarking_config": _watermark_settings,
    "bad_words_ids": lambda rows: tuple(_id_sequence(row) for row in rows),
    "sequence_bias": lambda rows: tuple((_id_sequence(ids), _bias(bias)) for ids, bias in rows),
}
