"""Top-p sampling without sorting the vocabulary.

Transformers sorts all scores to find the smallest set of tokens whose probabilities reach `top_p`;
with 50,000 tokens that takes longer than a small model's forward pass. The set is nearly always
among the few hundred most likely, so these are looked at first, and more only for the rows whose
set is larger. The result is the same set (but that tokens of exactly equal scores at its edge, of
which Transformers keeps some, are all kept).
"""

from __future__ import annotations

import torch

_FIRST = 256
_GROWTH = 16


class Nucleus:
    """A warper: scores (B, V) with -inf for every token outside the nucleus of its row."""

    def __init__(self, top_p: float) -> None:
        self._top_p = top_p

    def __call__(self, input_ids: torch.Tensor | None, scores: torch.Tensor) -> torch.Tensor:
        edge = self._edges(scores)
        return torch.where(scores >= edge, scores, -torch.inf)

    def _edges(self, scores: torch.Tensor) -> torch.Tensor:
        """The lowest score (B, 1) in each row's nucleus."""
        total = torch.logsumexp(scores, dim=-1, keepdim=True)
        edges = torch.empty_like(total)
        open_rows = torch.arange(len(scores), device=scores.device)
        count = _FIRST
        while len(open_rows):
            count = min(count, scores.shape[-1])
            values = torch.topk(scores[open_rows], count).values
            before = (values - total[open_rows]).exp().cumsum(dim=-1)
            # A token belongs to it while those before it do not reach top_p.
            sizes = 1 + (before[:, :-1] < self._top_p).sum(dim=-1, keepdim=True)
            edges[open_rows] = values.gather(1, sizes - 1)
            if count == scores.shape[-1]:
                break
            open_rows = open_rows[before[:, -1] < self._top_p]
            count *= _GROWTH
        return edges
