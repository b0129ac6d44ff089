"""Where results go: standard output, a file of rows, or a file that is one document.

A file never holds half a row or half a document, and comes into being with its first one: a run
that fails before leaves nothing behind, and what was there stays. Rows are appended and flushed
one by one; a document is written under a temporary name and renamed. Devices and named pipes are
written as they are.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

from hfgen.atomic import rename_new
from hfgen.claims import hold
from hfgen.cli.io.colours import Style
from hfgen.cli.program.console import Console, OutputClosed, write_all
from hfgen.errors import OutputError, OutputExists, UsageError

_NAME_HINT = "check the folder and who may write there, or name another file"


class Sink(Protocol):
    """What a format writes to."""

    is_live: bool
    """Whether somebody may be watching: unfinished texts are shown as they grow."""

    def write(self, text: str, *, style: Style = Style.PLAIN) -> None:
        """Add text; to a file, only whole rows."""

    def close(self, *, is_kept: bool) -> None:
        """Finish; a document that is not kept leaves nothing behind."""


class OutputSink:
    """Standard output."""

    is_live = True

    def __init__(self, console: Console) -> None:
        self._console = console

    def write(self, text: str, *, style: Style = Style.PLAIN) -> None:
        """Write at once."""
        self._console.write(text, style=style)

    def close(self, *, is_kept: bool) -> None:
        """Nothing is left to do."""


class DeviceFile:
    """A device, a named pipe or the like: opened at once, written as results come."""

    is_live = False

    def __init__(self, path: Path) -> None:
        self._path = path
        with _explained(path):
            self._fd = os.open(path, os.O_WRONLY | os.O_APPEND)

    def write(self, text: str, *, style: Style = Style.PLAIN) -> None:
        """Write a row."""
        with _explained(self._path):
            write_all(self._fd, _encoded(text))

    def close(self, *, is_kept: bool) -> None:
        """Close the descriptor."""
        with _explained(self._path):
            os.close(self._fd)


class RowsFile:
    """A file that grows row by row."""

    is_live = False

    def __init__(self, path: Path, *, is_overwrite: bool) -> None:
        self._path = path
        self._is_overwrite = is_overwrite
        self._fd: int | None = None

    def write(self, text: str, *, style: Style = Style.PLAIN) -> None:
        """Append a row; what could be written of one that failed is taken away again."""
        with _explained(self._path):
            if self._fd is None:
                self._fd = self._open()
            end = os.fstat(self._fd).st_size
            try:
                write_all(self._fd, _encoded(text))
            except BaseException:
                with contextlib.suppress(OSError):
                    os.ftruncate(self._fd, end)
                raise

    def _open(self) -> int:
        """Open the file for this process alone; what is replaced goes only then."""
        fd = _create(self._path, os.O_APPEND | (0 if self._is_overwrite else os.O_EXCL))
        try:
            hold(fd)
        except BlockingIOError as error:
            os.close(fd)
            raise OutputError(
                f"another process is writing {self._path}",
                hint="wait for it, or name another file",
            ) from error
        os.ftruncate(fd, 0)
        return fd

    def close(self, *, is_kept: bool) -> None:
        """Close the file; one without a row vanishes."""
        if self._fd is None:
            return
        with _explained(self._path):
            is_empty = os.fstat(self._fd).st_size == 0
            os.close(self._fd)
            self._fd = None
            if is_empty:
                self._path.unlink(missing_ok=True)


class DocumentFile:
    """A file that appears whole, under its name, when it is complete."""

    is_live = False

    def __init__(self, path: Path, *, is_overwrite: bool) -> None:
        self._path = path
        self._is_overwrite = is_overwrite
        self._parts: list[str] = []

    def write(self, text: str, *, style: Style = Style.PLAIN) -> None:
        """Keep the text for the end."""
        self._parts.append(text)

    def close(self, *, is_kept: bool) -> None:
        """Write the document under a temporary name and rename it."""
        if not is_kept:
            return
        name = f".{self._path.name[:100]}.{secrets.token_hex(4)}.tmp"
        temporary = self._path.with_name(name)
        with _explained(self._path):
            try:
                fd = _create(temporary, os.O_EXCL)
                try:
                    write_all(fd, _encoded("".join(self._parts)))
                finally:
                    os.close(fd)
                self._move(temporary)
            except BaseException:
                temporary.unlink(missing_ok=True)
                raise

    def _move(self, temporary: Path) -> None:
        if not self._is_overwrite:
            rename_new(temporary, self._path)
            return
        if self._path.exists():
            temporary.chmod(stat.S_IMODE(self._path.stat().st_mode))
        temporary.replace(self._path)


def open_sink(path: Path, *, is_document: bool, is_overwrite: bool) -> Sink:
    """Return the sink for a path that `check_output` has passed."""
    if _is_special(path):
        return DeviceFile(path)
    kind = DocumentFile if is_document else RowsFile
    return kind(path, is_overwrite=is_overwrite)


def check_output(file: str, *, is_overwrite: bool, source: str | None) -> Path:
    """Return the path to write to, or raise what would make writing fail; changes nothing.

    `source` is the file that prompts are read from (None: standard input), which may not be
    replaced while it is read.
    """
    if not file:
        raise UsageError("--output needs a file name", hint="-o FILE")
    with _explained(Path(file)):
        if _is_special(Path(file)):
            return Path(file)
        path = Path(os.path.realpath(file))
        if path.is_dir():
            raise OutputError(f"{file} is a folder", hint="name a file in it")
        if path.exists():
            if not is_overwrite:
                raise FileExistsError(file)
            if _is_same_file(path, source):
                raise UsageError(f"{file} is the input", hint="write to another file")
        elif not path.parent.is_dir():
            raise OutputError(f"there is no folder {path.parent}", hint="make it first")
        if not os.access(path if path.exists() else path.parent, os.W_OK):
            raise OutputError(f"cannot write {file}: Permission denied", hint=_NAME_HINT)
    return path


@contextlib.contextmanager
def _explained(path: Path) -> Iterator[None]:
    """Translate what the operating system says about `path` into hfgen's errors."""
    try:
        yield
    except FileExistsError as error:
        raise OutputExists(f"{path} already exists", hint="--overwrite replaces it") from error
    except BrokenPipeError as error:
        raise OutputClosed from error
    except OSError as error:
        raise OutputError(f"cannot write {path}: {error.strerror}", hint=_NAME_HINT) from error


def _create(path: Path, flags: int) -> int:
    return os.open(path, os.O_WRONLY | os.O_CREAT | flags, 0o666)


def _encoded(text: str) -> bytes:
    return text.encode("utf-8", "backslashreplace")


def _is_special(path: Path) -> bool:
    """Whether `path` is a device, a pipe or a socket."""
    mode = path.stat().st_mode if path.exists() else stat.S_IFREG
    return not (stat.S_ISREG(mode) or stat.S_ISDIR(mode))


def _is_same_file(path: Path, source: str | None) -> bool:
    with contextlib.suppress(OSError):
        facts = os.fstat(0) if source in (None, "-") else Path(str(source)).stat()
        return os.path.samestat(path.stat(), facts)
    return False
