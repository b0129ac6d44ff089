"""`SlotCache`: a Transformers cache whose rows come and go.

Rows have different lengths but share one write position: every row's newest token stands in the
last used column, so a row of length n fills the n columns before it.

    column     0 1 2 3 4 5 6 7 8      `end` = 7: the next token of every row is written there
    row 0      . . a b c d e          `first[0]` = 2
    row 1      . . . . . p q          `first[1]` = 5
    mask       columns from `first[row]` on

Why: one slice assignment stores a step for all rows, keys are read as one view without a copy,
and everything that a model derives from key *positions* (GPT-Neo's local attention, ALiBi,
sliding windows, positions counted from the 2D mask) comes out right, because this is the shape
that Transformers' models are written for. Nothing is padded: a prompt is computed at its own
length, and only its keys are put into place.

When the columns run out, the used ones are moved to the front, or the storage grows.
"""

from __future__ import annotations

from typing import Any

import torch
from transformers.cache_utils import Cache, CacheLayerMixin, DynamicCache

_GROWTH = 1.5


class _Columns:
    """Which columns and rows are in use; shared by all layers."""

    def __init__(self) -> None:
        self.rows = 0
        self.first: list[int] = []
        """The first column of each row."""
        self.start = 0
        """The first column in use by any row."""
        self.end = 0

    def set_first(self, first: list[int]) -> None:
        self.first = first
        self.rows = len(first)
        self.start = min(first, default=self.end)


