"""From encoded rows to tensors: padded, dense or packed, with labels of exactly what is learned.

`labels (B, T)` follow Transformers: -100 is not learned, and a model shifts them by one, so that
`labels[:, t]` is predicted from the tokens up to `t - 1`. They come from `is_learned` by position,
never from a token's id: the id that pads is often the one that ends texts.

Packed rows hold several documents, told apart by `position_ids` that begin again at 0.
Transformers keeps them from seeing each other where `attention_mask` is None and no cache is used
(`use_cache=False`) and the model's attention looks at positions; `leak` measures whether it does.
"""

from __future__ import annotations

import bisect
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from hfgen.training.data.encode import EncodedExample

IGNORED = -100
LEAK_LIMIT = 1e-3
"""A float32 model whose `leak` is larger must not be trained on packed rows."""


def labels_of(example: EncodedExample) -> list[int]:
    """The row's ids where they are learned, -100 elsewhere and at the first."""
    pairs = zip(example.ids, example.is_learned, strict=True)
    labels = [token_id if is_learned else IGNORED for token_id, is_learned in pairs]
    return [IGNORED, *labels[1:]]


class Padded:
    """Collates rows to `input_ids`, `attention_mask` and `labels` (B, T), padded on the right.

    `pad_id` may be any id of the vocabulary: it is masked by position.
    """

    def __init__(self, pad_id: int, *, multiple_of: int = 1) -> None:
        self.pad_id = pad_id
        self.multiple_of = multiple_of

    def __call__(self, examples: Sequence[EncodedExample]) -> dict[str, torch.Tensor]:
        length = max(len(example.ids) for example in examples)
        shape = (len(examples), -(-length // self.multiple_of) * self.multiple_of)
        batch = {
            "input_ids": torch.full(shape, self.pad_id),
            "attention_mask": torch.zeros(shape, dtype=torch.long),
            "labels": torch.full(shape, IGNORED),
        }
        for row, example in enumerate(examples):
            end = len(example.ids)
            batch["input_ids"][row, :end] = torch.tensor(example.ids)
            batch["attention_mask"][row, :end] = 1
            batch["labels"][row, :end] = torch.tensor(labels_of(example))
        return batch


@dataclass(frozen=True, slots=True)
class PackedRow:
    """Documents one after another; positions begin again at each."""

    ids: list[int] = field(default_factory=list)
    labels: list[int] = field(default_factory=list)
    position_ids: list[int] = field(default_factory=list)

    def add(self, example: EncodedExample) -> None:
        self.ids.extend(example.ids)
        self.labels.extend(labels_of(example))
        self.position_ids.extend(range(len(example.ids)))


def pack(examples: Sequence[EncodedExample], length: int) -> list[PackedRow]:
    """Put whole examples into rows of at most `length` tokens, longest first, where they fit best.

    The same examples give the same rows. Each example is in one row, uncut; the examples of a row,
    and the rows by their first example, are in the order given.
    """
    bins: list[list[int]] = []
    # (room left, bin), ordered: the first with enough room is the one that fits best.
    rooms: list[tuple[int, int]] = []
    for index in sorted(range(len(examples)), key=lambda i: -len(examples[i].ids)):
        size = len(examples[index].ids)
        if size > length:
            raise ValueError(f"an example of {size} tokens does not fit a row of {length}")
        place = bisect.bisect_left(rooms, (size, -1))
        if place == len(rooms):
            bins.append([index])
            bisect.insort(rooms, (length - size, len(bins) - 1))
            continue
        room, number = rooms.pop(place)
        bins[number].append(index)
        bisect.insort(rooms, (room - size, number))
    rows = []
    for members in sorted(sorted(members) for members in bins):
        row = PackedRow()
        for index in members:
            row.add(examples[index])
        rows.append(row)
    return rows


class Packed:
    """Collates packed rows to `input_ids`, `position_ids` and `labels` (B, T), and no mask.

    What pads a row is one more document, of which nothing is learned.
    """

    def __init__(self, pad_id: int, *, length: int | None = None) -> None:
        self.pad_id = pad_id
        self.length = length
        """Pad to this length; None pads to the longest row of the batch."""

    def __call__(self, rows: Sequence[PackedRow]) -> dict[str, torch.Tensor]:
        length = self.length or max(len(row.ids) for row in rows)
        rooms = [length - len(row.ids) for row in rows]
        filled = list(zip(rows, rooms, strict=True))
        columns = {
            "input_ids": [row.ids + [self.pad_id] * room for row, room in filled],
            "position_ids": [row.position_ids + list(range(room)) for row, room in filled],
            "labels": [row.labels + [IGNORED] * room for row, room in filled],
        }
        return {name: torch.tensor(values) for name, values in columns.items()}


class Dense:
    """Collates rows as `Packed`, several in one wherever they fit: the same loss, less padding.

    The rows are as long as the longest example. Only for models whose `leak` is small.
    """

    def __init__(self, pad_id: int) -> None:
        self._packed = Packed(pad_id)

    def __call__(self, examples: Sequence[EncodedExample]) -> dict[str, torch.Tensor]:
        return self._packed(pack(examples, max(len(example.ids) for example in examples)))


@torch.no_grad()
def leak(model: Any, *, length: int = 8) -> float:
    """How far a document's logits differ between a packed row and the document alone.

    The largest difference, in standard deviations of the logits: rounding where packing is safe
    (about 1e-6 in float32, up to 0.05 in bfloat16); from 0.05 (untrained) to more than 1 for a
    model that does not tell documents apart by positions (BLOOM's ALiBi, OPT), which must not be
    trained on packed rows. So `LEAK_LIMIT` is for a model in float32.
    """
    weight = model.get_input_embeddings().weight
    vocabulary = int(weight.shape[0])
    generator = torch.Generator().manual_seed(0)
    documents = torch.randint(vocabulary, (2, length), generator=generator).to(weight.device)
    positions = torch.arange(length, device=weight.device)
    was_training = model.training
    model.eval()
    try:
        packed = model(
            input_ids=documents.reshape(1, -1),
            position_ids=positions.repeat(2).unsqueeze(0),
            use_cache=False,
        ).logits
        alone = model(
            input_ids=documents[1:], position_ids=positions.unsqueeze(0), use_cache=False
        ).logits
    finally:
        model.train(was_training)
    difference = packed[:, length:].float() - alone.float()
    return float(difference.abs().max() / alone.float().std())
