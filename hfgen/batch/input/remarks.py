"""What is told about rows while they are read, once each."""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Callable

from hfgen.batch.input.names import without_effect
from hfgen.batch.input.rows import BatchRow, carried_fields

_MOST_FIELDS = 1000


class Remarks:
    """Notices a field that looks like an option and is none, and an id that two rows have."""

    def __init__(self, notify: Callable[[str], None]) -> None:
        self._notify = notify
        self._fields: set[str] = set()
        self._ids: SeenIds | None = SeenIds()

    def look_at(self, row: BatchRow) -> None:
        """Tell what is new."""
        for name in carried_fields(row.said) if row.error is None and row.url is None else ():
            if name not in self._fields and len(self._fields) < _MOST_FIELDS:
                self._fields.add(name)
                if (reason := without_effect(name)) is not None:
                    self._notify(
                        f"{row.place}: the field {name} is carried along and changes nothing; "
                        f"{reason}"
                    )
        own_id = row.said["id"]
        if own_id is not None and self._ids is not None and self._ids.add(own_id):
            self._ids = None  # once is enough
            self._notify(
                f"{row.place}: an earlier row has the id {own_id}, too; index tells rows apart"
            )


class SeenIds:
    """Which ids have come: 64 bits each in an open table, at most two thirds full."""

    def __init__(self) -> None:
        self._table = array("Q", bytes(8 << 10))
        self._count = 0

    def add(self, own_id: str | int) -> bool:
        """Note an id; True where it has come before."""
        text = f"{type(own_id).__name__} {own_id}".encode("utf-8", "surrogatepass")
        mark = int.from_bytes(hashlib.blake2b(text, digest_size=8).digest()) or 1
        if 3 * (self._count + 1) > 2 * len(self._table):
            old, self._table = self._table, array("Q", bytes(16 * len(self._table)))
            for other in filter(None, old):
                self._table[self._place(other)] = other
        place = self._place(mark)
        is_known = self._table[place] == mark
        self._count += not is_known
        self._table[place] = mark
        return is_known

    def _place(self, mark: int) -> int:
        place = mark % len(self._table)
        while self._table[place] not in (0, mark):
            place = (place + 1) % len(self._table)
        return place
