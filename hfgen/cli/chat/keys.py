"""What is typed while the model is busy: kept for the next message, and not shown in the answer."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator

try:
    import termios
except ImportError:  # Windows
    termios = None  # type: ignore[assignment]


@contextlib.contextmanager
def keys_wait() -> Iterator[None]:
    """Have the terminal hold what is typed, Enter as the key that it is; Ctrl-C still works."""
    if termios is None or not sys.stdin.isatty():
        yield
        return
    before = termios.tcgetattr(sys.stdin)
    busy = termios.tcgetattr(sys.stdin)
    busy[0] &= ~termios.ICRNL
    busy[3] &= ~(termios.ECHO | termios.ICANON)
    busy[3] |= termios.NOFLSH  # Ctrl-C stops the answer, and not what was typed
    termios.tcsetattr(sys.stdin, termios.TCSADRAIN, busy)
    try:
        yield
    finally:
        termios.tcsetattr(sys.stdin, termios.TCSADRAIN, before)
