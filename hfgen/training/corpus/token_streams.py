"""From a token store to rows of a model: held-out documents, windows, bits per byte.

Tokens of one side of the split make a ring: document, EOS, document, EOS, … and from the last EOS
to the first document. Windows of T ids are cut from it, each beginning with the last id of the one
before; a window's first id is not learned, so that **every token is learned exactly once in an
epoch**, the first of each document behind the EOS before it. The ring is turned by another amount
in each epoch, so that windows begin elsewhere. The last window overlaps the one before it, and
what that one learned is not learned twice: all rows have T ids, and none is padded.

A window knows nothing of documents by default, as in GPT-2 and nanoGPT: attention reaches over an
EOS, which models learn to read as a break; the attention kernels need no mask then, and a window
is full of context. With `is_isolated`, `position_ids` begin again at each EOS and Transformers
keeps documents apart: a document begins with the EOS before it, as `hfgen generate ""` does.

Bits per byte compares models of any tokenizer: the loss of all tokens, EOS included, in bits, by
the UTF-8 bytes of the text, EOS having none.
"""

from __future__ import annotations

import fnmatch
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import PurePath
from typing import Any

import numpy as np
import torch

from hfgen.errors import InvalidOption
from hfgen.training.corpus.store import TokenStore
from hfgen.training.data.collators import IGNORED
from hfgen.training.data.split import MIN_ROWS, is_held_out


@dataclass(frozen=True, slots=True)
class Window:
    """A row: ids (T,), labels (T,) as for a Transformers model, and positions where isolated."""

    ids: Any
    labels: Any
    position_ids: Any = None

    @property
    def tokens(self) -> int:
        """How many of them are learned."""
        return int((self.labels != IGNORED).sum())


class TokenStream:
    """One side of a split: runs of a store's tokens, read as if they were one array."""

    def __init__(self, store: TokenStore, is_member: Any) -> None:
        """`is_member (pieces,)` tells which pieces belong to it."""
        self.store = store
        starts = np.append(store.pieces["start"], store.tokens)
        edges = np.flatnonzero(np.diff(np.concatenate(([0], is_member.astype(np.int8), [0]))))
        self._begins, ends = starts[edges[0::2]], starts[edges[1::2]]
        self._totals = np.concatenate(([0], np.cumsum(ends - self._begins)))
        self.tokens = int(self._totals[-1])
        self.bytes = int(store.pieces["bytes"][is_member].sum())
        """Bytes of text."""
        self.documents = int(store.pieces["is_end"][is_member].sum())

    def read(self, start: int, length: int) -> Any:
        """`length` ids (int64) from `start` on, around the ring where need be."""
        parts = []
        place = start % self.tokens
        while length > 0:
            run = int(np.searchsorted(self._totals, place, side="right")) - 1
            count = min(length, int(self._totals[run + 1]) - place)
            begin = int(self._begins[run]) + place - int(self._totals[run])
            parts.append(self.store.ids[begin : begin + count])
            length -= count
            place = (place + count) % self.tokens
        return np.concatenate(parts).astype(np.int64) if parts else np.empty(0, np.int64)

    def windows(
        self, length: int, *, seed: int | None = None, epoch: int = 0, is_isolated: bool = False
    ) -> Windows:
        """Its rows of `length` ids. With a seed they are turned and shuffled anew each epoch."""
        return Windows(self, length, seed=seed, epoch=epoch, is_isolated=is_isolated)


class Windows(torch.utils.data.Dataset[Window]):
    """The rows of one epoch; a data loader goes through them in order, without shuffling.

    The same seed and epoch give the same rows. Accelerate's loaders call `set_epoch`.
    """

    def __init__(
        self, stream: TokenStream, length: int, *, seed: int | None, epoch: int, is_isolated: bool
    ) -> None:
        if length < 2:
            raise InvalidOption("max_length", length, "a whole number from 2")
        self.stream = stream
        self.length = min(length, stream.tokens + 1)
        """Ids of a row; fewer than asked for where there are no more tokens."""
        self._count = -(-stream.tokens // (self.length - 1))
        self._seed, self._is_isolated = seed, is_isolated
        self.set_epoch(epoch)

    def set_epoch(self, epoch: int) -> None:
        """Turn the ring and shuffle the rows for this epoch."""
        self._turn, self._order = 0, None
        if self._seed is not None:
            drawn = np.random.default_rng([self._seed, epoch])
            self._turn = int(drawn.integers(self.stream.tokens))
            self._order = drawn.permutation(self._count)

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: int) -> Window:
        if not 0 <= index < self._count:
            raise IndexError(index)
        row = index if self._order is None else int(self._order[index])
        learned = self.length - 1
        start = min(row * learned, self.stream.tokens - learned)
        ids = self.stream.read(self._turn + start - 1, self.length)
        labels = ids.copy()
        labels[: 1 + row * learned - start] = IGNORED
        return Window(ids, labels, self._positions(ids) if self._is_isolated else None)

    def _positions(self, ids: Any) -> Any:
        places = np.arange(len(ids))
        begins = np.where(ids == self.stream.store.eos_id, places, 0)
        return places - np.maximum.accumulate(begins)


