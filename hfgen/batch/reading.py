"""Streaming rows from files and standard input: JSON Lines, or a prompt on each line.

Errors of the input come as values, so that the rows before them can be finished first.
"""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Literal, cast

from hfgen.batch.rows import BatchRow, read_row
from hfgen.errors import DataError, OptionConflict
from hfgen.generation.records import Prompt

STANDARD_INPUT = "standard input"
OnBadRow = Literal["error", "skip"]
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_CHUNK_BYTES = 1 << 20


@dataclass(frozen=True)
class Source:
    """One file to read."""

    path: Path | None
    """None for standard input."""
    is_text: bool
    """Whether each line is a prompt."""

    @property
    def name(self) -> str:
        """As the user typed it."""
        return STANDARD_INPUT if self.path is None else str(self.path)


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
        is_text = has_text_lines or name.lower().removesuffix(".gz").endswith(".txt")
        sources.append(Source(path, is_text))
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
                with _open(source, self._stdin) as stream:
                    for found in self._rows_of(stream, source):
                        if isinstance(found, BatchRow) or self._policy == "error":
                            yield found
                        else:
                            self.malformed += 1
                        if isinstance(found, DataError) and self._policy == "error":
                            return
            except (EOFError, zlib.error, gzip.BadGzipFile):
                yield DataError(f"{source.name}: not a complete gzip file", hint="gzip -t tells")
                return
            except OSError as error:
                reason = error.strerror or str(error)
                yield DataError(f"cannot read {source.name}: {reason}", hint="check the name")
                return

    def _rows_of(self, stream: BinaryIO, source: Source) -> Iterator[BatchRow | DataError]:
        for number, data in enumerate(stream, 1):
            if number == 1:
                data = data.removeprefix(_BYTE_ORDER_MARK)
            data = data.rstrip(b"\r\n")
            if not (data if source.is_text else data.strip()):
                continue
            index, place = self._index, f"{source.name}:{number}"
            self._index += 1
            try:
                yield _row(data, index, place, is_text=source.is_text)
            except ValueError as error:
                yield _malformed(place, error)


def count_rows(sources: Sequence[Source]) -> int | None:
    """Lines that are not empty, where all sources are plain files; a pass over them."""
    count = 0
    for source in sources:
        if source.path is None or not source.path.is_file() or source.path.suffix == ".gz":
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


def _row(data: bytes, index: int, place: str, *, is_text: bool) -> BatchRow:
    text = data.decode("utf-8")
    if is_text:
        return BatchRow(index, place, {"id": None, "prompt": text}, Prompt(text))
    try:
        value = json.loads(text, parse_constant=_refuse)
    except RecursionError:
        raise ValueError("the JSON is nested too deeply") from None
    return read_row(value, index, place)


def _refuse(name: str) -> object:
    raise ValueError(f"{name} is no JSON")


def _malformed(place: str, error: ValueError) -> DataError:
    hint = "correct it, or leave such rows out with --on-bad-row skip"
    if isinstance(error, UnicodeDecodeError):
        reason = f"not valid UTF-8 (byte 0x{error.object[error.start]:02x})"
    elif isinstance(error, json.JSONDecodeError):
        reason = f"not valid JSON ({error.msg} at character {error.pos + 1})"
    else:
        reason = str(error)
    return DataError(f"{place}: {reason}", hint=hint)
