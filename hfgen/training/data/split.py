"""Holding rows out for validation, by what they are and not by where they stand.

A row is held out when a hash of the seed and its ids is small. So it stays on its side when rows
are added, removed or put in another order, and two equal rows are never on both sides.

Data of few rows that are long texts (a novel, a play) is split by windows instead; data that is
tiny either way is not split.
"""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from hfgen.errors import InvalidOption
from hfgen.training.data.encode import EncodedExample

MIN_ROWS = 50
"""Fewer different rows than this are all needed for training."""


@dataclass(frozen=True)
class Split:
    """Both sides, each in the order of the data."""

    train: list[EncodedExample]
    validation: list[EncodedExample]
    notice: str | None = None
    """Why nothing was held out although some was asked for."""


def split(rows: Sequence[Sequence[EncodedExample]], fraction: float, seed: int) -> Split:
    """Hold out about `fraction` of the rows; each row is what it became, mostly one example."""
    if not 0 <= fraction < 1:
        raise InvalidOption("val_split", fraction, "a number from 0, below 1")
    everything = [part for row in rows for part in row]
    if fraction == 0:
        return Split(everything, [])
    groups: list[Sequence[EncodedExample]] = list(rows)
    digests = [digest(row) for row in groups]
    if len(set(digests)) < MIN_ROWS:
        groups = [[part] for part in everything]
        digests = [digest(row) for row in groups]
    if (count := len(set(digests))) < MIN_ROWS:
        are = "row is" if count == 1 else "rows are"
        notice = f"no validation: {count} {are} too few to hold some out (from {MIN_ROWS} on)"
        return Split(everything, [], notice)
    train: list[EncodedExample] = []
    validation: list[EncodedExample] = []
    for row, key in zip(groups, digests, strict=True):
        (validation if is_held_out(key, fraction, seed) else train).extend(row)
    if not validation or not train:
        side = "every row" if validation else "no row"
        return Split(everything, [], f"no validation: the seed would hold out {side}")
    return Split(train, validation)


def digest(row: Iterable[EncodedExample]) -> bytes:
    """A hash of a row's ids and of which are learned."""
    hashed = hashlib.sha256()
    for part in row:
        hashed.update(len(part.ids).to_bytes(8, "little"))
        hashed.update(array("q", part.ids).tobytes())
        hashed.update(bytes(part.is_learned))
    return hashed.digest()


def fingerprint(rows: Iterable[Iterable[EncodedExample]]) -> str:
    """A hash of the data as the model sees it, in order, as hexadecimal digits."""
    hashed = hashlib.sha256()
    for row in rows:
        hashed.update(digest(row))
    return hashed.hexdigest()


def is_held_out(key: bytes, fraction: float, seed: int) -> bool:
    """Whether what has this key is among the `fraction` of all that is held out."""
    drawn = hashlib.sha256(f"{seed}:".encode() + key).digest()
    return int.from_bytes(drawn[:8], "big") < fraction * 2**64
