"""JSON schemas as users give them: a document, or a list of fields, `name, age int, tags list`.

The short form: fields with commas or line breaks between them, each a name, then its type (a text
without one) and, after a colon, what it means. A `?` behind the type allows null.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from hfgen.errors import UsageError
from hfgen.mentions import mention

_TYPES: dict[str, dict[str, Any]] = {
    "str": {"type": "string"},
    "int": {"type": "integer"},
    "float": {"type": "number"},
    "bool": {"type": "boolean"},
    "date": {"type": "string", "format": "date"},
    "list": {"type": "array", "items": {"type": "string"}},
}
_SYNONYMS = {
    "string": "str", "text": "str", "integer": "int", "number": "float", "boolean": "bool",
    "array": "list",
}  # fmt: skip
_FIELD = re.compile(r"([^\s:\[\]?]+)(?:\s+(\w+)(?:\[(\w+)\])?)?\s*(\?)?\s*(?::\s*(.*))?", re.DOTALL)
SHORT_FORM = "a JSON schema, or fields as 'name, age int, tags list'"


def read_schema(value: object) -> dict[str, Any]:
    """The schema that a document (an object or its text) or a list of fields stands for.

    Raises `UsageError`; whether the schema is a possible one is not looked at.
    """
    if isinstance(value, Mapping):
        return dict(value)
    if not isinstance(value, str) or not value.strip():
        raise TypeError
    if not value.lstrip().startswith(("{", "[")):
        return _from_fields(value)
    try:
        document = json.loads(value)
    except (ValueError, RecursionError) as error:
        raise _wrong(f"this is no JSON: {error}") from None
    if not isinstance(document, dict):
        raise _wrong("a schema is a JSON object")
    return document


def object_of(properties: Mapping[str, Any]) -> dict[str, Any]:
    """The schema of an object that has exactly these properties, in this order."""
    return {
        "type": "object",
        "properties": dict(properties),
        "required": list(properties),
        "additionalProperties": False,
    }


def path_of(schema: object, key: str, path: str = "") -> str | None:
    """Where a key first stands in a schema, as `properties.name.not`."""
    pairs: Any = schema.items() if isinstance(schema, dict) else ()
    if isinstance(schema, list):
        pairs = enumerate(schema)
    for name, inner in pairs:
        here = f"{path}.{name}" if path else str(name)
        if name == key:
            return here
        if (found := path_of(inner, key, here)) is not None:
            return found
    return None


def _from_fields(text: str) -> dict[str, Any]:
    properties: dict[str, Any] = {}
    # A comma inside a description ends it; line breaks take the place of commas then.
    for part in text.split("\n") if "\n" in text.strip() else text.split(","):
        if not part.strip():
            continue
        found = _FIELD.fullmatch(part.strip())
        if found is None:
            raise _wrong(f"{part.strip()!r} is no field")
        name, kind, items, optional, meaning = found.groups()
        schema = dict(_type(kind or "str"))
        if items is not None:
            schema = {"type": "array", "items": _type(items)}
        if optional:
            schema = {"anyOf": [schema, {"type": "null"}]}
        if meaning:
            schema["description"] = meaning.strip()
        if name in properties:
            raise _wrong(f"the field {name} is there twice")
        properties[name] = schema
    return object_of(properties)


def _type(word: str) -> dict[str, Any]:
    known = _SYNONYMS.get(word.lower(), word.lower())
    if known not in _TYPES:
        raise _wrong(f"{word!r} is no type of a field ({', '.join(_TYPES)})")
    return _TYPES[known]


def _wrong(what: str) -> UsageError:
    return UsageError(f"{mention('json_schema')}: {what}", hint=f"write {SHORT_FORM}")
