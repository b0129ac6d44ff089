"""Rows of a JSON document with the line of each: a list, `{"data": [...]}`, or a single object.

The standard parser gives values without their place; here it is called once for each element, and
the few characters between elements are read by hand.
"""

from __future__ import annotations

import json
from collections.abc import Iterator

from hfgen.errors import DataError
from hfgen.training.rows import bad_row

_WHITESPACE = " \t\n\r"
_HINT = "check it with: python -m json.tool FILE"
# The member of a document that holds its rows.
_ROWS_MEMBER = "data"


def parse(text: str) -> object:
    """Parse one JSON value; raises `ValueError` with a short reason for anything else."""
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise ValueError(f"not valid JSON ({error.msg} at character {error.pos + 1})") from error
    except RecursionError as error:
        raise ValueError("the JSON is nested too deeply") from error


def elements(text: str, file: str) -> Iterator[tuple[int, object]]:
    """Yield (line, value) of the document's rows. Raises `DataError` where it is no valid JSON."""
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


def _members(scanner: _Scanner) -> Iterator[tuple[int, object]]:
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
        yield line, values


class _Scanner:
    """A place in a JSON text, and its line."""

    def __init__(self, text: str, file: str) -> None:
        self._text = text
        self._file = file
        self._at = 0
        self._line = 1
        self._counted = 0
        self._decoder = json.JSONDecoder()

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

    def items(self) -> Iterator[tuple[int, object]]:
        self.expect("[")
        is_first = True
        while self.next_character() != "]":
            if not is_first:
                self.expect(",")
                self.next_character()
            is_first = False
            line = self.line()
            yield line, self.value()
        self.expect("]")
