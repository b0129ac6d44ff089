"""A source file as it was read, and the place in it that is completed.

The model sees text with `\\n` and without a byte order mark; what the file has of either is kept
when a completion is put in, and all other bytes stay as they are.
"""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from pathlib import Path

from hfgen.errors import DataError, UsageError
from hfgen.mentions import mention

DEFAULT_MARKER = "<FILL>"
_BYTE_ORDER_MARK = "\ufeff"
_UTF8 = "convert it, for example with iconv -f cp1252 -t utf-8"


@dataclass(frozen=True)
class Source:
    """A text and what it is called."""

    name: str
    data: bytes
    text: str
    """Without a byte order mark; line ends as they are."""
    newline: str
    """What ends its lines: `\\r\\n` where all do, else `\\n`."""

    @classmethod
    def of(cls, name: str, data: bytes) -> Source:
        """Decode a file. Raises `DataError` for what is no text in UTF-8."""
        if b"\0" in data:
            raise DataError(f"{name} is a binary file", hint="name a source file in UTF-8")
        try:
            text = data.decode("utf-8")
        except UnicodeDecodeError as error:
            line = data.count(b"\n", 0, error.start) + 1
            byte = f"byte 0x{data[error.start]:02x}"
            raise DataError(f"{name}:{line}: not valid UTF-8 ({byte})", hint=_UTF8) from error
        ends = data.count(b"\n")
        newline = "\r\n" if ends and data.count(b"\r\n") == ends else "\n"
        return cls(name, data, text.removeprefix(_BYTE_ORDER_MARK), newline)

    @property
    def byte_order_mark(self) -> str:
        """The mark that the file begins with, or nothing."""
        return _BYTE_ORDER_MARK if self.data.startswith(_BYTE_ORDER_MARK.encode()) else ""


def read_source(name: str) -> Source:
    """Read a file. Raises `DataError` for one that cannot be read, or is no text."""
    try:
        mode = Path(name).stat().st_mode
        if stat.S_ISDIR(mode):
            raise DataError(f"{name} is a folder", hint="name a file in it")
        data = Path(name).read_bytes()
    except (OSError, ValueError) as error:
        reason = os.strerror(error.errno) if isinstance(error, OSError) and error.errno else error
        hint = "check the name and who may read it"
        raise DataError(f"cannot read {name}: {reason}", hint=hint) from error
    return Source.of(name, data)


@dataclass(frozen=True)
class Gap:
    """The place that is completed: `before` and `after` it, in the file's own line ends."""

    source: Source
    before: str
    after: str
    line: int
    """From 1."""
    column: int
    """From 1: how many characters of the line come before, and one."""

    @property
    def is_within(self) -> bool:
        """Whether text follows, so that the model has to fill in."""
        return bool(self.after.strip())

    def seen(self) -> tuple[str, str]:
        """Both texts as the model sees them; nothing after the cursor but blanks is no suffix."""
        before, after = (text.replace("\r\n", "\n") for text in (self.before, self.after))
        if self.source.newline == "\n":
            before, after = self.before, self.after
        return before, after if self.is_within else ""

    def inserted(self, text: str) -> str:
        """A completion in the file's own line ends."""
        if self.source.newline == "\n":
            return text
        return text.replace("\r\n", "\n").replace("\n", "\r\n")

    def completed(self, text: str) -> str:
        """The whole text with a completion, without the byte order mark.

        A completion at the end of a file gets a line end.
        """
        whole = self.before + self.inserted(text) + self.after
        is_open = not self.after and text and not whole.endswith("\n")
        return whole + self.source.newline if is_open else whole


def gap_of(
    source: Source,
    *,
    line: int | None = None,
    column: int | None = None,
    marker: str | None = None,
) -> Gap:
    """The gap at a line and column (default: the line's end), at a marker, or at the end.

    Without any, `DEFAULT_MARKER` is the gap where the text has it. Raises `UsageError` for a place
    that is not there, and a marker that is missing or stands in several places.
    """
    if line is not None:
        return _at(source, _offset(source, line, column))
    if column is not None:
        raise UsageError(f"{mention('column')} needs a line", hint=f"add {mention('line', 1)}")
    wanted = DEFAULT_MARKER if marker is None else marker
    count = source.text.count(wanted) if wanted else 0
    if count == 1:
        at = source.text.index(wanted)
        return _at(source, at, len(wanted))
    if count > 1:
        raise UsageError(
            f"{source.name} has {wanted} in {count} places",
            hint=f"leave one of them, or use {mention('line', 1)}",
        )
    if marker is not None:
        raise UsageError(
            f"{source.name} has no {marker or 'empty marker'}",
            hint=f"write it where the completion belongs, or use {mention('line', 1)}",
        )
    return _at(source, len(source.text))


def _at(source: Source, offset: int, length: int = 0) -> Gap:
    before = source.text[:offset]
    begin = before.rfind("\n") + 1
    line = before.count("\n") + 1
    return Gap(source, before, source.text[offset + length :], line, offset - begin + 1)


def _offset(source: Source, line: int, column: int | None) -> int:
    lines = source.text.split("\n")
    if not 1 <= line <= len(lines):
        raise UsageError(
            f"{source.name} has no line {line:,}", hint=f"it has {len(lines):,}: give one of them"
        )
    text = lines[line - 1]
    if line < len(lines) and source.newline == "\r\n":
        text = text.removesuffix("\r")
    if column is None:
        column = len(text) + 1
    if not 1 <= column <= len(text) + 1:
        raise UsageError(
            f"line {line:,} of {source.name} has no column {column:,}",
            hint=f"give one from 1 to {len(text) + 1:,}, or leave it out for the line's end",
        )
    return sum(len(one) + 1 for one in lines[: line - 1]) + column - 1
