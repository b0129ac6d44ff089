"""Streaming rows from files and standard input.

JSON Lines, or a prompt on each line; CSV, TSV and parquet are read as for fine-tuning, and a
`.json` file may be one list of rows. Errors of the input come as values, so that the rows before
them can be finished first.
"""

from __future__ import annotations

import gzip
import io
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Literal, cast

from hfgen.batch.input.names import means_something
from hfgen.batch.input.rows import BatchRow, read_row
from hfgen.errors import DataError, OptionConflict
from hfgen.text_io import BYTE_ORDER_MARK, STANDARD_INPUT, lines_of, reading
from hfgen.training.reading.arrow_tables import parquet_rows
from hfgen.training.reading.rows import BadRows
from hfgen.training.reading.tables import csv_rows

OnBadRow = Literal["error", "skip"]
Format = Literal["text", "jsonl", "json", "csv", "tsv", "parquet"]
_FORMATS: dict[str, Format] = {
    ".txt": "text", ".json": "json", ".csv": "csv", ".tsv": "tsv", ".parquet": "parquet",
}  # fmt: skip
_FORMATS_HINT = (
    "rows are JSON Lines, or .json .csv .tsv .parquet by the file's name; --lines takes each line "
    "as a prompt, as .txt does"
)
Value = tuple[str, object]
"""`file:line`, and what stands there: a row's value, or the error that it is none."""


@dataclass(frozen=True)
class Source:
    """One file to read."""

    path: Path | None
    """None for standard input."""
    format: Format = "jsonl"

    @property
    def name(self) -> str:
        """As the user typed it."""
        return STANDARD_INPUT if self.path is None else str(self.path)

    @property
    def has_lines(self) -> bool:
        """Whether each line that is not empty is a row."""
        return self.format in ("text", "jsonl")


def find_sources(names: Sequence[str], *, has_text_lines: bool) -> list[Source]:
    """The files to read, standard input where none is named; raises what keeps one from it."""
    names = names or ["-"]
    if list(names).count("-") > 1:
        raise OptionConflict("standard input (-) can be read once only", hint="write - once")
    sources = []
    for name in names:
        path = None if name == "-" else Path(name)
        if path is not None and (not name or not path.exists() or path.is_dir()):
            reason = "it is a folder" if name and path.is_dir() else "no such file"
            raise DataError(f"cannot read {name or '(no name)'}: {reason}", hint="check the name")
        ending = Path(name.lower().removesuffix(".gz")).suffix
        sources.append(Source(path, "text" if has_text_lines else _FORMATS.get(ending, "jsonl")))
    return sources


class Rows:
    """The rows of all sources, in order; a `DataError` among them ends the iteration."""

    def __init__(
        self, sources: Sequence[Source], stdin: BinaryIO | None, on_bad_row: OnBadRow = "error"
    ) -> None:
        self._sources = sources
        self._stdin = stdin
        self._policy = on_bad_row
        self._index = 0
        self.malformed = 0
        """Rows that were skipped because they could not be read."""

    def __iter__(self) -> Iterator[BatchRow | DataError]:
        for source in self._sources:
            try:
                with reading(source.name), _open(source, self._stdin) as stream:
                    for found in self._rows_of(stream, source):
                        if isinstance(found, BatchRow) or self._policy == "error":
                            yield found
                        else:
                            self.malformed += 1
                        if isinstance(found, DataError) and self._policy == "error":
                            return
            except DataError as error:  # of the rest of the file
                yield error
                return

    def _rows_of(self, stream: BinaryIO, source: Source) -> Iterator[BatchRow | DataError]:
        for place, value in _READERS[source.format](stream, source.name):
            index = self._index
            self._index += 1
            if isinstance(value, DataError):
                yield value
                continue
            try:
                yield read_row(value, index, place)
            except ValueError as error:
                yield _malformed(place, error)


def count_rows(sources: Sequence[Source]) -> int | None:
    """Lines that are not empty, where all sources are plain files of lines; a pass over them."""
    count = 0
    for source in sources:
        is_plain = source.path is not None and source.path.suffix.lower() != ".gz"
        if source.path is None or not (is_plain and source.has_lines and source.path.is_file()):
            return None
        with source.path.open("rb") as stream:
            count += sum(1 for line in stream if line.strip())
    return count


