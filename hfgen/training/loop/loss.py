"""The loss: what the target tokens of a batch cost, and what of a model must be computed for it.

Only the positions before target tokens go through the output head where the model can leave the
others out; of GPT-2's work on a position the head is a third. The logits are held once, as the
model gives them, and their gradient once: the float32 copies are made for a few positions at a
time.

It knows models by `forward` alone, and nothing of optimizers, steps and processes.
"""

from __future__ import annotations

import inspect
from typing import Any

import torch
from transformers.trainer_utils import unwrap_peft_model

from hfgen.training.answers import right_answers
from hfgen.training.data.collators import IGNORED

# Positions whose logits are held in float32 at a time.
_CHUNK = 256


class ScoredModel:
    """Computes the loss sum of a batch with a model, or with a wrapper around it."""

    def __init__(self, model: Any) -> None:
        self._leaves_out = can_leave_out(model)
        # Documents of a row are kept apart only without a cache.
        has_cache = getattr(getattr(model, "config", None), "use_cache", None) is not None
        self._settings: dict[str, Any] = {"use_cache": False} if has_cache else {}

    def loss(self, model: Any, batch: dict[str, Any]) -> tuple[torch.Tensor, int]:
        """Sum of the target tokens' losses, and their number; `batch` has `labels (B, T)`.

        `model` is the one this was made for, possibly wrapped (DDP, FSDP) by now.
        """
        places, targets = learned(batch["labels"])
        return summed_loss(self._logits(model, batch, places), targets), len(targets)

    @torch.no_grad()
    def judge(self, model: Any, batch: dict[str, Any]) -> tuple[float, int, int, int]:
        """What `loss` gives, how many answers are right, and how many there are."""
        places, targets = learned(batch["labels"])
        logits = self._logits(model, batch, places)
        hits = logits.argmax(-1) == targets
        right, answers = right_answers(hits, places, batch.get("position_ids"))
        return float(summed_loss(logits, targets)), len(targets), right, answers

    def _logits(self, model: Any, batch: dict[str, Any], places: torch.Tensor) -> torch.Tensor:
        """Those (N, V) of the places."""
        inputs = {name: value for name, value in batch.items() if name != "labels"}
        inputs |= self._settings
        if self._leaves_out:
            inputs["logits_to_keep"] = places
        logits: torch.Tensor = model(**inputs).logits
        return logits if self._leaves_out else logits[places]


def learned(labels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Where logits are needed, a mask (B, T), and the ids (N,) that they should predict."""
    targets = labels.roll(-1, dims=1)
    targets[:, -1] = IGNORED
    places = targets != IGNORED
    return places, targets[places]


def token_loss(logits: torch.Tensor, labels: torch.Tensor) -> tuple[torch.Tensor, int]:
    """Sum of the target tokens' negative log-likelihoods, and their number.

    `logits (B, T, V)` and `labels (B, T)` as for a Transformers model, not shifted yet. Computed
    in float32, summed in float64. The mean loss of many batches is the quotient of the two totals.
    """
    places, targets = learned(labels)
    return summed_loss(logits[places], targets), len(targets)


def summed_loss(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Sum of negative log-likelihoods of `targets (N,)` under `logits (N, V)`; a scalar."""
    total: torch.Tensor = _SummedLoss.apply(logits, targets)  # type: ignore[no-untyped-call]
    return total


class _SummedLoss(torch.autograd.Function):
    """Cross-entropy, summed, a chunk of positions at a time in both directions."""

    @staticmethod
    def forward(ctx: Any, logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        norms = torch.empty(len(targets), dtype=torch.float32, device=logits.device)
        # MPS has no float64.
        wide = torch.float32 if logits.device.type == "mps" else torch.float64
        total = torch.zeros((), dtype=wide, device=logits.device)
        for start in range(0, len(targets), _CHUNK):
            chunk = slice(start, start + _CHUNK)
            scores = logits[chunk].float()
            norms[chunk] = scores.logsumexp(-1)
            chosen = scores.gather(-1, targets[chunk].unsqueeze(-1)).squeeze(-1)
            total += (norms[chunk] - chosen).to(wide).sum()
        ctx.save_for_backward(logits, targets, norms)
        return total

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor, None]:
        logits, targets, norms = ctx.saved_tensors
        scale = gradients[0].float()
        result = torch.empty_like(logits)
        for start in range(0, len(targets), _CHUNK):
            chunk = slice(start, start + _CHUNK)
            # Of -log p(target): the probabilities, less one at the target.
            slopes = (logits[chunk].float() - norms[chunk].unsqueeze(-1)).exp_()
            slopes[torch.arange(len(slopes), device=slopes.device), targets[chunk]] -= 1
            result[chunk] = slopes.mul_(scale)
        return result, None


@torch.no_grad()
def can_leave_out(model: Any) -> bool:
    """Whether `forward(logits_to_keep=mask (B, T))` gives the logits (N, V) of the mask's places.

    The argument's name is no proof: some models take it and understand a number alone. So a few
    tokens are tried.
    """
    parameters = inspect.signature(unwrap_peft_model(model).forward).parameters
    if "logits_to_keep" not in parameters:
        return False
    weight = model.get_input_embeddings().weight
    ids = torch.arange(6, device=weight.device).reshape(2, 3) % weight.shape[0]
    places = torch.tensor([[True, False, True], [False, False, True]], device=weight.device)
    was_training = model.training
    model.eval()
    try:
        full = model(input_ids=ids, use_cache=False).logits[places].float()
        kept = model(input_ids=ids, use_cache=False, logits_to_keep=places).logits.float()
        if kept.shape != full.shape:
            return False
        return bool((kept - full).abs().max() <= 0.05 * full.std())
    except (TypeError, ValueError, IndexError, RuntimeError):  # what a wrong shape ends in
        return False
    finally:
        model.train(was_training)
