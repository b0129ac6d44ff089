"""`MeasuredTrainer`: a `TokenTrainer` that counts the tokens it is trained on."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import Any

import torch

from hfgen.training.corpus.token_streams import Window
from hfgen.training.data.collators import IGNORED
from hfgen.training.loop.trainer import TokenTrainer

_TOKENS = "hfgen_tokens"


class Counting:
    """A collator that also tells how many tokens, padding left out, its batch has."""

    def __init__(self, collate: Any) -> None:
        self._collate = collate

    def __call__(self, rows: Sequence[Any]) -> dict[str, Any]:
        batch: dict[str, Any] = self._collate(rows)
        return batch | {_TOKENS: sum(map(_tokens, rows))}


def _tokens(row: Any) -> int:
    """Tokens of a row; of windows that overlap, those that are learned."""
    return row.tokens if isinstance(row, Window) else len(row.ids)


class MeasuredTrainer(TokenTrainer):
    """Trains on batches of a `Counting` collator."""

    tokens = 0
    """Tokens trained on so far, by all processes."""
    evaluation_s = 0.0
    """Seconds that the newest validation took."""

    _fetched = 0
    """Of them, those of a step that has not begun."""

    def get_batch_samples(
        self, epoch_iterator: Iterator[Any], num_batches: int, device: torch.device
    ) -> tuple[list[Any], torch.Tensor]:
        """The batches of a step; their tokens are counted when it begins."""
        batches, learned = super().get_batch_samples(epoch_iterator, num_batches, device)
        # Of a batch that only keeps a process busy nothing is learned.
        busy = [batch for batch in batches if (batch["labels"] != IGNORED).any()]
        count = torch.tensor(sum(int(batch[_TOKENS]) for batch in busy), device=device)
        if self.args.world_size > 1:
            count = self.accelerator.reduce(count, reduction="sum")
        self._fetched = int(count)
        return batches, learned

    def training_step(
        self, model: Any, inputs: dict[str, Any], num_items_in_batch: Any = None
    ) -> torch.Tensor:
        """Count, and compute a batch forward and backward."""
        inputs.pop(_TOKENS)
        self.tokens, self._fetched = self.tokens + self._fetched, 0
        loss: torch.Tensor = super().training_step(model, inputs, num_items_in_batch)
        return loss

    def try_a_batch(self) -> None:
        """Compute a typical batch forward and backward, as training would; no step is made."""
        rows = self.train_dataset
        count = min(len(rows), self.args.per_device_train_batch_size)
        batch = self.data_collator([rows[i * len(rows) // count] for i in range(count)])
        self.training_step(self.model, batch, int((batch["labels"] != IGNORED).sum()))

    def _prepare_inputs(self, inputs: Any) -> Any:
        return super()._prepare_inputs({n: v for n, v in inputs.items() if n != _TOKENS})

    def evaluate(self, *args: Any, **settings: Any) -> dict[str, float]:
        """Validate, and measure how long it takes."""
        begun = time.monotonic()
        metrics: dict[str, float] = super().evaluate(*args, **settings)
        self.evaluation_s = time.monotonic() - begun
        return metrics