class SlotLayer(CacheLayerMixin):  # type: ignore[misc]
    """Keys and values of one layer, (rows, heads, columns, head size)."""

    is_sliding = False

    def __init__(self, columns: _Columns) -> None:
        super().__init__()
        self._columns = columns

    def lazy_initialization(self, key_states: torch.Tensor, value_states: torch.Tensor) -> None:
        raise RuntimeError("rows are put in by SlotCache.insert")

    def resize(self, like: Any, rows: int, columns: int) -> None:
        """Allocate for so many rows and columns and keep what is there; `like` tells the shapes."""
        for name in ("keys", "values"):
            old = getattr(self, name)
            model = getattr(like, name)
            new = torch.zeros(
                (rows, model.shape[1], columns, model.shape[3]),
                dtype=model.dtype,
                device=model.device,
            )
            if old is not None:
                new[: old.shape[0], :, : old.shape[2]] = old
            setattr(self, name, new)
        self.is_initialized = True

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Store one new column; return all columns in use, as views."""
        used = self._columns
        self.keys[: used.rows, :, used.end] = key_states[:, :, 0]
        self.values[: used.rows, :, used.end] = value_states[:, :, 0]
        return (
            self.keys[: used.rows, :, used.start : used.end + 1],
            self.values[: used.rows, :, used.start : used.end + 1],
        )

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        return self.get_seq_length() + query_length, 0

    def get_seq_length(self) -> int:
        return self._columns.end - self._columns.start

    def get_max_length(self) -> int:
        return -1


class SlotCache(Cache):  # type: ignore[misc]
    """The rows being decoded; row numbers are 0 … `rows` - 1, without gaps."""

    def __init__(self) -> None:
        self._used = _Columns()
        self._row_capacity = 0
        self._column_capacity = 0
        self._wasted = 0
        """Columns of single rows that were read in vain since the rows were sorted."""
        super().__init__(layers=[])

    @property
    def rows(self) -> int:
        """How many rows are in use."""
        return self._used.rows

    def length(self, row: int) -> int:
        """Tokens of a row that are in the cache."""
        return self._used.end - self._used.first[row]

    def step_mask(self) -> torch.Tensor | None:
        """The 2D mask (rows, columns) of the next step, the new column included.

        None when no row has a column masked.
        """
        used = self._used
        if all(first == used.start for first in used.first):
            return None
        device = self.layers[0].keys.device
        columns = torch.arange(used.start, used.end + 1, device=device)
        first = torch.tensor(used.first, device=device)
        return (columns >= first[:, None]).long()

    def blocks(self, size: int) -> list[tuple[slice, int]]:
        """Neighbouring rows, so many at a time, and how many columns in use they can leave out."""
        used = self._used
        return [
            (slice(at, at + size), min(used.first[at : at + size]) - used.start)
            for at in range(0, used.rows, size)
        ]

    def sort_rows(self, block_rows: int) -> list[int] | None:
        """Sort the rows by length if that pays; return the old numbers in the new order.

        Blocks of rows of unlike lengths make each step read columns in vain. When they have added
        up to what sorting reads and writes, the rows are sorted.
        """
        used = self._used
        lengths = [used.end - first for first in used.first]
        sorted_lengths = sorted(lengths, reverse=True)
        self._wasted += _read(lengths, block_rows) - _read(sorted_lengths, block_rows)
        if self._wasted <= 2 * used.rows * (used.end - used.start):
            return None
        self._wasted = 0
        order = sorted(range(used.rows), key=lambda row: used.first[row])
        for layer in self.layers:
            for stored in (layer.keys, layer.values):
                stored[: used.rows, :, used.start : used.end] = stored[
                    order, :, used.start : used.end
                ]
        used.set_first([used.first[row] for row in order])
        return order

    def prepare_step(self) -> None:
        """Make room for one more column."""
        if self._used.end == self._column_capacity:
            longest = self._used.end - self._used.start
            if longest * _GROWTH > self._column_capacity:
                self._resize(self._row_capacity, int(longest * _GROWTH) + 64, self)
            if self._used.start:
                self._move(-self._used.start)

    def finish_step(self) -> None:
        """Count the column that the model's forward pass has stored in every layer."""
        self._used.end += 1

    def insert(self, prefilled: DynamicCache, index: int, *, reserve: int) -> int:
        """Copy row `index` of a prefilled cache into a new row; return the row's number.

        `reserve` is how many more tokens to make room for at once; beyond it the storage grows.
        """
        length = prefilled.get_seq_length()
        used = self._used
        if used.rows == 0:
            used.end = length
        shift = max(0, length - used.end)
        rows = max(self._row_capacity, used.rows + 1)
        if rows > self._row_capacity and self._row_capacity:
            rows = self._row_capacity * 2
        columns = max(self._column_capacity, used.end + shift + (reserve if not used.rows else 1))
        self._resize(rows, columns, prefilled)
        if shift:
            self._move(shift)
        row = used.rows
        used.set_first([*used.first, used.end - length])
        for layer, source in zip(self.layers, prefilled.layers, strict=True):
            layer.keys[row, :, used.end - length : used.end] = source.keys[index]
            layer.values[row, :, used.end - length : used.end] = source.values[index]
        return row

    def remove(self, row: int) -> None:
        """Free a row; the last row takes its number.

        What stays behind in the freed storage is finite or zeroed: masked attention multiplies it
        by 0, which would spread NaN to other rows.
        """
        used = self._used
        last = used.rows - 1
        columns = slice(used.start, used.end)
        if row != last:
            for layer in self.layers:
                layer.keys[row, :, columns] = layer.keys[last, :, columns]
                layer.values[row, :, columns] = layer.values[last, :, columns]
            used.first[row] = used.first[last]
        used.set_first(used.first[:last])

    def copy(self, row: int) -> DynamicCache:
        """A row's keys and values, in a cache of their own."""
        used = self._used
        columns = slice(used.first[row], used.end)
        copied = DynamicCache()
        for index, layer in enumerate(self.layers):
            keys, values = (
                stored[row : row + 1, :, columns].clone() for stored in (layer.keys, layer.values)
            )
            copied.update(keys, values, index)
        return copied

    def wipe(self, row: int) -> None:
        """Zero a row's storage (before removing one that may hold NaN)."""
        for layer in self.layers:
            layer.keys[row] = 0
            layer.values[row] = 0

    def _resize(self, rows: int, columns: int, like: Any) -> None:
        if rows <= self._row_capacity and columns <= self._column_capacity:
            return
        while len(self.layers) < len(like.layers):
            self.layers.append(SlotLayer(self._used))
        for layer, source in zip(self.layers, like.layers, strict=True):
            layer.resize(source, rows, columns)
        self._row_capacity, self._column_capacity = rows, columns

    def _move(self, shift: int) -> None:
        """Move the used columns of every row by `shift`."""
        used = self._used
        source = slice(used.start, used.end)
        target = slice(used.start + shift, used.end + shift)
        for layer in self.layers:
            layer.keys[: used.rows, :, target] = layer.keys[: used.rows, :, source].clone()
            layer.values[: used.rows, :, target] = layer.values[: used.rows, :, source].clone()
        used.end += shift
        used.set_first([first + shift for first in used.first])


def _read(lengths: list[int], block_rows: int) -> int:
    """How many columns of single rows a step reads, in blocks as long as their longest row."""
    starts = range(0, len(lengths), block_rows)
    blocks = [lengths[at : at + block_rows] for at in starts]
    return sum(len(block) * max(block) for block in blocks)
