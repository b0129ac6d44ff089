"""Reading a request's fields: each once, with its type and range; null counts as absent."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Any

from hfgen.serving.openai.errors import ApiError, invalid


class Fields:
    """The fields of one request.

    What is never asked for is unknown, so that `rest` holds hfgen's own options and mistakes.
    """

    def __init__(self, data: object) -> None:
        if not isinstance(data, dict):
            raise invalid(f"the body must be a JSON object, not {_named(data)}", None)
        self._values: dict[str, Any] = {k: v for k, v in data.items() if v is not None}
        self._asked: list[str] = []
        self._nulls = [name for name, value in data.items() if value is None]

    def take(self, name: str) -> Any:
        """A field's value as it is; None where it is absent or null."""
        self._asked.append(name)
        return self._values.pop(name, None)

    def text(self, name: str) -> str | None:
        """A string."""
        value = self.take(name)
        if value is not None and not isinstance(value, str):
            raise _wrong(name, value, "a string")
        return value

    def switch(self, name: str) -> bool | None:
        """True or false."""
        value = self.take(name)
        if value is not None and not isinstance(value, bool):
            raise _wrong(name, value, "true or false")
        return value

    def integer(self, name: str, low: int, high: int) -> int | None:
        """A whole number in a range."""
        value = self.take(name)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            raise _wrong(name, value, f"a whole number from {low} to {high}")
        return value

    def number(self, name: str, low: float, high: float) -> float | None:
        """A number in a range."""
        value = self.take(name)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise _wrong(name, value, "a number")
        if not low <= value <= high:
            raise _wrong(name, value, f"a number from {low:g} to {high:g}")
        return float(value)

    def ignore(self, *names: str) -> None:
        """Take fields that change no text."""
        for name in names:
            self.take(name)

    def refuse(self, refused: Mapping[str, tuple[tuple[Any, ...], str]]) -> None:
        """Refuse fields for a reason, unless they say what would be done without them."""
        for name, (harmless, reason) in refused.items():
            value = self.take(name)
            if value is not None and value not in harmless:
                raise invalid(f"{name} is not supported: {reason}", name, code="unsupported_value")

    def rest(self, known: Mapping[str, Any]) -> dict[str, Any]:
        """The fields that nobody asked for, all of which have to be among `known`."""
        for name in [*self._values, *self._nulls]:
            if name not in known and name not in self._asked:
                raise unknown_field(name, [*self._asked, *known])
        return self._values


def unknown_field(name: str, known: list[str]) -> ApiError:
    """The error for a field that does not exist."""
    near = difflib.get_close_matches(name[:60], known, n=1)
    hint = f" (did you mean {near[0]}?)" if near else ""
    return invalid(f"unknown field {shown(name)}{hint}", name[:60], code="unknown_parameter")


def shown(value: object) -> str:
    """A value as an error shows it."""
    text = repr(value)
    return text if len(text) <= 60 else text[:59] + "…"


def _wrong(name: str, value: object, allowed: str) -> ApiError:
    return invalid(f"{name} is {shown(value)}, must be {allowed}", name, code="invalid_value")


def _named(value: object) -> str:
    names = {list: "an array", str: "a string", bool: "a boolean", type(None): "null"}
    return names.get(type(value), "a number")
