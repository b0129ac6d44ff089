"""A text collection as token ids in one memory-mapped file, encoded once and used again.

    tokens.bin    every document's ids and EOS, in the order of the data; uint16 where they fit
    pieces.npy    for each piece of about 4,096 characters: where its ids begin, its bytes of text,
                  its file, a hash of its document, whether that ends with it
    index.json    what it was made of: files with size, time and SHA-256; tokenizer; separator

It is written aside and renamed when it is complete. `open_store` gives it back where nothing it
was made of has changed: files of the same size and time are not read again, others are compared
by their SHA-256. Documents are encoded as a stream: memory for a batch of pieces, whatever the
size of the data.

The ids are those of `encode` for each whole document (pieces end where words end), special tokens
written in a text being text, and no token is put in front. How tokens become rows of a model is
`hfgen.training.corpus.token_streams`.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from hfgen.errors import DataError
from hfgen.models.atomic_folder import explained
from hfgen.training.corpus.documents import Document, cut
from hfgen.training.reading.file_stamps import FileStamp, are_unchanged

TOKENS, PIECES, INDEX = "tokens.bin", "pieces.npy", "index.json"
PIECE_CHARACTERS = 4096
_BATCH_CHARACTERS = 1 << 21
_VERSION = 1
_ROOM = "it takes about half as much space as the text: free some, or choose another folder (-o)"
PIECE_TYPE = np.dtype(
    [("start", "<i8"), ("bytes", "<i4"), ("file", "<i4"), ("document", "<u8"), ("is_end", "?")]
)


@dataclass(frozen=True)
class Origin:
    """What a store was made of, but for its files."""

    tokenizer: str
    """SHA-256 of the tokenizer, as `fingerprint_of` tells it."""
    separator: str
    text_column: str = "text"


@dataclass(frozen=True)
class TokenStore:
    """The ids of all documents, on disk."""

    folder: Path
    eos_id: int
    ids: Any
    """(N,) of uint16 or uint32, memory-mapped."""
    pieces: Any
    """One record of `PIECE_TYPE` for each piece."""
    files: tuple[str, ...]
    """The files that documents came from; `pieces["file"]` counts them."""

    @property
    def tokens(self) -> int:
        """All ids, EOS included."""
        return len(self.ids)

    @property
    def documents(self) -> int:
        """How many there are."""
        return int(self.pieces["is_end"].sum())

    @property
    def bytes(self) -> int:
        """Bytes of text; EOS has none."""
        return int(self.pieces["bytes"].sum())

    def __reduce__(self) -> Any:
        # A memory map would be copied into the pickle whole.
        return _load, (self.folder,)


def fingerprint_of(tokenizer: Any) -> str:
    """A hash of all that decides a text's ids."""
    return hashlib.sha256(tokenizer.backend_tokenizer.to_str().encode()).hexdigest()


def build_store(
    folder: Path,
    documents: Iterable[Document],
    tokenizer: Any,
    origin: Origin,
    stamps: Sequence[FileStamp] = (),
    *,
    progress: Callable[[int], None] | None = None,
) -> TokenStore:
    """Encode the documents into `folder`; an older store there goes when the new one is whole.

    `progress` gets the bytes of text done. Raises `OutputError` where it cannot be written, and
    what reading the documents raises; nothing is left behind then.
    """
    aside = folder.with_name(folder.name + ".building")
    with explained(folder, hint=_ROOM):
        try:
            return _build(folder, aside, documents, tokenizer, origin, stamps, progress)
        finally:
            shutil.rmtree(aside, ignore_errors=True)


def _build(
    folder: Path,
    aside: Path,
    documents: Iterable[Document],
    tokenizer: Any,
    origin: Origin,
    stamps: Sequence[FileStamp],
    progress: Callable[[int], None] | None,
) -> TokenStore:
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir(parents=True)
    with (aside / TOKENS).open("wb") as file:
        writer = _Writer(file, tokenizer)
        for batch in _batches(documents):
            writer.write(batch)
            if progress is not None:
                progress(writer.bytes)
    np.save(aside / PIECES, writer.table())
    index = {
        "version": _VERSION,
        "eos_id": writer.eos_id,
        "type": writer.type.name,
        "tokens": writer.tokens,
        "documents": sum(writer.columns["is_end"]),
        "bytes": writer.bytes,
        "origin": asdict(origin),
        "stamps": [asdict(stamp) for stamp in stamps],
        "files": list(writer.files),
    }
    (aside / INDEX).write_text(json.dumps(index, indent=2, ensure_ascii=False) + "\n", "utf-8")
    shutil.rmtree(folder, ignore_errors=True)
    aside.rename(folder)
    return _load(folder)


