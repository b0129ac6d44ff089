"""From options to a grammar that llguidance takes, checked without a model.

Refused here, before anything is loaded: what llguidance cannot enforce (`not`, `uniqueItems`,
look-around, remote `$ref`), what contradicts itself, and what no finite text satisfies. Between
the tokens of JSON at most one blank is allowed, behind a comma or a colon: with free white space
small models write blanks until their budget is gone, and without any they end lists early.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from hfgen.errors import UsageError
from hfgen.generation.constraints.closing import Closer, byte_matcher
from hfgen.generation.constraints.schemas import path_of
from hfgen.mentions import mention

OPTIONS = ("json_schema", "regex", "choices", "grammar")
"""The options that constrain a text; one of them at most is given."""

SEPARATORS: Any = {
    "item_separator": ", ?",
    "key_separator": ": ?",
    "whitespace_flexible": False,
    # Without \u: half a surrogate pair would be no text.
    "json_allowed_escapes": '"\\bfnrt',
}
"""How llguidance writes JSON."""


@dataclass(frozen=True)
class Grammar:
    """A grammar that some text satisfies."""

    option: str
    """Which option it comes from."""
    source: str
    """As the user wrote it."""
    compiled: str = field(repr=False)
    """As llguidance reads it."""
    shortest: bytes = field(repr=False)
    """A short text that satisfies it."""


def grammar_of(values: Mapping[str, Any]) -> Grammar | None:
    """The grammar that options ask for, by name; raises `UsageError` for an impossible one."""
    for option in OPTIONS:
        if (value := values.get(option)) is not None:
            return _grammar(option, value)
    return None


@lru_cache(maxsize=256)
def _grammar(option: str, value: Any) -> Grammar:
    from llguidance import LLMatcher

    source = value if isinstance(value, str) else json.dumps(value)
    compiled = _compiled(option, value)
    is_wrong, messages = LLMatcher.validate_grammar_with_warnings(compiled)
    if is_wrong:
        raise _refusal(option, source, messages[0])
    matcher = byte_matcher(compiled)
    shortest = None if matcher.is_error() else Closer(source).short(matcher)
    if shortest is None:
        reason = matcher.get_error() or "no finite text satisfies it, as far as was searched"
        raise _refusal(option, source, reason)
    return Grammar(option, source, compiled, shortest)


def _compiled(option: str, value: Any) -> str:
    from llguidance import LLMatcher

    if option == "json_schema":
        try:
            return LLMatcher.grammar_from_json_schema(value, SEPARATORS)
        except ValueError as error:
            raise _refusal(option, value, str(error)) from None
    if option == "regex":
        return LLMatcher.grammar_from_regex(value)
    if option == "choices":
        words = " | ".join(json.dumps(word, ensure_ascii=False) for word in value)
        return LLMatcher.grammar_from_lark(f"start: {words}")
    return LLMatcher.grammar_from_lark(value)


def _refusal(option: str, source: str, message: str) -> UsageError:
    lines = [line.strip() for line in message.splitlines() if line.strip(" ^|")]
    errors = [line.removeprefix("error: ") for line in lines if line.startswith("error: ")]
    reason = (errors or lines or ["it cannot be read"])[0]
    if option == "json_schema" and reason.startswith("Unimplemented keys: "):
        keys = json.loads(reason.removeprefix("Unimplemented keys: "))
        schema = json.loads(source)
        places = ", ".join(path_of(schema, key) or key for key in keys)
        reason = f"{places} cannot be enforced"
    hint = {
        "json_schema": "take the key out of the schema, or check its values afterwards",
        "regex": "write it as Rust's regex crate has it: no look-around, no back references",
        "choices": "name each text once, as 'red,green'",
        "grammar": 'it is a Lark grammar with a rule named start, as: start: "yes" | "no"',
    }[option]
    return UsageError(f"{mention(option)}: {reason}", hint=hint)
