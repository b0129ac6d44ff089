"""Top-p without a full sort keeps the tokens that Transformers keeps."""

from __future__ import annotations

import pytest
import torch
from transformers.generation.logits_process import TopPLogitsWarper

from hfgen.generation.sampling.top_p import Nucleus


@pytest.mark.parametrize("width", [1, 2, 7, 255, 256, 257, 5000])
def test_the_set_is_that_of_transformers(width: int) -> None:
    for top_p in (1e-6, 0.3, 0.5, 0.9, 0.95, 0.9999):
        for spread in (0.01, 1.0, 4.0, 30.0):
            torch.manual_seed(width)
            scores = (torch.randn(6, width, dtype=torch.double) * spread).float()
            # Rows of every sharpness in one matrix, and one that has lost tokens before.
            scores[1] *= 0.1
            scores[2, width // 2 + 1 :] = -torch.inf
            kept = Nucleus(top_p)(None, scores) > -torch.inf
            expected = TopPLogitsWarper(top_p)(None, scores) > -torch.inf
            # Sums in another order may differ about the tokens at the very edge.
            mass = (scores.softmax(-1) * (kept != expected)).sum(-1)
            assert mass.max() < 1e-5 or (kept != expected).sum() <= 1, (top_p, spread)
            assert kept.gather(1, scores.argmax(-1, keepdim=True)).all(), (top_p, spread)


def test_scores_that_stay_are_unchanged_and_equal_ones_stay_together() -> None:
    scores = torch.tensor([[2.0, 1.0, 1.0, 1.0, -5.0]])
    kept = Nucleus(0.6)(None, scores)
    assert kept.tolist() == [[2.0, 1.0, 1.0, 1.0, -torch.inf]]


def test_a_row_of_nan_stays_one_and_does_not_hang() -> None:
    scores = torch.randn(3, 600)
    expected = Nucleus(0.9)(None, scores)
    scores[1] = torch.nan
    got = Nucleus(0.9)(None, scores)
    assert torch.equal(got[[0, 2]], expected[[0, 2]])
    assert not (got[1] > -torch.inf).any()
