"""From paths to a stream of documents: what `pretrain` learns from, one after another.

Text files are read in pieces and cut by `hfgen.training.corpus.separators`; a file of any size
needs memory for one document, and of a document with more than a million characters for a part of
it. Of JSON Lines, JSON, CSV, TSV and parquet (`hfgen.training.reading.files`) each row's text
column is a document. Every one may be gzipped; `-` is standard input.

In a folder all data files count, but a table or JSON file whose first row has no text column (a
list of the files, say) is passed over with a notice, and so is a file without text. Named by
itself, it is an error.

What is no text is never learned: bytes that are no UTF-8, zero bytes, half characters. The
document that holds them is an error or is left out, as `BadRows` says.
"""

from __future__ import annotations

import contextlib
import io
import itertools
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, cast

from hfgen.errors import DataError
from hfgen.text_io import encoding_hint, reading
from hfgen.training.corpus.separators import Separator
from hfgen.training.data.columns import text_of
from hfgen.training.reading.files import Source, find_sources, format_by_content, read_rows
from hfgen.training.reading.rows import BadRows, bad_row
from hfgen.training.reading.text_streams import HEAD_BYTES, binary_reason, chunks_of, opened

LONGEST_PART = 1 << 20
"""Characters of a document that are held at once, about."""
_COPIED_BYTES = 1 << 20
_NOT_TEXT = re.compile("[\0\ud800-\udfff]")
_BLANK_START = re.compile(r"(?:[^\S\n]*\n)+")
# Between a letter or digit and white space every byte-level tokenizer ends a word.
_SAFE_CUTS = (re.compile(r"[^\W_](?= )"), re.compile(r"\S(?=\s)"))


@dataclass(frozen=True, slots=True)
class Document:
    """A document, or a part of a very long one."""

    text: str
    file: str
    line: int
    """The line that the text begins on, from 1; of a parquet file, the number of the row."""
    is_end: bool = True
    """Whether the document ends with it; the next one continues it otherwise."""


def read_documents(
    paths: Sequence[str | Path],
    *,
    separator: Separator | None = None,
    stdin: BinaryIO | None = None,
    bad: BadRows | None = None,
    text_column: str = "text",
    notify: Callable[[str], None] | None = None,
) -> Iterator[Document]:
    """Yield the documents of all files in order; `notify` gets one line for a file passed over.

    Rows are cut by a separator too, if it is not `auto`. Paths are checked at once, files opened
    one after another. Raises `DataError` for what is no text and where there is none at all.
    """
    sources = find_sources(paths)
    named = {str(path) for path in paths}
    policy = bad or BadRows()
    reader = _Reader(separator or Separator(), stdin, policy, text_column)
    return _documents(sources, named, reader, notify or (lambda text: None))


def _documents(
    sources: list[Source], named: set[str], reader: _Reader, notify: Callable[[str], None]
) -> Iterator[Document]:
    found = False
    for source in sources:
        is_named = source.path is None or source.name in named
        documents = reader.read(source)
        try:
            first = next(documents, None)
        except _NoTextColumn as error:
            if is_named:
                raise error.reason from error
            notify(f"{source.name} is passed over: no column `{reader.text_column}`")
            continue
        if first is None:
            if is_named and not reader.bad.count:
                raise DataError(f"{source.name} holds no text", hint="check the name")
            notify(f"{source.name} is passed over: it holds no text")
            continue
        found = True
        yield first
        yield from documents
    if not found:
        raise _nothing(reader.bad)


def _nothing(bad: BadRows) -> DataError:
    if bad.reasons:
        first = f"{bad.count} documents were skipped, the first: {bad.reasons[0]}"
        return DataError(f"no text to learn from; {first}", hint="correct them")
    return DataError("no text to learn from", hint="name text files, or a folder of them")


class _NoTextColumn(Exception):
    """The first row of a table has no text column."""

    def __init__(self, reason: DataError) -> None:
        super().__init__(reason.message)
        self.reason = reason