def stacked(windows: Sequence[Window]) -> dict[str, torch.Tensor]:
    """Collate rows to `input_ids` and `labels` (B, T), isolated ones with `position_ids`."""
    names = {"input_ids": "ids", "labels": "labels"}
    if windows[0].position_ids is not None:
        names["position_ids"] = "position_ids"
    return {
        name: torch.from_numpy(np.stack([getattr(window, column) for window in windows]))
        for name, column in names.items()
    }


@dataclass(frozen=True)
class StoreSplit:
    """Both sides of a store."""

    train: TokenStream
    validation: TokenStream | None
    notice: str | None = field(default=None)
    """Why nothing was held out although some was asked for, or how it was chosen instead."""


def split_store(
    store: TokenStore, fraction: float, seed: int, *, held_out: Sequence[str] = ()
) -> StoreSplit:
    """Hold out documents: those of the files that match a pattern, else about `fraction` of all.

    A document is held out when a hash of the seed and its text is small, so that equal ones are on
    one side and additions move none. Fewer than 50 different documents are too few for that: the
    last `fraction` of the text is held out then. Patterns (`*` and `?`) are compared with a file's
    path and name; one that matches nothing is an `InvalidOption`.
    """
    if not 0 <= fraction < 1:
        raise InvalidOption("val_split", fraction, "a number from 0, below 1")
    notice = None
    if held_out:
        is_val = _of_files(store, held_out)
    elif fraction == 0:
        is_val = np.zeros(len(store.pieces), bool)
    else:
        is_val, notice = _of_fraction(store, fraction, seed)
    if not is_val.any():
        return StoreSplit(TokenStream(store, ~is_val), None, notice)
    return StoreSplit(TokenStream(store, ~is_val), TokenStream(store, is_val), notice)


def everything(store: TokenStore) -> TokenStream:
    """All documents of a store."""
    return TokenStream(store, np.ones(len(store.pieces), bool))


def _of_files(store: TokenStore, patterns: Sequence[str]) -> Any:
    chosen = np.zeros(len(store.files), bool)
    for pattern in patterns:
        matches = [
            fnmatch.fnmatchcase(name, pattern) or fnmatch.fnmatchcase(PurePath(name).name, pattern)
            for name in store.files
        ]
        if not any(matches):
            raise InvalidOption(
                "held_out", pattern, "a pattern that matches some of the data files",
                hint="* stands for any letters, as in '28_*'",
            )  # fmt: skip
        chosen |= np.array(matches)
    if chosen.all():
        raise InvalidOption("held_out", ", ".join(patterns), "not all of the data files")
    return chosen[store.pieces["file"]]


def _of_fraction(store: TokenStore, fraction: float, seed: int) -> tuple[Any, str | None]:
    documents, number = np.unique(store.pieces["document"], return_inverse=True)
    count = len(documents)
    if count >= MIN_ROWS:
        keys = (int(document).to_bytes(8, "little") for document in documents)
        is_val = np.array([is_held_out(key, fraction, seed) for key in keys])[number]
        if is_val.any() and not is_val.all():
            return is_val, None
    is_val = store.pieces["start"] >= (1 - fraction) * store.tokens
    if not is_val.any() or is_val.all():
        return np.zeros(len(is_val), bool), "no validation: there is too little text"
    what = f"the last {100 * fraction:.3g} % of the text"
    few = "1 document is" if count == 1 else f"{count} documents are"
    return is_val, f"validation: {what} ({few} too few to choose from)"


def bits_per_byte(loss: float, tokens: int, bytes_: int) -> float:
    """Bits per byte of text, of a mean loss in nats over `tokens` target tokens."""
    return loss * tokens / (math.log(2) * bytes_)
