"""Grammars of JSON whose texts are quoted from a given text.

Every string is a run of whole words of the text (llguidance's `substring_chunks`). That is done for
objects with all their properties, lists, null alternatives and whatever holds no free text; of any
other schema `ungrounded` names the strings of an answer that are not in the text.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from hfgen.generation.constraints.grammars import SEPARATORS

_WORDS = re.compile(r"\s+|\w+|[^\w\s]")
_ALLOWED = {
    "string": {"type", "description", "title"},
    "array": {"type", "items", "description", "title"},
    "object": {
        "type", "properties", "required", "additionalProperties", "description", "title",
    },
}  # fmt: skip
_TEXTLESS = ("integer", "number", "boolean", "null")


def grounded_grammar(schema: dict[str, Any], text: str) -> str | None:
    """A Lark grammar of the schema, its strings quoted from `text`; None where there is none."""
    rules: list[str] = []
    try:
        start = _rule(schema, rules)
    except LookupError:
        return None
    words = [json.dumps(word, ensure_ascii=False)[1:-1] for word in _WORDS.findall(text)]
    span = json.dumps({"substring_chunks": words}, ensure_ascii=False)
    ends = [r'quoted: "\"" SPAN "\""', "KEY: /: ?/", "ITEM: /, ?/", f"SPAN: %regex {span}"]
    return "\n".join([f"start: {start}", *rules, *ends]) + "\n"


def ungrounded(value: Any, text: str) -> Iterator[str]:
    """The strings in an answer that do not stand in the text."""
    if isinstance(value, str):
        if value not in text:
            yield value
    elif isinstance(value, list | dict):
        for inner in value.values() if isinstance(value, dict) else value:
            yield from ungrounded(inner, text)


def _rule(schema: dict[str, Any], rules: list[str]) -> str:
    """What stands for the schema in a rule; raises `LookupError` for what is not supported."""
    kind = schema.get("type")
    if "enum" in schema or "const" in schema or kind in _TEXTLESS:
        leaf = json.dumps({**schema, "x-guidance": SEPARATORS}, ensure_ascii=False)
        return _named(f"%json {leaf}", rules)
    if set(schema) <= {"anyOf", "description", "title"} and "anyOf" in schema:
        return _named(" | ".join(_rule(inner, rules) for inner in schema["anyOf"]), rules)
    if kind not in _ALLOWED or not set(schema) <= _ALLOWED[kind]:
        raise LookupError(kind)
    if kind == "string":
        return "quoted"
    if kind == "array":
        item = _rule(schema["items"], rules)
        return _named(f'"[" [ {item} (ITEM {item})* ] "]"', rules)
    properties = schema["properties"]
    if schema.get("additionalProperties") is not False or not properties:
        raise LookupError(kind)
    if set(schema.get("required", ())) != set(properties):
        raise LookupError(kind)
    pairs = [
        f"{json.dumps(json.dumps(name, ensure_ascii=False), ensure_ascii=False)} KEY "
        + _rule(inner, rules)
        for name, inner in properties.items()
    ]
    return _named('"{" ' + " ITEM ".join(pairs) + ' "}"', rules)


def _named(body: str, rules: list[str]) -> str:
    name = f"node{len(rules)}"
    rules.append(f"{name}: {body}")
    return name
