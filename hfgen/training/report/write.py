"""A run's report as JSON: written so that people can read it, read back with its types checked.

Any tree of dataclasses of plain values. A number that is not finite has no JSON: it is null, and
a note says where. Knows nothing of what the values mean, but that an evaluation has a perplexity.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import math
import re
import types
import typing
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from hfgen.training.events import Evaluation

T = typing.TypeVar("T")

_PLACES_NAMED = 5
_SURROGATE = re.compile("[\ud800-\udfff]")


class WrongValue(Exception):
    """A value of another type than it should be; says where."""


def plain(report: Any) -> tuple[dict[str, Any], str | None]:
    """A dataclass as JSON can hold it, and a note on what it could not."""
    not_finite: list[str] = []
    values = _plain(report, "", not_finite)
    if not not_finite:
        return values, None
    named = ", ".join(not_finite[:_PLACES_NAMED]) + ", …" * (len(not_finite) > _PLACES_NAMED)
    return values, f"null for a number that was not finite, {len(not_finite)}×: {named}"


def text(values: Mapping[str, Any], *, line_by_line: Iterable[str]) -> str:
    """An object as JSON; the items of the lists of these names have a line each."""
    rows = json.JSONEncoder(ensure_ascii=False)
    parts = []
    for name, value in values.items():
        if name in line_by_line and value:
            shown = "[\n    " + ",\n    ".join(map(rows.encode, value)) + "\n  ]"
        else:
            shown = json.dumps(value, ensure_ascii=False, indent=2).replace("\n", "\n  ")
        parts.append(f"  {json.dumps(name)}: {shown}")
    written = "{\n" + ",\n".join(parts) + "\n}\n"
    # Names of files may hold bytes that are no text, and those have no UTF-8.
    return _SURROGATE.sub(lambda found: f"\\u{ord(found[0]):04x}", written)


def record(kind: type[T], value: Any) -> T:
    """The dataclass of a JSON object; names that it does not have are passed over.

    Raises `WrongValue` with the place of what is missing or of another type.
    """
    return typing.cast(T, _record(kind, value))


def _plain(value: Any, place: str, not_finite: list[str]) -> Any:
    """A value as JSON can hold it; where it cannot, None, and the place is noted."""
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, float):
        if math.isfinite(value):
            return value
        not_finite.append(place.removeprefix("."))
        return None
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        names = _fields(type(value))[0]
        found = {n: _plain(getattr(value, n), f"{place}.{n}", not_finite) for n in names}
        if isinstance(value, Evaluation):
            found["perplexity"] = None if found["loss"] is None else value.perplexity
        return found
    if isinstance(value, Mapping):
        return {str(k): _plain(v, f"{place}.{k}", not_finite) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(v, f"{place}[{i}]", not_finite) for i, v in enumerate(value)]
    return str(value)


@functools.cache
def _fields(kind: Any) -> tuple[dict[str, Any], list[str]]:
    """The types of a dataclass's fields, and the names of those without a default."""
    hints = typing.get_type_hints(kind)
    fields = dataclasses.fields(kind)
    missing = dataclasses.MISSING
    needed = [f.name for f in fields if f.default is missing and f.default_factory is missing]
    return {f.name: hints[f.name] for f in fields}, needed


@functools.cache
def _reader(kind: Any) -> Callable[[Any], Any]:
    """What makes a value of the annotated type of its JSON, or raises `WrongValue`."""
    origin, inner = typing.get_origin(kind), typing.get_args(kind)
    if origin in (types.UnionType, typing.Union):
        read = _reader(next(one for one in inner if one is not types.NoneType))
        return lambda value: None if value is None else read(value)
    if dataclasses.is_dataclass(kind):
        return lambda value: _record(kind, value)
    if origin is tuple:
        item = _reader(inner[0])
        return lambda value: _sequence(item, value)
    if origin is dict and inner[1] is not Any:
        item = _reader(inner[1])
        return lambda value: _mapping(item, value)
    if origin is typing.Literal:
        return lambda value: value if value in inner else _refuse()
    expected: Any = (int, float) if kind is float else origin or kind
    is_bool = kind is bool
    return lambda value: (
        value if isinstance(value, expected) and isinstance(value, bool) == is_bool else _refuse()
    )


def _record(kind: Any, value: Any) -> Any:
    if not isinstance(value, dict):
        raise WrongValue("")
    hints, needed = _fields(kind)
    found = {}
    for name, hint in hints.items():
        try:
            if name in value:
                found[name] = _reader(hint)(value[name])
            elif name in needed:
                raise WrongValue("")
        except WrongValue as error:
            raise WrongValue(f".{name}{error}") from None
    return kind(**found)


def _sequence(item: Callable[[Any], Any], value: Any) -> tuple[Any, ...]:
    if not isinstance(value, list):
        raise WrongValue("")
    found: list[Any] = []
    try:
        found.extend(map(item, value))
    except WrongValue as error:
        raise WrongValue(f"[{len(found)}]{error}") from None
    return tuple(found)


def _mapping(item: Callable[[Any], Any], value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise WrongValue("")
    found = {}
    for name, one in value.items():
        try:
            found[name] = item(one)
        except WrongValue as error:
            raise WrongValue(f".{name}{error}") from None
    return found


def _refuse() -> Any:
    raise WrongValue("")
