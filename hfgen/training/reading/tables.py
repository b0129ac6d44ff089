"""Rows of CSV and TSV files.

CSV is read by the standard library, strictly: a quote that is never closed is an error, not the
rest of the file. A CSV whose header has semicolons and no comma is separated by semicolons, as
spreadsheets write it in much of Europe.
"""

from __future__ import annotations

import csv
import itertools
from collections.abc import Iterator
from typing import BinaryIO

from hfgen.training.reading.rows import BadRows, RawRow, bad_row

BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_UTF_16_MARKS = (b"\xff\xfe", b"\xfe\xff")
_UNUSED_IN_CP1252 = frozenset(b"\x81\x8d\x8f\x90\x9d")
# The module's own limit, 128 KiB for a field, is less than a long text.
_FIELD_LIMIT = 2**31 - 1


def csv_rows(stream: BinaryIO, file: str, bad: BadRows, *, is_tabs: bool) -> Iterator[RawRow]:
    """Yield the rows below the header. Text that is no UTF-8 ends the file with `DataError`."""
    csv.field_size_limit(max(csv.field_size_limit(), _FIELD_LIMIT))
    lines = _text_lines(stream, file)
    first = next(lines, "")
    delimiter = "\t" if is_tabs else _delimiter(first)
    reader = csv.reader(itertools.chain([first], lines), delimiter=delimiter, strict=True)
    header: list[str] = []
    while True:
        line = reader.line_num + 1
        try:
            fields = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            failure = bad_row(file, line, f"not valid CSV ({error})")
            if not header:
                raise failure from error
            bad.take(failure)
            continue
        if not fields:
            continue
        if not header:
            header = _header(fields, file, line)
        elif len(fields) != len(header):
            bad.take(bad_row(file, line, f"{len(fields)} fields, the header has {len(header)}"))
        else:
            yield RawRow(dict(zip(header, fields, strict=True)), file, line, is_table=True)


def _delimiter(header: str) -> str:
    return ";" if ";" in header and "," not in header else ","


def _header(fields: list[str], file: str, line: int) -> list[str]:
    names = [field.strip() for field in fields]
    hint = "the first line must name the columns, each by a name of its own"
    for name in names:
        if not name:
            raise bad_row(file, line, "a column has no name", hint=hint)
        if names.count(name) > 1:
            raise bad_row(file, line, f"two columns are called {name!r}", hint=hint)
    return names


def _text_lines(stream: BinaryIO, file: str) -> Iterator[str]:
    for number, data in enumerate(stream, 1):
        yield decoded(data.removeprefix(BYTE_ORDER_MARK) if number == 1 else data, file, number)


def decoded(data: bytes, file: str, line: int) -> str:
    """Decode UTF-8; `line` is the line that `data` begins on. Raises `DataError`."""
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        line += data.count(b"\n", 0, error.start)
        reason = f"not valid UTF-8 (byte 0x{data[error.start]:02x})"
        raise bad_row(file, line, reason, hint=encoding_hint(data)) from error


def encoding_hint(data: bytes) -> str:
    """How to convert a file that holds these bytes, which are no UTF-8.

    Latin-1 is not among the answers: where the two differ, Windows-1252 has €, – and curly quotes
    and Latin-1 control characters, which no text holds.
    """
    if not data.startswith(_UTF_16_MARKS) and _UNUSED_IN_CP1252.intersection(data):
        return "save it as UTF-8 in the program that wrote it (it is not Windows-1252 either)"
    encoding = "utf-16" if data.startswith(_UTF_16_MARKS) else "cp1252"
    return f"convert it, for example with iconv -f {encoding} -t utf-8"
