"""A file that grows row by row, for one process at a time."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator
from pathlib import Path

from hfgen.claims import hold
from hfgen.errors import OutputError, OutputExists

_ROOM = "free some space on the disk, and continue with --resume"


class RecordFile:
    """Appends rows; what could be written of one that failed is taken away again."""

    def __init__(self, path: Path, *, is_new: bool = False) -> None:
        """`is_new`: what is there by now is not touched, but refused with `OutputExists`."""
        self._path = path
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | (os.O_EXCL if is_new else 0)
        with explained(path):
            self._fd = os.open(path, flags, 0o666)
        try:
            hold(self._fd)
        except BlockingIOError as error:
            os.close(self._fd)
            raise being_written(path) from error

    def write(self, lines: bytes) -> None:
        """Append all records of a row."""
        with explained(self._path):
            end = os.fstat(self._fd).st_size
            try:
                left = memoryview(lines)
                while left:
                    left = left[os.write(self._fd, left) :]
            except BaseException:
                with contextlib.suppress(OSError):
                    os.ftruncate(self._fd, end)
                raise

    def close(self) -> None:
        """Have everything on the disk."""
        with explained(self._path):
            try:
                os.fsync(self._fd)
            finally:
                os.close(self._fd)


def being_written(path: Path | str) -> OutputError:
    """The error for an output that another process has claimed."""
    return OutputError(
        f"another process is writing {path}", hint="wait for it, or name another file"
    )


@contextlib.contextmanager
def explained(path: Path) -> Iterator[None]:
    """Translate what the system says about writing."""
    try:
        yield
    except FileExistsError as error:
        hint = "name another file, or begin again with --overwrite"
        raise OutputExists(f"{path} has come into being meanwhile", hint=hint) from error
    except OSError as error:
        is_full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
        hint = _ROOM if is_full else "check the folder and who may write there"
        raise OutputError(f"cannot write {path}: {error.strerror}", hint=hint) from error
