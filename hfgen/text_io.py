"""Text files as users bring them: UTF-8 with or without a byte order mark, gzipped or not.

What is wrong with one is a `DataError` that names the file, the line, and the way to convert it.
"""

from __future__ import annotations

import codecs
import contextlib
import zlib
from collections.abc import Iterator
from typing import BinaryIO, cast

from hfgen.errors import DataError

STANDARD_INPUT = "standard input"
BYTE_ORDER_MARK = codecs.BOM_UTF8
_UTF_16_MARKS = (b"\xff\xfe", b"\xfe\xff")
_UNUSED_IN_CP1252 = frozenset(b"\x81\x8d\x8f\x90\x9d")
_GZIP = b"\x1f\x8b"


@contextlib.contextmanager
def reading(name: str) -> Iterator[None]:
    """Turn what opening and reading a file may fail with into `DataError`."""
    try:
        yield
    except (EOFError, OSError, zlib.error) as error:
        import gzip  # late, as most files are not

        if isinstance(error, OSError) and not isinstance(error, gzip.BadGzipFile):
            raise unreadable(name, error) from error
        raise DataError(
            f"{name}: not a complete gzip file", hint="check it with gzip -t"
        ) from error


def unreadable(name: str, error: Exception) -> DataError:
    """The error of a file that cannot be opened or read."""
    reason = (error.strerror if isinstance(error, OSError) else None) or str(error)
    return DataError(f"cannot read {name}: {reason}", hint="check the name and who may read it")


def is_gzip(head: bytes) -> bool:
    """Whether a file that begins so is gzipped."""
    return head.startswith(_GZIP)


def decompressed(stream: BinaryIO) -> BinaryIO:
    """What a gzipped stream holds."""
    import gzip

    return cast(BinaryIO, gzip.GzipFile(fileobj=stream))


def lines_of(stream: BinaryIO) -> Iterator[bytes]:
    """The lines with their ends, the first one without a byte order mark."""
    for number, line in enumerate(stream):
        yield line if number else line.removeprefix(BYTE_ORDER_MARK)


def decoded(data: bytes, name: str, line: int) -> str:
    """Decode UTF-8; `line` is the line that `data` begins on. Raises `DataError`."""
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        line += data.count(b"\n", 0, error.start)
        reason = f"not valid UTF-8 (byte 0x{data[error.start]:02x})"
        raise DataError(f"{name}:{line}: {reason}", hint=encoding_hint(data)) from error


def encoding_hint(data: bytes) -> str:
    """How to convert a file that holds these bytes, which are no UTF-8.

    Latin-1 is not among the answers: where the two differ, Windows-1252 has €, – and curly quotes
    and Latin-1 control characters, which no text holds.
    """
    if not data.startswith(_UTF_16_MARKS) and _UNUSED_IN_CP1252.intersection(data):
        return "save it as UTF-8 in the program that wrote it (it is not Windows-1252 either)"
    encoding = "utf-16" if data.startswith(_UTF_16_MARKS) else "cp1252"
    return f"convert it, for example with iconv -f {encoding} -t utf-8"
