"""OUT and its parts (`OUT.rank-K`) made one file, whole or not at all."""

from __future__ import annotations

import contextlib
import heapq
import os
import secrets
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

from hfgen.batch.output.record_file import explained
from hfgen.batch.output.resume_index import Done, Group, read_groups


def part_of(output: Path, number: int) -> Path:
    """Where a process writes its part."""
    return output.with_name(f"{output.name}.rank-{number}")


def parts_of(output: Path) -> list[Path]:
    """The parts that are there."""
    start = f"{output.name}.rank-"
    found = output.parent.iterdir() if output.parent.is_dir() else ()
    return sorted(p for p in found if p.name.startswith(start) and p.name[len(start) :].isdigit())


def merge(output: Path, *, is_ordered: bool) -> None:
    """Put all parts into `output` and remove them; a part's record replaces one of `output`."""
    parts = parts_of(output)
    if not parts:
        return
    files = [output, *parts] if output.exists() else parts
    aside = output.with_name(f".{output.name[:100]}.{secrets.token_hex(4)}.tmp")
    with explained(output):
        try:
            with aside.open("xb") as stream:
                for group in _in_order(files) if is_ordered else _newest(files):
                    stream.write(group.lines)
                stream.flush()
                os.fsync(stream.fileno())
            if output.exists():
                shutil.copymode(output, aside)
            aside.replace(output)
        except BaseException:
            with contextlib.suppress(OSError):
                aside.unlink()
            raise
        for part in parts:
            part.unlink()


def _in_order(files: Sequence[Path]) -> Iterator[Group]:
    """All rows by index; of several records of one the last file's."""
    last: Group | None = None
    for group in heapq.merge(*map(read_groups, files), key=lambda group: group.index):
        if last is not None and last.index != group.index:
            yield last
        last = group
    if last is not None:
        yield last


def _newest(files: Sequence[Path]) -> Iterator[Group]:
    """All rows, file by file; of several records of one the last file's."""
    home = Done()
    for number, file in enumerate(files, 1):
        for group in read_groups(file):
            home.add(group.index, number, is_failed=False)
    for number, file in enumerate(files, 1):
        yield from (group for group in read_groups(file) if home.mark(group.index) == number)
