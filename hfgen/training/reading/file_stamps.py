"""Whether data files are still the ones that something was made of."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from hfgen.text_io import reading
from hfgen.training.reading.files import Source, find_sources


@dataclass(frozen=True)
class FileStamp:
    """By what a data file is known again."""

    name: str
    size: int
    modified_ns: int
    sha256: str


def stamp_files(paths: Sequence[str | Path]) -> tuple[FileStamp, ...]:
    """Read the files that `paths` stand for, and note by what to know them again.

    Standard input has no stamp. Raises `DataError` for what cannot be read.
    """
    return tuple(_stamp(source, path) for source, path in _files(paths))


def are_unchanged(stamps: Sequence[FileStamp], paths: Sequence[str | Path]) -> bool:
    """Whether the files are those of the stamps, in order.

    A file of the same name, size and time is not read; a moved one is the same by its content.
    """
    files = _files(paths)
    if len(files) != len(stamps):
        return False
    return all(
        _is_unchanged(stamp, source, path)
        for stamp, (source, path) in zip(stamps, files, strict=True)
    )


def _files(paths: Sequence[str | Path]) -> list[tuple[Source, Path]]:
    sources = find_sources(paths)
    return [(source, source.path.resolve()) for source in sources if source.path is not None]


def _stamp(source: Source, path: Path) -> FileStamp:
    with reading(source.name):
        return FileStamp(str(path), *_size_and_time(path), _sha256(path))


def _is_unchanged(stamp: FileStamp, source: Source, path: Path) -> bool:
    with reading(source.name):
        size, modified_ns = _size_and_time(path)
        if size != stamp.size:
            return False
        if (str(path), modified_ns) == (stamp.name, stamp.modified_ns):
            return True
        return _sha256(path) == stamp.sha256


def _size_and_time(path: Path) -> tuple[int, int]:
    found = path.stat()
    return found.st_size, found.st_mtime_ns


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
