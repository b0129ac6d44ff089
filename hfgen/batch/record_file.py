"""A file that grows row by row, for one process at a time."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator
from pathlib import Path

from hfgen.errors import OutputError

_ROOM = "free some space on the disk, and go on with --resume"


class RecordFile:
    """Appends rows; what could be written of one that failed is taken away again."""

    def __init__(self, path: Path) -> None:
        self._path = path
        with explained(path):
            self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
        try:
            _lock(self._fd)
        except BlockingIOError as error:
            os.close(self._fd)
            raise OutputError(
                f"another process is writing {path}", hint="wait for it, or name another file"
            ) from error

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


@contextlib.contextmanager
def explained(path: Path) -> Iterator[None]:
    """Translate what the system says about writing."""
    try:
        yield
    except OSError as error:
        is_full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
        hint = _ROOM if is_full else "check the folder and who may write there"
        raise OutputError(f"cannot write {path}: {error.strerror}", hint=hint) from error


def _lock(fd: int) -> None:
    try:
        import fcntl
    except ImportError:  # Windows
        return
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise
    except OSError:  # a file system without locks
        return
