"""One writer at a time: what is checked about a path must still hold when it is written.

A claim is a lock of the system on a file beside the path, `.NAME.lock`, and ends with its process,
whatever ends that. Whoever checks first and writes later takes it before the check. Where locks
are not to be had (some network disks, folders that cannot be written) nothing is held; writers
create new files exclusively all the same.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

_PATIENCE_S = 10.0


class Claim:
    """The right to write a path."""

    def __init__(self, target: Path) -> None:
        self._file = target.with_name(f".{target.name[:100]}.lock")
        self._lock: Any = None

    def take(self, *, patience_s: float = 0) -> bool:
        """Keep other processes away until `release`; False where one has not let go in time."""
        from filelock import FileLock, Timeout

        lock = FileLock(self._file)
        try:
            lock.acquire(timeout=patience_s, poll_interval=0.02)
        except Timeout:
            return False
        except OSError:
            return True  # the system has no locks there
        self._lock = lock
        return True

    def release(self) -> None:
        """Let others write; once is enough."""
        if self._lock is None:
            return
        with contextlib.suppress(OSError):
            self._file.unlink()  # while it is held: who waits for it sees that it is gone
        self._lock.release()
        self._lock = None


def hold(descriptor: int) -> None:
    """Lock an open file until it is closed; raises `BlockingIOError` where another process has."""
    try:
        import fcntl
    except ImportError:  # Windows
        return
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise
    except OSError:  # a file system without locks
        return


@contextlib.contextmanager
def changing(path: Path) -> Iterator[None]:
    """Read a small file, change it and write it back: nobody's change comes in between.

    A process that holds it for longer than any change takes is not waited for.
    """
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
    claim = Claim(path)
    claim.take(patience_s=_PATIENCE_S)
    try:
        yield
    finally:
        claim.release()
