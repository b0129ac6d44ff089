"""The three standard streams of the program, and what may appear on each.

Standard output carries results, byte for byte, UTF-8 whatever the locale, written through at
once, so that nothing is left to fail when the interpreter shuts down. Standard error carries
errors, one-line notices and, on a terminal, a passing status line; failing to write there never
changes the outcome. While libraries run, `isolated` points the process's own descriptors 1 and 2
elsewhere: a library that prints, in Python or in C, cannot reach the user.

On a terminal, control characters in generated text are shown as pictures: a language model must
not be able to drive the terminal. In a pipe or a file the text is untouched.

Standard library only; nothing here knows about models or options.
"""

from __future__ import annotations

import contextlib
import io
import os
import select
import sys
import traceback
from collections.abc import Iterator, Mapping
from typing import BinaryIO

from hfgen.cli.io.colours import Style
from hfgen.cli.program.printable import one_line, printable
from hfgen.errors import OutputError

_STDIN, _STDOUT, _STDERR = 0, 1, 2
_STREAMS = {_STDIN: ("stdin", "r"), _STDOUT: ("stdout", "w"), _STDERR: ("stderr", "w")}
_BOLD, _RED, _DIM, _PLAIN = "\x1b[1m", "\x1b[1;31m", "\x1b[2m", "\x1b[0m"
_ERASE_LINE = "\r\x1b[K"


class OutputClosed(Exception):
    """The reader of standard output went away, as `head` does when it has seen enough."""


class Console:
    """Owner of the standard streams for one run of the program; close it at the end."""

    def __init__(self) -> None:
        closed = [fd for fd in (_STDIN, _STDOUT, _STDERR) if not _is_open(fd)]
        for fd in closed:
            # Otherwise the next file to be opened would become a standard stream, and libraries
            # would stumble over a sys.stderr that is None.
            _plug(fd)
        self.has_stdout = _STDOUT not in closed
        self._out, self._err = os.dup(_STDOUT), os.dup(_STDERR)
        self.is_terminal = self.has_stdout and os.isatty(self._out)
        self.is_error_terminal = _STDERR not in closed and os.isatty(self._err)
        self.is_quiet = False
        self.is_verbose = False
        self.is_debug = False
        self._has_status = False
        self._is_mid_line = False
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, io.TextIOWrapper):
                # The streams that help pages and tracebacks are printed to.
                stream.reconfigure(encoding="utf-8", errors="backslashreplace")

    def configure(self, *, quiet: bool = False, verbose: bool = False, debug: bool = False) -> None:
        """Set how much is said; `quiet` leaves errors only."""
        self.is_quiet, self.is_verbose = quiet, verbose
        self.is_debug = self.is_debug or debug

    def close(self) -> None:
        """Give the private descriptors back."""
        self._clear_status()
        for fd in (self._out, self._err):
            with contextlib.suppress(OSError):
                os.close(fd)

    def mute(self) -> None:
        """Write nothing from now on: another process of the same run does."""
        null = os.open(os.devnull, os.O_WRONLY)
        for fd in (_STDOUT, _STDERR, self._out, self._err):
            os.dup2(null, fd)
        os.close(null)
        self.is_terminal = self.is_error_terminal = False

    # Standard output

    @property
    def has_colours(self) -> bool:
        """Whether styles of `write` can be seen."""
        return self.is_terminal and _has_colour()

    def require_output(self, hint: str = "give it a reader, or write to a file with -o") -> None:
        """Raise `OutputError` when there is no standard output to write results to."""
        if not self.has_stdout:
            raise OutputError("standard output is closed", hint=hint)

    def write(self, text: str, *, style: Style = Style.PLAIN) -> None:
        """Write a piece of result text, at once.

        Raises `OutputClosed` when nobody reads any more and `OutputError` when it cannot be
        written. On a terminal, control characters become pictures and `style` applies.
        """
        if not text:
            return
        self._clear_status()
        self.require_output()
        self._is_mid_line = self.is_terminal and not text.endswith("\n")
        if self.is_terminal:
            text = printable(text)
            if style and self.has_colours:
                text = f"{style}{text}{_PLAIN}"
        self._put(text)

    def show(self, text: str) -> None:
        """Write lines for a terminal that have their styles already, and nothing of a model's."""
        self._clear_status()
        self._put(text)

    def _put(self, text: str) -> None:
        try:
            # A lone surrogate (from a path that is no UTF-8) becomes \udcff: JSON stays JSON.
            write_all(self._out, text.encode("utf-8", "backslashreplace"))
        except BrokenPipeError:
            raise OutputClosed from None
        except OSError as error:
            raise OutputError(
                f"cannot write to standard output: {error.strerror}",
                hint="free some space or write elsewhere with -o",
            ) from error

    # Standard error

    def notice(self, text: str) -> None:
        """Tell something in one line, unless `-q`; `warning: …` keeps that label."""
        if not self.is_quiet:
            is_warning = text.startswith("warning: ")
            label = "warning:" if is_warning else "notice:"
            self._say(label, _BOLD, text.removeprefix("warning: ") if is_warning else text)

    def detail(self, text: str, *, dim: bool = False) -> None:
        """Tell something in one line that matters on a terminal or with `-v`; `dim` a trifle."""
        if dim and self.is_error_terminal and _has_colour() and not self.is_quiet:
            self._write_error(f"{_DIM}notice: {one_line(text)}{_PLAIN}\n")
        elif self.is_error_terminal or self.is_verbose:
            self.notice(text)

    def error(self, message: str, hint: str) -> None:
        """Write the two lines of an error."""
        self._say("error:", _RED, message)
        self._say("hint:", _BOLD, hint)

    def report(self, text: str) -> None:
        """Write lines that were asked for (statistics, a traceback) to standard error."""
        self._write_error(text if text.endswith("\n") else text + "\n")

    def report_traceback(self, error: BaseException) -> None:
        """Write the traceback of `error`."""
        self.report("".join(traceback.format_exception(error)))

    def aside(self, text: str) -> None:
        """Stream text that was asked for beside the results (a model's thinking), dimmed."""
        if self.is_error_terminal:
            text = printable(text)
            self._is_mid_line = not text.endswith("\n")
            text = f"{_DIM}{text}{_PLAIN}" if _has_colour() else text
        self._clear_status()
        _write_quietly(self._err, text)

    def legend(self, styles: Mapping[Style, str]) -> None:
        """Explain the colours of the text, where they can be seen."""
        if self.is_error_terminal and _has_colour():
            parts = [f"{style}{words}{_PLAIN}" for style, words in styles.items()]
            self._write_error("  ".join(parts) + "\n")

    def status(self, text: str) -> None:
        """Show a passing line on a terminal; the next output replaces it.

        Nothing is shown while a line of text is open, which it would erase.
        """
        if self._is_mid_line:
            return
        if self.is_error_terminal and not self.is_quiet and has_cursor():
            line = one_line(text)[: _terminal_width(self._err) - 1]
            shown = f"{_DIM}{line}{_PLAIN}" if _has_colour() else line
            _write_quietly(self._err, _ERASE_LINE + shown)
            self._has_status = True

    def _say(self, label: str, style: str, text: str) -> None:
        if self.is_error_terminal and _has_colour():
            label = f"{style}{label}{_PLAIN}"
        self._write_error(f"{label} {one_line(text)}\n")

    def _write_error(self, text: str) -> None:
        self._clear_status()
        if self._is_mid_line and self.is_error_terminal:
            text = "\n" + text
            self._is_mid_line = False
        _write_quietly(self._err, text)

    def _clear_status(self) -> None:
        if self._has_status:
            self._has_status = False
            _write_quietly(self._err, _ERASE_LINE)

    # Everybody else

    @contextlib.contextmanager
    def isolated(self) -> Iterator[None]:
        """Keep what libraries print away from the user; `-v` and `--debug` show it on stderr."""
        _flush_streams()
        saved = os.dup(_STDOUT), os.dup(_STDERR)
        if self.is_verbose or self.is_debug:
            os.dup2(self._err, _STDOUT)
        else:
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, _STDOUT)
            os.dup2(null, _STDERR)
            os.close(null)
        try:
            yield
        finally:
            _flush_streams()
            for fd, copy in zip((_STDOUT, _STDERR), saved, strict=True):
                os.dup2(copy, fd)
                os.close(copy)


