"""Rows of a JSON document: a list, `{"data": [...]}`, or a single object.

A number keeps the characters that it was written with: what is learned is `2.50`, not what Python
prints for it.
"""

from __future__ import annotations

import json
from typing import Any

from hfgen.training.reading.rows import bad_row

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


def parse(text: str) -> object:
    """Parse one JSON value; raises `ValueError` with a short reason for anything else."""
    try:
        return json.loads(text, **_NUMBERS)
    except json.JSONDecodeError as error:
        raise ValueError(f"not valid JSON ({error.msg} at character {error.pos + 1})") from error
    except RecursionError as error:
        raise ValueError("the JSON is nested too deeply") from error


def document_rows(text: str, file: str) -> list[object]:
    """Return the rows of a JSON document. Raises `DataError` where it is no valid JSON."""
    line, reason = 1, "a JSON file begins with [ or {"
    try:
        document = json.loads(text, **_NUMBERS)
    except json.JSONDecodeError as error:
        line, reason = error.lineno, f"not valid JSON ({error.msg})"
    except RecursionError:
        reason = "the JSON is nested too deeply"
    except ValueError as error:  # a number of too many digits
        reason = f"not valid JSON ({error})"
    else:
        if isinstance(document, dict):
            rows = document.get(_ROWS_MEMBER)
            return rows if isinstance(rows, list) else [document] * bool(document)
        if isinstance(document, list):
            return document
    raise bad_row(file, line, reason, hint="check it with: python -m json.tool FILE")
