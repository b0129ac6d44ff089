"""Short answers, as labels and numbers are: which data has them, and which of them are right.

An answer is right where each of its target tokens, the end among them, is the most likely one
after those before it: exactly where greedy decoding gives the whole of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from hfgen.training.data.encode import EncodedExample

if TYPE_CHECKING:
    import torch

MOST_TOKENS = 16
"""Of a short answer, its end among them."""
_SHORT_PART = 0.95


def are_short(examples: Sequence[EncodedExample]) -> bool:
    """Whether the examples are prompts with answers that are short, with few exceptions."""
    short = sum(1 for e in examples if not e.is_text and e.learned_tokens <= MOST_TOKENS)
    return bool(examples) and short >= _SHORT_PART * len(examples)


def right_answers(
    hits: torch.Tensor, places: torch.Tensor, position_ids: torch.Tensor | None
) -> tuple[int, int]:
    """How many of a batch's answers are right, and how many there are.

    `hits (N,)` says of each target token whether it was the most likely one, `places (B, T)` where
    they are predicted. A row is an example; with `position_ids`, one begins wherever they are 0.
    """
    begins = places.new_zeros(places.shape)
    begins[:, 0] = True
    if position_ids is not None:
        begins |= position_ids == 0
    examples = begins.flatten().cumsum(0)[places.flatten()]
    asked = set(examples.tolist())
    return len(asked.difference(examples[~hits].tolist())), len(asked)