def standard_input() -> BinaryIO:
    """Standard input as bytes."""
    return sys.stdin.buffer


def is_interactive_input() -> bool:
    """Whether standard input is a terminal."""
    return sys.stdin.isatty()


def _is_open(fd: int) -> bool:
    try:
        os.fstat(fd)
    except OSError:
        return False
    return True


def _plug(fd: int) -> None:
    null = os.open(os.devnull, os.O_RDONLY if fd == _STDIN else os.O_WRONLY)
    if null != fd:
        os.dup2(null, fd)
        os.close(null)
    name, mode = _STREAMS[fd]
    setattr(sys, name, open(fd, mode, encoding="utf-8", closefd=False))  # noqa: SIM115


def write_all(fd: int, data: bytes) -> None:
    """Write all of `data` to a descriptor."""
    view = memoryview(data)
    while view:
        try:
            view = view[os.write(fd, view) :]
        except BlockingIOError:
            # Somebody who shares the pipe made it non-blocking.
            select.select([], [fd], [])


def _write_quietly(fd: int, text: str) -> None:
    with contextlib.suppress(OSError):
        write_all(fd, text.encode("utf-8", "backslashreplace"))


def _flush_streams() -> None:
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError, AttributeError):
            stream.flush()


def has_cursor() -> bool:
    """Whether the terminal obeys control sequences, as far as `TERM` tells."""
    return os.environ.get("TERM", "") not in ("", "dumb", "unknown")


def _has_colour() -> bool:
    return has_cursor() and not os.environ.get("NO_COLOR")


def _terminal_width(fd: int) -> int:
    try:
        return os.get_terminal_size(fd).columns or 80
    except OSError:
        return 80
