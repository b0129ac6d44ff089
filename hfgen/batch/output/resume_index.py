"""Which rows an output file has records of, read back in a stream."""

from __future__ import annotations

import json
import os
from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from hfgen.batch.input.rows import fingerprint
from hfgen.batch.output.openai_answers import read_answer
from hfgen.errors import DataError

_MAX_INDEX = 2**31


class Done:
    """Rows with records: four bytes a row, and one for failures."""

    def __init__(self) -> None:
        self._marks = array("I")
        self._failed = bytearray()
        self.count = 0
        self.failed = 0

    def add(self, index: int, mark: int, *, is_failed: bool) -> None:
        """Note a row; the newest note of it holds."""
        missing = index + 1 - len(self._marks)
        if missing > 0:
            self._marks.extend(array("I", bytes(4 * missing)))
            self._failed.extend(bytes(missing))
        self.count += self._marks[index] == 0
        self.failed += is_failed - self._failed[index]
        self._marks[index], self._failed[index] = mark, is_failed

    def mark(self, index: int) -> int:
        """The fingerprint of a row's record, 0 where there is none."""
        return self._marks[index] if index < len(self._marks) else 0

    def has_failed(self, index: int) -> bool:
        """Whether the row's record is an error."""
        return index < len(self._failed) and bool(self._failed[index])

    @property
    def has_gaps(self) -> bool:
        """Whether a row is missing before the last one."""
        return self.count < len(self._marks)


@dataclass(frozen=True, slots=True)
class Group:
    """All records of one row, as they stand in a file."""

    index: int
    mark: int
    is_failed: bool
    lines: bytes


def read_groups(path: Path, *, is_mended: bool = False) -> Iterator[Group]:
    """Yield the rows of an output file.

    What a killed process left at the end (half a line, some of a row's texts) is passed over, and
    with `is_mended` cut off. Raises `DataError` for a line within that is no record.
    """
    whole = 0
    lines: list[bytes] = []
    group: Group | None = None
    with path.open("r+b" if is_mended else "rb") as stream:
        for number, line in enumerate(stream, 1):
            read = _read(line)
            if read is None:
                if stream.read(1):
                    raise DataError(
                        f"{path}:{number}: not a record of hfgen batch",
                        hint="correct or remove the line, or begin again with --overwrite",
                    )
                break
            index, sample, samples, mark, is_failed = read
            if sample != len(lines) or (sample and group is not None and group.index != index):
                raise DataError(
                    f"{path}:{number}: texts of a row are missing before this one",
                    hint="begin again with --overwrite",
                )
            lines.append(line)
            group = Group(index, mark, is_failed, b"")
            if len(lines) == samples:
                joined = b"".join(lines)
                whole += len(joined)
                lines.clear()
                yield Group(index, mark, is_failed, joined)
        if is_mended and os.fstat(stream.fileno()).st_size > whole:
            stream.truncate(whole)


def _read(line: bytes) -> tuple[int, int, int, int, bool] | None:
    """(index, sample, samples, fingerprint, whether it failed); None for what is no record."""
    try:
        record = json.loads(line) if line.endswith(b"\n") else None
    except (ValueError, RecursionError):
        return None
    if not isinstance(record, dict):
        return None
    if (answered := read_answer(record)) is not None:
        place, mark, is_failed = answered
        return (place, 0, 1, mark, is_failed) if place < _MAX_INDEX else None
    index = record.get("index")
    if not isinstance(index, int) or not 0 <= index < _MAX_INDEX:
        return None
    samples = int(record.get("samples", 1))
    return index, int(record.get("sample", 0)), samples, fingerprint(record), "error" in record
