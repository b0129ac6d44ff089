"""From paths to raw rows: JSON Lines, JSON, CSV, TSV, parquet, Arrow and plain text, or gzipped.

A file's format is told by its name; by its content where the name says nothing and for `-`,
standard input. A folder stands for the data files in it and below, in the order of their names;
hidden files and files of other formats are passed over, and so are models in it, what a run has
written there, and the validation and test parts of a data set
(`hfgen.training.reading.split_names`). What `datasets.save_to_disk` wrote is such a folder.

A plain text file is one document, `{"text": …}`, as it is but for Windows line ends and a byte
order mark; `hfgen.training.data.long_rows` cuts it later into pieces that fit the model. Blank
lines do not separate documents: a story or a play has them everywhere.

JSON Lines, CSV and parquet are streamed. A row that cannot be read goes to `BadRows`; what spoils
the rest of the file (JSON syntax in a document, the encoding of a CSV, a torn archive) is a
`DataError` under either policy.
"""

from __future__ import annotations

import gzip
import io
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO, Literal, cast

from hfgen.errors import DataError, OptionConflict, UsageError
from hfgen.text_io import (
    BYTE_ORDER_MARK,
    STANDARD_INPUT,
    decoded,
    decompressed,
    is_gzip,
    lines_of,
    reading,
    unreadable,
)
from hfgen.training.data.recognition import KNOWN_COLUMNS
from hfgen.training.layout import CHECKPOINTS, holds_model, holds_run, is_of_result
from hfgen.training.reading.arrow_tables import arrow_rows, parquet_rows
from hfgen.training.reading.given_rows import GivenRows
from hfgen.training.reading.json_documents import document_rows, parse
from hfgen.training.reading.rows import BadRows, RawRow, bad_row, place_of, row_error
from hfgen.training.reading.split_names import Parts, split_by_names
from hfgen.training.reading.tables import csv_rows

Format = Literal["jsonl", "json", "csv", "tsv", "parquet", "arrow", "txt"]
FORMATS: dict[str, Format] = {
    ".jsonl": "jsonl", ".ndjson": "jsonl", ".json": "json", ".csv": "csv", ".tsv": "tsv",
    ".parquet": "parquet", ".arrow": "arrow", ".txt": "txt",
}  # fmt: skip
_SAVED_FACTS = ("dataset_info.json", "state.json", "dataset_dict.json")
"""What `datasets.save_to_disk` writes beside the data."""
_FORMATS_HINT = f"data files end with {' '.join(FORMATS)}, or with .gz behind that"
_PARQUET = b"PAR1"
_COLUMN_NAME = re.compile(r"[\w .-]{1,40}")


@dataclass(frozen=True)
class Source:
    """One file to read."""

    name: str
    """As the user typed it, for messages."""
    path: Path | None
    """None for standard input."""
    format: Format | None
    """None where only the content can tell."""
    is_gzipped: bool = False


def find_sources(paths: Sequence[str | Path]) -> list[Source]:
    """The files that `paths` stand for, in order; nothing is read.

    Raises `DataError` for what is not there and for a folder without data files, `UsageError` for
    no path or an empty one, `OptionConflict` where standard input is named twice.
    """
    if not paths:
        raise UsageError("no data file", hint="hfgen finetune data.jsonl")
    names = [str(path) for path in paths]
    if names.count("-") > 1:
        raise OptionConflict(
            "standard input (-) can be read once only", hint="write - in one place"
        )
    return [source for name in names for source in _sources_of(name)]


def read_rows(
    paths: Sequence[str | Path],
    *,
    stdin: BinaryIO | None = None,
    bad: BadRows | None = None,
    columns: Sequence[str] = (),
) -> Iterator[RawRow]:
    """Yield the rows of all files in order, each with its origin.

    `stdin` is read for `-`. `columns` are the column names that the user gave: they help to see
    that standard input is a table. Paths are checked at once, files opened one after another. A
    file without rows is a `DataError`.
    """
    sources = find_sources(paths)
    if isinstance(stdin, GivenRows):
        sources = [s if s.path else replace(s, name=stdin.label, format="jsonl") for s in sources]
    known = KNOWN_COLUMNS | {name.casefold() for name in columns}
    policy = bad or BadRows()
    return (row for source in sources for row in _rows_of(source, stdin, policy, known))


def _sources_of(name: str) -> list[Source]:
    if name == "-":
        return [Source(STANDARD_INPUT, None, None)]
    path = Path(name)
    try:
        if not name or not path.exists():
            raise DataError(
                f"cannot read {name or 'a file without a name'}: no such file or folder",
                hint="check the name",
            )
        if not path.is_dir():
            return [_source(name, path)]
    except (OSError, ValueError) as error:
        raise unreadable(name, error) from error
    return [_source(str(p), p) for p in folder_parts(name).train]


def folder_parts(name: str) -> Parts:
    """The data files of a folder by the part of a data set that they are. Raises `DataError`."""
    path = Path(name)
    try:
        found = sorted(p for p in _files_below(path) if _is_data(p, path))
    except (OSError, ValueError) as error:
        raise unreadable(name, error) from error
    if not found:
        raise DataError(f"{name}: no data files in this folder", hint=_FORMATS_HINT)
    return split_by_names(found, path)


