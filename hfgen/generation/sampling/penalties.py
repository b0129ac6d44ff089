"""OpenAI's frequency and presence penalty, which Transformers lacks.

Both are subtracted from scores, where `repetition_penalty` divides them, and both count generated
tokens only: `score -= count * frequency + (count > 0) * presence`.
Source: OpenAI's API reference, "Parameter details".
"""

from __future__ import annotations

import torch
from transformers import LogitsProcessor


class AdditivePenalty(LogitsProcessor):  # type: ignore[misc]
    """Lowers the scores (B, V) of tokens that occur in ids (B, T) after the prompt.

    Transformers' calling convention: it serves the engine's rows and `generate` alike.
    """

    def __init__(self, frequency: float, presence: float, prompt_length: int) -> None:
        self._frequency = frequency
        self._presence = presence
        self._prompt_length = prompt_length

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        generated = input_ids[:, self._prompt_length :]
        counts = torch.zeros_like(scores)
        counts.scatter_add_(1, generated, scores.new_ones(()).expand(generated.shape))
        return scores - self._frequency * counts - self._presence * (counts > 0)
