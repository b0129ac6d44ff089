"""The scores of many rows, each through its own processors, in as few steps as can be."""

from __future__ import annotations

import torch

from hfgen.generation.sampling.processors import Processor
from hfgen.generation.sequences import Row


def processed(rows: list[Row], logits: torch.Tensor) -> torch.Tensor:
    """Scores (B, V) after every processor of every row."""
    scores = _row_by_row(rows, logits, [row.processors.by_ids for row in rows])
    groups: dict[tuple[object, ...], list[int]] = {}
    for i, row in enumerate(rows):
        groups.setdefault(row.processors.warper_key, []).append(i)
    if len(groups) == 1:
        warped = _warped(rows[0], scores)
    else:
        warped = torch.empty_like(scores)
        for indices in groups.values():
            warped[indices] = _warped(rows[indices[0]], scores[indices])
    return _row_by_row(rows, warped, [row.processors.last for row in rows])


def _row_by_row(
    rows: list[Row], scores: torch.Tensor, chosen: list[tuple[Processor, ...]]
) -> torch.Tensor:
    if not any(chosen):
        return scores
    parts = [row.process(scores[i : i + 1], chosen[i]) for i, row in enumerate(rows)]
    return torch.cat(parts)


def _warped(row: Row, scores: torch.Tensor) -> torch.Tensor:
    for warper in row.processors.warpers:
        # These never look at the ids.
        scores = warper(None, scores)
    return scores
