"""A terminal for tests: a program under a pty, and what its screen shows (pyte)."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import signal
import struct
import termios
import time
from collections.abc import Callable

import pyte


class Terminal:
    """Runs a program; `lines` is what the user sees, scrolled lines included."""

    def __init__(self, command: list[str], env: dict[str, str], columns: int = 80, rows: int = 24):
        env = {**env, "TERM": "xterm-256color", "PROMPT_TOOLKIT_NO_CPR": "1"}
        env.pop("COLUMNS", None)
        self._screen = pyte.HistoryScreen(columns, rows, history=5000)
        self._stream = pyte.ByteStream(self._screen)
        self.raw = b""
        self.pid, self._fd = pty.fork()
        if self.pid == 0:
            os.execvpe(command[0], command, env)
        fcntl.ioctl(self._fd, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    @property
    def lines(self) -> list[str]:
        """All lines so far."""
        scrolled = [
            "".join(cell.data for _, cell in sorted(line.items())).rstrip()
            for line in self._screen.history.top
        ]
        return scrolled + [line.rstrip() for line in self._screen.display]

    @property
    def text(self) -> str:
        """All lines, blank ones at the end left out."""
        return "\n".join(self.lines).rstrip()

    @property
    def is_asking(self) -> bool:
        """Whether the cursor stands behind an empty prompt."""
        cursor = self._screen.cursor
        return self._screen.display[cursor.y].rstrip() == ">>>" and cursor.x == 4

    def type(self, text: str) -> None:
        """Type; Enter is a carriage return."""
        os.write(self._fd, text.encode())

    def wait_until(self, is_so: Callable[[], bool], *, seconds: float = 90) -> None:
        """Read what the program writes until something is so."""
        end = time.monotonic() + seconds
        while not is_so():
            if time.monotonic() > end or not self._read(end - time.monotonic()):
                raise AssertionError(self.text)

    def say(self, text: str) -> str:
        """Type a line, wait until the next one is asked for; return what was shown since."""
        before = len(self.raw)
        known = len("\n".join(self.lines[:-1]).rstrip().splitlines())
        self.type(text + "\r")
        self.wait_until(lambda: len(self.raw) > before and b"\x1b[?2004l" in self.raw[before:])
        self.wait_until(lambda: self.is_asking and self.raw.rstrip().endswith(b"\x1b[?25h"))
        return "\n".join(self.lines[known:])

    def end(self) -> int:
        """Wait for the program's end; return its exit status."""
        while self._read(60):
            pass
        _, status = os.waitpid(self.pid, 0)
        self.pid = 0
        os.close(self._fd)
        return os.waitstatus_to_exitcode(status)

    def kill(self) -> None:
        """End the program if it still runs."""
        if self.pid:
            os.kill(self.pid, signal.SIGKILL)
            self.end()

    def _read(self, seconds: float) -> bool:
        if not select.select([self._fd], [], [], max(0, seconds))[0]:
            return False
        try:
            data = os.read(self._fd, 65536)
        except OSError:  # the program has ended
            return False
        self.raw += data
        self._stream.feed(data)
        return bool(data)
