"""The text of a run as token ids in its folder: `checkpoints/data/`.

    input        standard input, kept to be read twice and by a resumed run
    tokenizer    the new tokenizer
    tokens       all documents (`hfgen.training.corpus.store`)
    validation   those of `--val-data`

A resumed run takes what is there, and refuses other data; a new one uses the ids again where
nothing has changed. Of several processes the first one writes, the others wait and read. The
tokenizer is trained on all text but the files that are held out by name.
"""

from __future__ import annotations

import fnmatch
import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from hfgen.errors import OptionConflict, OutputError
from hfgen.mentions import mention
from hfgen.training.corpus.documents import Document, keep_standard_input, read_documents
from hfgen.training.corpus.store import (
    PIECES,
    TOKENS,
    Origin,
    TokenStore,
    build_store,
    fingerprint_of,
    open_store,
)
from hfgen.training.corpus.token_streams import StoreSplit, TokenStream, everything, split_store
from hfgen.training.corpus.tokenizer import (
    existing_tokenizer,
    save_tokenizer,
    train_bpe,
    train_characters,
)
from hfgen.training.events import Listener
from hfgen.training.options.pretrain import CHARACTERS, PretrainOptions
from hfgen.training.reading.file_stamps import stamp_files
from hfgen.training.reading.rows import BadRows
from hfgen.training.reading.validation_files import part_notices, validation_paths

FOLDER = "data"
_INPUT, _TOKENIZER, _TRAINING, _VALIDATION = "input", "tokenizer", "tokens", "validation"
_MEGABYTE = 1 << 20
# Unless it is asked for, validation has so many tokens at least and at most.
_VAL_TOKENS = (20_000, 200_000)
_MOST_HELD_OUT = 0.1


@dataclass(frozen=True)
class Corpus:
    """Text to learn from, and to validate on."""

    tokenizer: Any
    train: TokenStream
    validation: TokenStream | None
    fingerprint: str
    """A hash of all ids, in order, and of where pieces of text begin and end."""
    notices: tuple[str, ...]
    no_validation: str | None
    """Why there is none although some was asked for."""
    skipped: int