def _files_below(folder: Path) -> Iterator[Path]:
    """All files but those of models and runs: a run must not read what it wrote itself.

    What else lies in a run's folder is read, for that was there when the run was begun.
    """
    for name, folders, files in os.walk(folder):
        place = Path(name)
        if holds_run(place) or (place == folder and holds_model(place)):
            folders[:] = [one for one in folders if one != CHECKPOINTS]
            yield from (place / one for one in files if not is_of_result(one))
        elif holds_model(place):
            folders.clear()
        else:
            is_saved = any(one.endswith(".arrow") for one in files) or "dataset_dict.json" in files
            yield from (place / one for one in files if not (is_saved and one in _SAVED_FACTS))


def _source(name: str, path: Path) -> Source:
    is_gzipped = path.suffix.lower() == ".gz"
    inner = path.with_suffix("") if is_gzipped else path
    return Source(name, path, FORMATS.get(inner.suffix.lower()), is_gzipped)


def _is_data(path: Path, folder: Path) -> bool:
    is_hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
    return not is_hidden and path.is_file() and _source("", path).format is not None


def _rows_of(
    source: Source, stdin: BinaryIO | None, bad: BadRows, known: frozenset[str]
) -> Iterator[RawRow]:
    count = 0
    skipped = bad.count
    with reading(source.name), _open(source, stdin) as stream:
        for row in _rows_in(stream, source, bad, known):
            count += 1
            yield row
    if not count and bad.count == skipped:
        raise DataError(f"{source.name} holds no rows", hint="put one example on each line")


def _open(source: Source, stdin: BinaryIO | None) -> BinaryIO:
    if source.path is None:
        if stdin is None:
            raise UsageError("standard input is not at hand", hint="name a file")
        data = stdin.read()
    elif source.is_gzipped:
        return cast(BinaryIO, gzip.open(source.path, "rb"))
    elif source.format is not None:
        return source.path.open("rb")
    else:
        data = source.path.read_bytes()
    whole = io.BytesIO(data)
    return decompressed(whole) if is_gzip(data) else whole


def _rows_in(
    stream: BinaryIO, source: Source, bad: BadRows, known: frozenset[str]
) -> Iterator[RawRow]:
    name, format_ = source.name, source.format
    if format_ in (None, "json"):
        data = stream.read()
        told = format_by_content(data, known)
        if told is None:
            raise DataError(f"{name}: neither text nor a known format", hint=_FORMATS_HINT)
        # Many a `.json` holds one object a line.
        format_ = told if format_ is None or told == "jsonl" else "json"
        stream = io.BytesIO(data)
    if format_ == "jsonl":
        return _jsonl_rows(stream, name, bad)
    if format_ == "json":
        return _json_rows(stream, name, bad)
    if format_ == "parquet":
        return parquet_rows(stream if stream.seekable() else io.BytesIO(stream.read()), name)
    if format_ == "arrow":
        return arrow_rows(stream, name)
    if format_ == "txt":
        return _documents(stream, name)
    return csv_rows(stream, name, bad, is_tabs=format_ == "tsv")


def format_by_content(data: bytes, known: frozenset[str] = KNOWN_COLUMNS) -> Format | None:
    """The format of `data`; None for what is no text and no parquet.

    A table is only told by a first line that names a column of `known`: anything may be text.
    """
    if data.startswith(_PARQUET):
        return "parquet"
    text = data.removeprefix(BYTE_ORDER_MARK).lstrip()
    if b"\0" in text[:4096]:
        return None
    first, _, rest = text.partition(b"\n")
    if re.match(rb'\{\s*["}]', text):
        try:
            row = parse(first.decode("utf-8"))
        except ValueError:
            # One object a line, the first of them damaged; or a document over several lines.
            return "jsonl" if re.match(rb"\s*\{", rest) and len(first) > 1 else "json"
        is_document = isinstance(row, dict) and isinstance(row.get("data"), list)
        return "json" if is_document and not rest.strip() else "jsonl"
    if re.match(rb"\[\s*[{\]]", text):
        return "json"
    header = first.decode("utf-8", errors="replace").rstrip("\r")
    for separator, format_ in (("\t", "tsv"), (",", "csv"), (";", "csv")):
        names = [name.strip().strip('"') for name in header.split(separator)]
        is_header = all(_COLUMN_NAME.fullmatch(name) for name in names)
        if is_header and len(names) > 1 and any(name.casefold() in known for name in names):
            return cast(Format, format_)
    return "txt"


def _jsonl_rows(stream: BinaryIO, name: str, bad: BadRows) -> Iterator[RawRow]:
    for line, data in enumerate(lines_of(stream), 1):
        if not data.strip():
            continue
        try:
            value = parse(decoded(data, name, line))
        except ValueError as error:
            bad.take(bad_row(name, line, str(error)))
        except DataError as error:
            bad.take(error)
        else:
            yield from _object(value, name, line, bad)


def _json_rows(stream: BinaryIO, name: str, bad: BadRows) -> Iterator[RawRow]:
    text = decoded(stream.read().removeprefix(BYTE_ORDER_MARK), name, 1)
    if not text.strip():
        return
    for item, value in enumerate(document_rows(text, name)):
        yield from _object(value, name, item + 1, bad, item)


def _object(
    value: object, name: str, line: int, bad: BadRows, item: int | None = None
) -> Iterator[RawRow]:
    if isinstance(value, dict):
        yield RawRow(value, name, line, item)
    else:
        reason = f"a row must be an object, as {{…}}, not {_shown(value)}"
        bad.take(row_error(place_of(name, line, item), reason))


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 40 else text[:39] + "…"


def _documents(stream: BinaryIO, name: str) -> Iterator[RawRow]:
    text = decoded(stream.read().removeprefix(BYTE_ORDER_MARK), name, 1)
    if text.strip():
        yield RawRow({"text": text.replace("\r\n", "\n")}, name, 1)
