"""Rows of a JSON document with the place of each: a list, `{"data": [...]}`, or a single object.

The standard parser gives values without their place; here it is called once for each element, and
the few characters between elements are read by hand. A number keeps the characters that it was
written with: what is learned is `2.50`, not what Python prints for it.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from typing import Any, NamedTuple

from hfgen.errors import DataError
from hfgen.training.reading.rows import bad_row

_WHITESPACE = " \t\n\r"
_HINT = "check it with: python -m json.tool FILE"
# The member of a document that holds its rows.
_ROWS_MEMBER = "data"


class WrittenNumber(float):
    """A number with a point or an exponent, or one of JSON's `NaN` and `Infinity`."""

    __slots__ = ("written",)

    def __new__(cls, written: str) -> WrittenNumber:
        number = super().__new__(cls, written)
        number.written = written
        return number

    written: str

    def __repr__(self) -> str:
        return self.written


_NUMBERS: dict[str, Any] = {"parse_float": WrittenNumber, "parse_constant": WrittenNumber}


class Element(NamedTuple):
    """A row of a document."""

    line: int
    """The line that it begins on, from 1."""
    item: int | None
    """Its index in the list, where something else of the list stands before it on that line."""
    value: object


def parse(text: str) -> object:
    """Parse one JSON value; raises `ValueError` with a short reason for anything else."""
    try:
        return json.loads(text, **_NUMBERS)
    except json.JSONDecodeError as error:
        raise ValueError(f"not valid JSON ({error.msg} at character {error.pos + 1})") from error
    except RecursionError as error:
        raise ValueError("the JSON is nested too deeply") from error


def elements(text: str, file: str) -> Iterator[Element]:
    """Yield the document's rows. Raises `DataError` where it is no valid JSON."""
    scanner = _Scanner(text, file)
    first = scanner.next_character()
    if first == "[":
        yield from scanner.items()
    elif first == "{":
        yield from _members(scanner)
    else:
        raise scanner.error("a JSON file begins with [ or {")
    if scanner.next_character():
        raise scanner.error("text after the end of the JSON document")


def _members(scanner: _Scanner) -> Iterator[Element]:
    line = scanner.line()
    values: dict[str, object] = {}
    has_rows = False
    scanner.expect("{")
    while scanner.next_character() != "}":
        if values or has_rows:
            scanner.expect(",")
            scanner.next_character()
        key = scanner.value()
        if not isinstance(key, str):
            raise scanner.error("a member's name must be a string")
        scanner.expect(":")
        if key == _ROWS_MEMBER and scanner.next_character() == "[":
            yield from scanner.items()
            has_rows = True
        else:
            values[key] = scanner.value()
    scanner.expect("}")
    if not has_rows and values:
        yield Element(line, None, values)


class _Scanner:
    """A place in a JSON text, and its line."""

    def __init__(self, text: str, file: str) -> None:
        self._text = text
        self._file = file
        self._at = 0
        self._line = 1
        self._counted = 0
        self._decoder = json.JSONDecoder(**_NUMBERS)

    def line(self) -> int:
        self._line += self._text.count("\n", self._counted, self._at)
        self._counted = self._at
        return self._line

    def error(self, reason: str, at_line: int | None = None) -> DataError:
        return bad_row(self._file, at_line or self.line(), reason, hint=_HINT)

    def next_character(self) -> str:
        """The next character that is no white space; "" at the end. Stays in front of it."""
        while self._at < len(self._text) and self._text[self._at] in _WHITESPACE:
            self._at += 1
        return self._text[self._at : self._at + 1]

    def expect(self, character: str) -> None:
        found = self.next_character()
        if found != character:
            reason = f"not valid JSON: {character} expected, not {found or 'the end of the file'}"
            raise self.error(reason)
        self._at += 1

    def value(self) -> object:
        self.next_character()
        try:
            value, self._at = self._decoder.raw_decode(self._text, self._at)
        except json.JSONDecodeError as error:
            raise self.error(f"not valid JSON ({error.msg})", error.lineno) from error
        except RecursionError as error:
            raise self.error("the JSON is nested too deeply") from error
        except ValueError as error:
            raise self.error(f"not valid JSON ({error})") from error
        return value

    def items(self) -> Iterator[Element]:
        line_before = self.line()
        self.expect("[")
        for number in itertools.count():
            if self.next_character() == "]":
                break
            if number:
                self.expect(",")
                self.next_character()
            line = self.line()
            shared = number if line == line_before else None
            yield Element(line, shared, self.value())
            line_before = self.line()
        self.expect("]")
