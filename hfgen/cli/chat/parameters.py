"""Parameters of answers as `/set` changes them."""

from __future__ import annotations

import json
import re

from hfgen.errors import UsageError
from hfgen.generation.options.options import (
    FLAG_NAMES,
    SPECS,
    GenerationOptions,
    parse_text,
    unknown_option,
)

_NOT_HERE = {
    "num_return_sequences": "/retry gives another answer",
    "logprobs": "/logprobs on colours tokens, /why looks into an answer",
}
# What other programs call a parameter.
_ALSO = {
    "temp": "temperature",
    "num_predict": "max_new_tokens",
    "max_tokens": "max_new_tokens",
    "repeat_penalty": "repetition_penalty",
}


def assign(options: GenerationOptions, text: str) -> tuple[GenerationOptions, str]:
    """Return the options with `NAME VALUE` set, and the field that it is.

    `default` resets it. Raises `UsageError` for what is no parameter or no value of it, and for
    what contradicts the others. Log-probabilities are left out: the screen asks for its own.
    """
    found = re.fullmatch(r"([\w-]+)(?:\s*=\s*|\s+)(.+)", text, re.DOTALL)
    if found is None:
        raise UsageError(f"/set {text}: not NAME VALUE", hint="as in /set temperature 0.2")
    name, value = found[1].replace("-", "_"), found[2].strip()
    name = _ALSO.get(name, name)
    field, _ = FLAG_NAMES.get(name, (name, False))
    if field in _NOT_HERE:
        raise UsageError(f"{name} cannot be set in a dialogue", hint=_NOT_HERE[field])
    if field not in SPECS:
        raise unknown_option(name)
    given = {n: v for n, v in options.given().items() if n not in (field, "logprobs")}
    if value != "default":
        given |= GenerationOptions.from_mapping({name: _read(field, value)}).given()
    return GenerationOptions(**given), field


def _read(field: str, text: str) -> object:
    """A value as it was typed."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        value = SPECS[field].typed(text)
    if isinstance(value, str) and SPECS[field].kind in ("strs", "ints", "biases", "pair"):
        return parse_text(field, [value])
    return value