@dataclass
class _Reader:
    """Reads one source after another."""

    separator: Separator
    stdin: BinaryIO | None
    bad: BadRows
    text_column: str

    def read(self, source: Source) -> Iterator[Document]:
        """The documents of a source, those that are no text left out or refused."""
        return self._checked(self._documents(source))

    def _documents(self, source: Source) -> Iterator[Document]:
        if source.format not in (None, "txt"):
            return self._rows(source, None)
        return self._text_or_rows(source)

    def _text_or_rows(self, source: Source) -> Iterator[Document]:
        with reading(source.name), opened(source, self.stdin) as stream:
            head = stream.peek(HEAD_BYTES)
            if error := binary_reason(head, source):
                self.bad.take(error)
                return
            if (source.format or format_by_content(head)) == "txt":
                chunks = chunks_of(cast(BinaryIO, stream))
                yield from _gathered(chunks, self.separator, source.name)
                return
            # Standard input cannot be read twice: what was looked at is handed on.
            stdin = io.BytesIO(stream.read()) if source.path is None else None
        yield from self._rows(source, stdin)

    def _rows(self, source: Source, stdin: BinaryIO | None) -> Iterator[Document]:
        name = "-" if source.path is None else source.name
        rows = read_rows([name], stdin=stdin, bad=self.bad, columns=(self.text_column,))
        for count, row in enumerate(rows):
            try:
                text = text_of(row, self.text_column, may_be_empty=True)
            except DataError as error:
                if not count and self.text_column not in row.values:
                    raise _NoTextColumn(error) from error
                self.bad.take(error)
                continue
            if self.separator.kind in ("auto", "none"):
                yield from _gathered([text], Separator("none"), row.file, row.line)
            else:
                yield from _gathered([text], self.separator, row.file, row.line)

    def _checked(self, documents: Iterator[Document]) -> Iterator[Document]:
        """Without those that hold what is no text."""
        is_open = False
        for document in documents:
            if found := _NOT_TEXT.search(document.text):
                self.bad.take(_not_text(document, found))
                if not (is_open and document.is_end):
                    continue
                document = Document("", document.file, document.line)
            is_open = not document.is_end
            yield document


def _not_text(document: Document, found: re.Match[str]) -> DataError:
    line = document.line + document.text.count("\n", 0, found.start())
    code = ord(found[0])
    if not code:
        return bad_row(document.file, line, "a zero byte: this is no text")
    if 0xDC80 <= code <= 0xDCFF:
        reason = f"not valid UTF-8 (byte 0x{code - 0xDC00:02x})"
        undecoded = bytes(ord(c) - 0xDC00 for c in document.text if 0xDC80 <= ord(c) <= 0xDCFF)
        return bad_row(document.file, line, reason, hint=encoding_hint(undecoded))
    return bad_row(document.file, line, "half a character (a lone surrogate)")


def _gathered(
    chunks: Iterable[str], separator: Separator, file: str, line: int = 1
) -> Iterator[Document]:
    """Documents of the separator's parts; what is too short joins the next."""
    chunks = iter(chunks)
    first = next(chunks, "")
    separator = separator.for_text(first)
    is_stripped = separator.kind != "none"
    least = separator.least_characters
    open_: _Open | None = None
    for part in separator.parts(itertools.chain([first], chunks)):
        if open_ is None or (part.begins and open_.length >= least):
            if open_ is not None:
                yield from open_.end()
            open_ = _Open(file, line + part.line - 1, is_stripped)
        yield from open_.add(part.text)
    if open_ is not None:
        yield from open_.end()


class _Open:
    """A document that is being put together."""

    def __init__(self, file: str, line: int, is_stripped: bool) -> None:
        self.length = 0
        """Characters so far, blank space at the beginning not counted."""
        self._file, self._line, self._is_stripped = file, line, is_stripped
        self._held: list[str] = []
        self._held_length = 0
        self._is_begun = False

    def add(self, text: str) -> Iterator[Document]:
        """Take more text; yields a part when too much is held."""
        if self._is_stripped and not self.length:
            blank = _BLANK_START.match(text)
            self._line += text.count("\n", 0, blank.end()) if blank else 0
            text = text[blank.end() :] if blank else text
            if not text.strip():
                return
        self._held.append(text)
        self._held_length += len(text)
        self.length += len(text)
        if self._held_length > LONGEST_PART:
            *whole, rest = cut("".join(self._held), LONGEST_PART // 2)
            for piece in whole:
                yield Document(piece, self._file, self._line, is_end=False)
                self._line += piece.count("\n")
            self._held, self._held_length = [rest], len(rest)
            self._is_begun = True

    def end(self) -> Iterator[Document]:
        """The document, or what is left of it."""
        text = "".join(self._held)
        if self._is_stripped:
            text = text.rstrip()
        if text.strip() or self._is_begun:
            yield Document(text, self._file, self._line)


def cut(text: str, length: int) -> list[str]:
    """Cut a text into pieces of at most `length` characters, where words end if possible.

    A byte-level tokenizer makes the same tokens of the pieces as of the whole, where there is a
    space or a line end behind a letter.
    """
    pieces = []
    start = 0
    while len(text) - start > length:
        stop = start + length
        for pattern in _SAFE_CUTS:
            places = [match.end() for match in pattern.finditer(text, stop - length // 4, stop)]
            if places:
                stop = places[-1]
                break
        pieces.append(text[start:stop])
        start = stop
    return [*pieces, text[start:]]


def keep_standard_input(stdin: BinaryIO, path: Path) -> Path:
    """Write standard input to a file, so that it can be read twice; raises `OSError`.

    The file has its name once all is read. What is interrupted leaves neither it nor its folder.
    """
    aside = path.with_name(f"{path.name}.partial")
    try:
        with aside.open("wb") as file:
            while data := stdin.read(_COPIED_BYTES):
                file.write(data)
        return aside.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            aside.unlink()
            path.parent.rmdir()
        raise
