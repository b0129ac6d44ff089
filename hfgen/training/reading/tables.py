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

from hfgen.text_io import decoded, lines_of
from hfgen.training.reading.rows import BadRows, RawRow, bad_row

# The module's own limit, 128 KiB for a field, is less than a long text.
_FIELD_LIMIT = 2**31 - 1


def csv_rows(stream: BinaryIO, file: str, bad: BadRows, *, is_tabs: bool) -> Iterator[RawRow]:
    """Yield the rows below the header. Text that is no UTF-8 ends the file with `DataError`."""
    csv.field_size_limit(max(csv.field_size_limit(), _FIELD_LIMIT))
    lines = (decoded(data, file, n) for n, data in enumerate(lines_of(stream), 1))
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


# What pandas writes first, without a name: the number of the row.
_INDEX = "index"


def _delimiter(header: str) -> str:
    return ";" if ";" in header and "," not in header else ","


def _header(fields: list[str], file: str, line: int) -> list[str]:
    names = [field.strip() for field in fields]
    if len(names) > 1 and not names[0] and _INDEX not in names:
        names[0] = _INDEX
    hint = "the first line must name the columns, each by a name of its own"
    for name in names:
        if not name:
            raise bad_row(file, line, "a column has no name", hint=hint)
        if names.count(name) > 1:
            raise bad_row(file, line, f"two columns are called {name!r}", hint=hint)
    return names