class CorpusFolder:
    """Makes the corpus of one run, or finds it."""

    def __init__(
        self,
        folder: Path,
        options: PretrainOptions,
        listener: Listener,
        *,
        is_resumed: bool,
        offline: bool,
    ) -> None:
        self._folder = folder
        self._options = options
        self._listener = listener
        self._is_resumed = is_resumed
        self._offline = offline
        self._bad = BadRows(options.value("on_bad_row"))
        self._notices: list[str] = []

    def make(
        self,
        paths: Sequence[str],
        stdin: BinaryIO | None,
        *,
        tokenizer: Any = None,
        vocab_size: int,
        window: int | None,
        is_first: bool,
    ) -> Corpus:
        """Read and encode the text; a process that is not the first takes what that one made.

        Without a `tokenizer` the options' is loaded or trained, to `vocab_size` tokens and a model
        of this `window`. Raises `DataError` and `OutputError`, and `OptionConflict` where a
        resumed run finds other data.
        """
        named = validation_paths(paths, self._options)
        self._notices += part_notices(paths, self._options)
        if is_first:
            self._make_folder()
            paths, named = ([self._kept(path, stdin) for path in group] for group in (paths, named))
        is_whole = not is_first or self._is_resumed
        tokenizer = tokenizer or self._tokenizer(paths, vocab_size, window, is_there=is_whole)
        store = self._store(_TRAINING, paths, tokenizer, is_first=is_first)
        held = self._store(_VALIDATION, named, tokenizer, is_first=is_first) if named else None
        parts = self._split(store, held)
        return Corpus(
            tokenizer=tokenizer,
            train=parts.train,
            validation=parts.validation,
            fingerprint=_fingerprint([store] if held is None else [store, held]),
            notices=tuple(self._notices),
            no_validation=parts.notice if parts.validation is None else None,
            skipped=self._bad.count,
        )

    def _make_folder(self) -> None:
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise _unwritable(self._folder, error) from error

    def _kept(self, path: str, stdin: BinaryIO | None) -> str:
        """The path; of standard input, that of its copy."""
        if path != "-" or stdin is None:
            return path
        copy = self._folder / _INPUT
        if not (self._is_resumed and copy.exists()):
            self._listener.stage("reading standard input …")
            try:
                keep_standard_input(stdin, copy)
            except OSError as error:
                raise _unwritable(copy, error) from error
        return str(copy)

    def _tokenizer(
        self, paths: Sequence[str], vocab_size: int, window: int | None, *, is_there: bool
    ) -> Any:
        asked = self._options.tokenizer
        if asked not in (None, CHARACTERS):
            return existing_tokenizer(asked, offline=self._offline, progress=self._listener.stage)
        folder = self._folder / _TOKENIZER
        if is_there and folder.exists():
            return existing_tokenizer(str(folder))
        self._listener.stage("training a tokenizer …")
        texts = self._texts(paths)
        if asked == CHARACTERS:
            tokenizer = train_characters(texts, window=window)
        else:
            is_asked = self._options.vocab_size is not None
            tokenizer = train_bpe(texts, vocab_size, window=window, may_be_smaller=not is_asked)
            if len(tokenizer) < vocab_size:
                self._notices.append(
                    f"the text yields a vocabulary of only {len(tokenizer):,} tokens"
                )
        save_tokenizer(tokenizer, folder)
        return existing_tokenizer(str(folder))

    def _texts(self, paths: Sequence[str]) -> Iterator[str]:
        """All text but that of files held out by name; bad documents are counted later."""
        patterns = self._options.held_out or ()
        quiet = BadRows(self._bad.policy)
        for document in self._documents(paths, quiet):
            if not any(_matches(document.file, pattern) for pattern in patterns):
                yield document.text

    def _documents(self, paths: Sequence[str], bad: BadRows) -> Iterator[Document]:
        is_counted = bad is self._bad
        return read_documents(
            paths,
            separator=self._options.separator,
            bad=bad,
            text_column=self._options.value("text_column"),
            notify=self._notices.append if is_counted else None,
        )

    def _store(
        self, name: str, paths: Sequence[str], tokenizer: Any, *, is_first: bool
    ) -> TokenStore:
        folder = self._folder / name
        origin = Origin(
            fingerprint_of(tokenizer),
            self._options.value("document_separator"),
            self._options.value("text_column"),
        )
        found = open_store(folder, origin, paths if is_first else None)
        if found is not None:
            return found
        if not is_first:
            raise OutputError(
                f"the encoded data are not in {folder}",
                hint="all processes need the same output folder (-o)",
            )
        if self._is_resumed and folder.exists():
            raise OptionConflict(
                "the run was begun with other data: the files have changed since",
                hint="resume with the same settings and data, or start over: "
                f"{mention('overwrite', True)}",
            )
        self._listener.stage("encoding …")
        return build_store(
            folder,
            self._documents(paths, self._bad),
            tokenizer,
            origin,
            stamp_files(paths),
            progress=lambda done: self._listener.stage(f"encoded: {done / _MEGABYTE:,.0f} MB"),
        )

    def _split(self, store: TokenStore, held: TokenStore | None) -> StoreSplit:
        if self._bad.count:
            first = self._bad.reasons[0]
            self._notices.append(f"bad documents skipped: {self._bad.count}, the first: {first}")
        if held is not None:
            return StoreSplit(everything(store), everything(held))
        parts = split_store(
            store,
            _fraction(self._options, store.tokens),
            self._options.value("seed"),
            held_out=self._options.held_out or (),
        )
        if parts.notice:
            self._notices.append(parts.notice)
        return parts


def _fraction(options: PretrainOptions, tokens: int) -> float:
    """The part held out: unasked, enough to tell something, and no more than that takes."""
    if options.val_split is not None:
        return options.val_split
    least, most = (count / tokens for count in _VAL_TOKENS)
    return min(max(float(options.value("val_split")), least), _MOST_HELD_OUT, most)


def _matches(file: str, pattern: str) -> bool:
    return any(fnmatch.fnmatchcase(name, pattern) for name in (file, Path(file).name))


def _fingerprint(stores: Sequence[TokenStore]) -> str:
    hashed = hashlib.sha256()
    for store in stores:
        for name in (TOKENS, PIECES):
            with (store.folder / name).open("rb") as file:
                hashed.update(hashlib.file_digest(file, "sha256").digest())
    return hashed.hexdigest()


def _unwritable(path: Path, error: OSError) -> OutputError:
    return OutputError(
        f"cannot write {path}: {error.strerror or error}",
        hint=f"free some space, or name another folder: {mention('output', 'DIR')}",
    )
