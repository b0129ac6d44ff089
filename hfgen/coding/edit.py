"""What becomes of the file: a unified diff, or the file itself, which is never lost."""

from __future__ import annotations

import difflib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from hfgen.atomic import write_whole
from hfgen.coding.source import Gap, Source
from hfgen.errors import OutputError

BACKUP = "~"
"""What the backup's name ends in, as of emacs and vim."""
_NO_END = "\\ No newline at end of file"


def diff(gap: Gap, text: str) -> Iterator[str]:
    """The lines of a unified diff from the file to the file with a completion, as patch reads it.

    What fills the place of a marker replaces it.
    """
    old, new = (_lines(whole) for whole in (gap.source.text, gap.completed(text)))
    name = gap.source.name.lstrip("/")
    for line in difflib.unified_diff(old, new, f"a/{name}", f"b/{name}"):
        yield line if line.endswith("\n") else f"{line}\n{_NO_END}\n"


def _lines(text: str) -> list[str]:
    """Lines with their ends, by `\\n` alone."""
    parts = text.split("\n")
    return [part + "\n" for part in parts[:-1]] + ([parts[-1]] if parts[-1] else [])


def check_in_place(source: Source, *, has_backup: bool) -> None:
    """Raise `OutputError` for what would keep the file from being written; changes nothing."""

    path = Path(source.name)
    if not path.is_file():
        raise OutputError(f"{path} is no file", hint="leave out --in-place")
    target = Path(os.path.realpath(path))
    if not os.access(target, os.W_OK) or not os.access(target.parent, os.W_OK):
        raise OutputError(
            f"cannot write {path}: Permission denied", hint="check the file and its folder"
        )
    backup = backup_of(path)
    if has_backup and (backup.is_symlink() or (backup.exists() and not backup.is_file())):
        raise OutputError(
            f"{backup} is no file that a backup may replace", hint="move it out of the way"
        )


def backup_of(path: Path) -> Path:
    """Where the file as it was is kept."""
    return path.with_name(path.name + BACKUP)


def write_in_place(gap: Gap, text: str, *, has_backup: bool) -> Path | None:
    """Put a completion into the file; return its backup.

    The backup is whole before the file changes, and the file is the old one or the new one at any
    time. It keeps its permissions, and a symbolic link goes on naming it. Raises `OutputError`
    where the file has changed since it was read, and is left alone then.
    """
    path = Path(gap.source.name)
    new = (gap.source.byte_order_mark + gap.completed(text)).encode("utf-8")
    try:
        if path.read_bytes() != gap.source.data:
            raise OutputError(
                f"{path} has changed meanwhile, and was left alone",
                hint="the completion is on standard output; run the command again for the new file",
            )
        backup = backup_of(path) if has_backup else None
        if backup is not None:
            write_whole(backup, gap.source.data)
            shutil.copymode(path, backup)
        write_whole(path, new)
    except OSError as error:
        raise OutputError(
            f"cannot write {path}: {error.strerror}",
            hint="the completion is on standard output, and the file is as it was",
        ) from error
    return backup