def open_store(
    folder: Path, origin: Origin, paths: Sequence[str | Path] | None = None
) -> TokenStore | None:
    """The store in `folder`, if it is whole and of the same data; None otherwise.

    Without `paths` the files are not looked at.
    """
    try:
        index = json.loads((folder / INDEX).read_text("utf-8"))
        stamps = [FileStamp(**stamp) for stamp in index["stamps"]]
        same = index["version"] == _VERSION and Origin(**index["origin"]) == origin
        if not same or (paths is not None and not are_unchanged(stamps, paths)):
            return None
        return _load(folder)
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _load(folder: Path) -> TokenStore:
    index = json.loads((folder / INDEX).read_text("utf-8"))
    type_ = np.dtype(index["type"])
    if (folder / TOKENS).stat().st_size != index["tokens"] * type_.itemsize:
        raise ValueError(f"{folder / TOKENS} is not complete")
    ids = np.memmap(folder / TOKENS, type_, mode="r")
    pieces = np.load(folder / PIECES, mmap_mode="r", allow_pickle=False)
    return TokenStore(folder, index["eos_id"], ids, pieces, tuple(index["files"]))


@dataclass(frozen=True, slots=True)
class _Piece:
    text: str
    file: str
    document: int
    is_end: bool


def _batches(documents: Iterable[Document]) -> Iterator[list[_Piece]]:
    batch: list[_Piece] = []
    size = 0
    for piece in _pieces(documents):
        batch.append(piece)
        size += len(piece.text)
        if size >= _BATCH_CHARACTERS:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _pieces(documents: Iterable[Document]) -> Iterator[_Piece]:
    key: int | None = None
    for document in documents:
        texts = cut(document.text, PIECE_CHARACTERS)
        if key is None:
            # Of a very long document the first part tells it apart well enough.
            key = int.from_bytes(hashlib.sha256(document.text.encode()).digest()[:8], "little")
        for place, text in enumerate(texts, 1):
            is_end = document.is_end and place == len(texts)
            yield _Piece(text, document.file, key, is_end)
        if document.is_end:
            key = None


@dataclass
class _Writer:
    """Encodes pieces and appends their ids to a file."""

    file: BinaryIO
    tokenizer: Any
    tokens: int = 0
    bytes: int = 0
    files: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        from tokenizers import Tokenizer

        self.eos_id = int(self.tokenizer.eos_token_id)
        self.type = np.dtype("uint16" if len(self.tokenizer) <= 1 << 16 else "uint32")
        self.columns = {name: array(code) for name, code in zip(_NAMES, "qiiQb", strict=True)}
        # Of one's own: the setting below would stay with the caller's.
        self._backend = Tokenizer.from_str(self.tokenizer.backend_tokenizer.to_str())
        self._backend.encode_special_tokens = True
        self._backend.no_truncation()
        self._backend.no_padding()

    def write(self, pieces: Sequence[_Piece]) -> None:
        texts = [piece.text for piece in pieces]
        encodings = self._backend.encode_batch_fast(texts, add_special_tokens=False)
        ids = array("I")
        for piece, encoding in zip(pieces, encodings, strict=True):
            size = len(piece.text.encode())
            number = self.files.setdefault(piece.file, len(self.files))
            row = (self.tokens + len(ids), size, number, piece.document, piece.is_end)
            for name, value in zip(_NAMES, row, strict=True):
                self.columns[name].append(value)
            ids.extend(encoding.ids)
            if piece.is_end:
                ids.append(self.eos_id)
            self.bytes += size
        self.file.write(np.frombuffer(ids, np.uint32).astype(self.type).tobytes())
        self.tokens += len(ids)

    def table(self) -> Any:
        """The records of all pieces. Raises `DataError` where there are none."""
        if not self.tokens:
            raise DataError("no text to learn from", hint="name text files, or a folder of them")
        table = np.empty(len(self.columns["start"]), PIECE_TYPE)
        for name, values in self.columns.items():
            table[name] = np.frombuffer(values, values.typecode)
        return table


_NAMES = PIECE_TYPE.names or ()
