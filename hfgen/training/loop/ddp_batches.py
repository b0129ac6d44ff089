"""How several processes share the rows: each row once, and all have equally many batches.

Accelerate fills up the last batches with rows that were seen already, which counts them twice.
Here they stay short, and a process that has no row left computes one of which nothing is learned:
the others wait for it wherever gradients or weights are exchanged.

A step's rows are those of one process at the same effective batch, in the same order.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from accelerate.data_loader import DataLoaderShard
from torch.utils.data import BatchSampler, Dataset

from hfgen.training.data.collators import IGNORED


@dataclass(frozen=True)
class _Blank:
    """A row of which nothing is learned."""

    row: Any


class _Rows(Dataset[Any]):
    """The rows, and under a negative index ~i row i as a blank."""

    def __init__(self, rows: Any) -> None:
        self._rows = rows

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: int) -> Any:
        return _Blank(self._rows[~index]) if index < 0 else self._rows[index]

    def set_epoch(self, epoch: int) -> None:
        """Have rows that order themselves do so."""
        if hasattr(self._rows, "set_epoch"):
            self._rows.set_epoch(epoch)


class _Share(BatchSampler):
    """Every n-th batch of all; a blank where there is none."""

    def __init__(self, batches: Any, number: int, processes: int) -> None:
        self.batch_sampler = batches
        self._number = number
        self._processes = processes

    def __len__(self) -> int:
        return -(-len(self.batch_sampler) // self._processes)

    def __iter__(self) -> Iterator[list[int]]:
        ours: list[int] | None = None
        place = 0
        for count, batch in enumerate(self.batch_sampler):
            place = count % self._processes
            if place == self._number:
                ours = batch
            if place == self._processes - 1:
                yield ours or [~0]
                ours = None
        if place != self._processes - 1:
            yield ours or [~0]

    def set_epoch(self, epoch: int) -> None:
        """Order the rows as in this epoch."""
        sampler = self.batch_sampler.sampler
        if hasattr(sampler, "set_epoch"):
            sampler.set_epoch(epoch)


class _Collator:
    def __init__(self, collate: Any) -> None:
        self._collate = collate

    def __call__(self, rows: Sequence[Any]) -> dict[str, Any]:
        if not isinstance(rows[0], _Blank):
            return self._collate(rows)  # type: ignore[no-any-return]
        batch: dict[str, Any] = self._collate([row.row for row in rows])
        batch["labels"].fill_(IGNORED)
        return batch


def share_batches(loader: Any, accelerator: Any) -> Any:
    """A Trainer's data loader, sharing its batches as said above."""
    if accelerator.num_processes == 1:
        return loader
    return DataLoaderShard(
        _Rows(loader.dataset),
        device=loader.device,
        rng_types=loader.rng_types,
        synchronized_generator=loader.synchronized_generator,
        batch_sampler=_Share(
            loader.batch_sampler.batch_sampler, accelerator.process_index, accelerator.num_processes
        ),
        collate_fn=_Collator(loader.collate_fn),
        num_workers=loader.num_workers,
        pin_memory=loader.pin_memory,
        worker_init_fn=loader.worker_init_fn,
        _non_blocking=loader._non_blocking,
    )


def eval_share(
    rows: Sequence[Any], batch_size: int, collate: Any, accelerator: Any
) -> Iterator[dict[str, Any]]:
    """This process's batches of the validation rows, in order."""
    starts = range(0, len(rows), batch_size)
    batches = [range(start, min(start + batch_size, len(rows))) for start in starts]
    source, collator = _Rows(rows), _Collator(collate)
    # `_Share` asks for lists of indices and their number.
    for batch in _Share(batches, accelerator.process_index, accelerator.num_processes):
        yield collator([source[index] for index in batch])
