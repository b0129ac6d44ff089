"""A notice for standard input that somebody sent and nobody reads.

`cat notes.txt | hfgen generate "Summarize:"` continues `Summarize:` alone: standard input is read
where nothing else gives a prompt, or where `-` is written, so that a command in a `while read` loop
leaves the loop's lines alone. Not reading is right, silence is not. Whether something is there is
asked of the system: nothing is read, and nothing is waited for. A terminal, /dev/null and a closed
standard input hold nothing.
"""

from __future__ import annotations

import array
import contextlib
import os
import stat
from collections.abc import Iterator

from hfgen.cli.program.console import Console

_STDIN = 0


@contextlib.contextmanager
def noticing_unread_input(console: Console, *, is_read: bool, instead: str) -> Iterator[None]:
    """Tell, before or after what is done in the meantime, of standard input that is not read.

    `instead` says how it would be. After a failure nothing is said.
    """
    has_told = is_read or _tell(console, instead)
    yield
    if not has_told:
        # It may have arrived meanwhile.
        _tell(console, instead)


def _tell(console: Console, instead: str) -> bool:
    if not has_unread_input():
        return False
    console.notice(f"standard input is not read: {instead}")
    return True


def has_unread_input() -> bool:
    """Whether standard input is a file, pipe or socket with something in it."""
    try:
        found = os.fstat(_STDIN)
        if stat.S_ISREG(found.st_mode):
            return found.st_size > os.lseek(_STDIN, 0, os.SEEK_CUR)
        if stat.S_ISFIFO(found.st_mode) or stat.S_ISSOCK(found.st_mode):
            return _waiting_bytes(_STDIN) > 0
    except OSError:
        pass
    return False


def _waiting_bytes(fd: int) -> int:
    """How much can be read from a pipe or socket at once; 0 where that cannot be asked."""
    try:
        import fcntl
        import termios
    except ImportError:  # Windows
        return 0
    count = array.array("i", [0])
    fcntl.ioctl(fd, termios.FIONREAD, count)
    return count[0]