def _open(source: Source, stdin: BinaryIO | None) -> BinaryIO:
    if source.path is None:
        if stdin is None:
            raise OSError("standard input is not at hand")
        return stdin
    if source.path.suffix.lower() == ".gz":
        return cast(BinaryIO, gzip.open(source.path, "rb"))
    return source.path.open("rb")


def _lines(stream: BinaryIO, name: str) -> Iterator[tuple[str, bytes]]:
    for number, data in enumerate(lines_of(stream), 1):
        if line := data.rstrip(b"\r\n"):
            yield f"{name}:{number}", line


def _text_values(stream: BinaryIO, name: str) -> Iterator[Value]:
    for place, data in _lines(stream, name):
        try:
            yield place, data.decode("utf-8")
        except ValueError as error:
            yield place, _malformed(place, error)


def _json_values(stream: BinaryIO, name: str) -> Iterator[Value]:
    is_first = True
    for place, data in _lines(stream, name):
        if not data.strip():
            continue
        try:
            yield place, _parsed(data)
        except ValueError as error:
            yield place, _malformed(place, error, hint=_FORMATS_HINT if is_first else None)
        is_first = False


def _document_values(stream: BinaryIO, name: str) -> Iterator[Value]:
    """The elements of one list; many a `.json` holds one object a line."""
    data = stream.read().removeprefix(BYTE_ORDER_MARK)
    if not data.lstrip().startswith(b"["):
        yield from _json_values(io.BytesIO(data), name)
        return
    try:
        rows = _parsed(data)
    except ValueError as error:
        raise _malformed(name, error, hint="correct it, or write a row on each line") from error
    for number, value in enumerate(cast(list[object], rows)):
        yield f"{name}[{number}]", value


def _csv_values(stream: BinaryIO, name: str) -> Iterator[Value]:
    return _table_values(lambda bad: csv_rows(stream, name, bad, is_tabs=False))


def _tsv_values(stream: BinaryIO, name: str) -> Iterator[Value]:
    return _table_values(lambda bad: csv_rows(stream, name, bad, is_tabs=True))


def _parquet_values(stream: BinaryIO, name: str) -> Iterator[Value]:
    return _table_values(lambda bad: parquet_rows(io.BytesIO(stream.read()), name))


class _Kept(BadRows):
    """Bad rows, kept until their turn."""

    def __init__(self) -> None:
        super().__init__()
        self.errors: list[DataError] = []

    def take(self, error: DataError) -> None:
        self.errors.append(error)


def _table_values(read: Callable[[BadRows], Iterator[Any]]) -> Iterator[Value]:
    """The rows of a table; an empty cell of a column that means something is not given."""
    bad = _Kept()
    for row in read(bad):
        while bad.errors:
            yield "", bad.errors.pop(0)
        cells = row.values.items()
        yield (
            f"{row.file}:{row.line}",
            {name: cell for name, cell in cells if cell != "" or not means_something(name)},
        )
    yield from (("", error) for error in bad.errors)


_READERS: dict[Format, Callable[[BinaryIO, str], Iterator[Value]]] = {
    "text": _text_values, "jsonl": _json_values, "json": _document_values, "csv": _csv_values,
    "tsv": _tsv_values, "parquet": _parquet_values,
}  # fmt: skip


def _parsed(data: bytes) -> object:
    try:
        return json.loads(data.decode("utf-8"))
    except RecursionError:
        raise ValueError("the JSON is nested too deeply") from None


def _malformed(place: str, error: ValueError, *, hint: str | None = None) -> DataError:
    if isinstance(error, UnicodeDecodeError):
        reason = f"not valid UTF-8 (byte 0x{error.object[error.start]:02x})"
    elif isinstance(error, json.JSONDecodeError):
        reason = f"not valid JSON ({error.msg} at character {error.pos + 1})"
    else:
        reason, hint = str(error), None
    hint = hint or "correct it, or leave such rows out with --on-bad-row skip"
    return DataError(f"{place}: {reason}", hint=hint)
