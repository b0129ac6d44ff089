"""Text files and standard input as a stream of characters, of bounded memory; gzipped or not."""

from __future__ import annotations

import codecs
import contextlib
import io
import itertools
from collections.abc import Iterator
from typing import BinaryIO

from hfgen.errors import DataError, UsageError
from hfgen.mentions import mention
from hfgen.text_io import BYTE_ORDER_MARK, decompressed, is_gzip
from hfgen.training.reading.files import Source

HEAD_BYTES = 1 << 16
"""How much of a file is looked at to tell what it is."""
_CHUNK_BYTES = 1 << 18
_PARQUET = b"PAR1"
_UTF16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


@contextlib.contextmanager
def opened(source: Source, stdin: BinaryIO | None) -> Iterator[io.BufferedReader]:
    """Open a source, decompressed; standard input stays open afterwards."""
    with contextlib.ExitStack() as stack:
        if source.path is not None:
            raw: BinaryIO = stack.enter_context(source.path.open("rb"))
        elif stdin is None:
            raise UsageError("standard input is not at hand", hint="name a file")
        else:
            raw = stdin
        stream = _buffered(raw)
        if source.is_gzipped or (source.format is None and is_gzip(stream.peek(2))):
            stream = _buffered(decompressed(stream))
        yield stream


class _Borrowed(io.RawIOBase):
    """Reads from a stream and never closes it."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        data = self._stream.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)


def _buffered(stream: BinaryIO) -> io.BufferedReader:
    return io.BufferedReader(_Borrowed(stream), HEAD_BYTES)


def binary_reason(head: bytes, source: Source) -> DataError | None:
    """The error of a file that begins with bytes that are no UTF-8 text and no parquet."""
    if b"\0" not in head or (source.format is None and head.startswith(_PARQUET)):
        return None
    if head.startswith(_UTF16):
        hint = "convert it, for example with iconv -f utf-16 -t utf-8"
        return DataError(f"{source.name}: the text is in UTF-16, not UTF-8", hint=hint)
    return DataError(
        f"{source.name}: binary data (a zero byte), not text",
        hint=f"leave the file out, or use {mention('on_bad_row', 'skip')}",
    )


def chunks_of(stream: BinaryIO) -> Iterator[str]:
    """The text in pieces: no byte order mark, `\\n` line ends, undecodable bytes as surrogates."""
    decoder = codecs.getincrementaldecoder("utf-8")("surrogateescape")
    held = ""
    for place in itertools.count():
        data = stream.read(_CHUNK_BYTES)
        text = held + decoder.decode(
            data.removeprefix(BYTE_ORDER_MARK) if place == 0 else data, final=not data
        )
        # The line end may follow in the next piece.
        held = "\r" if data and text.endswith("\r") else ""
        if text := text.removesuffix(held).replace("\r\n", "\n"):
            yield text
        if not data:
            return
