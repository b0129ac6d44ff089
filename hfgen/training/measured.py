"""`MeasuredTrainer`: a `TokenTrainer` that counts the tokens it is trained on."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import torch

from hfgen.training.batches import IGNORED
from hfgen.training.token_windows import Window
from hfgen.training.trainer import TokenTrainer

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
    """Tokens trained on so far, by all processes as far as this one can tell."""
    evaluation_s = 0.0
    """Seconds that the newest validation took."""

    def training_step(
        self, model: Any, inputs: dict[str, Any], num_items_in_batch: Any = None
    ) -> torch.Tensor:
        """Count, and compute a batch forward and backward."""
        self.tokens += int(inputs.pop(_TOKENS)) * self.args.world_size
        loss: torch.Tensor = super().training_step(model, inputs, num_items_in_batch)
        return loss

    def try_a_batch(self) -> None:
        """Compute a typical batch forward and backward, as training would; no step is made."""
        rows, tokens = self.train_dataset, self.tokens
        count = min(len(rows), self.args.per_device_train_batch_size)
        batch = self.data_collator([rows[i * len(rows) // count] for i in range(count)])
        self.training_step(self.model, batch, int((batch["labels"] != IGNORED).sum()))
        self.tokens = tokens

    def _prepare_inputs(self, inputs: Any) -> Any:
        return super()._prepare_inputs({n: v for n, v in inputs.items() if n != _TOKENS})

    def evaluate(self, *args: Any, **settings: Any) -> dict[str, float]:
        """Validate, and measure how long it takes."""
        begun = time.monotonic()
        metrics: dict[str, float] = super().evaluate(*args, **settings)
        self.evaluation_s = time.monotonic() - begun
        return metrics
