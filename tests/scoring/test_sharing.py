"""What requests share is computed once, and changes no score."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pytest

from hfgen.scoring.scorer import Request


def ids(rng: random.Random, count: int) -> tuple[int, ...]:
    return tuple(rng.randrange(4096) for _ in range(count))


@pytest.mark.parametrize("architecture", ["gpt2", "llama", "mistral", "bloom"])
def test_a_common_beginning_changes_no_score(
    architecture: str, lm_of: Callable[[str], Any]
) -> None:
    """As a classifier asks: the same examples, different texts, labels of one and two tokens."""
    rng = random.Random(4)
    lm = lm_of(architecture)
    begun = ids(rng, 80)
    requests = [
        Request(begun + text, label)
        for text in (ids(rng, 1 + n % 5) for n in range(7))
        for label in [(5,), (6,), ids(rng, 2)]
    ]
    scorer = lm.scorer()
    together = scorer.score(requests)
    again = scorer.score([*requests[:5], Request(ids(rng, 90), (7,))])[:5]
    alone = [lm.scorer().score([request])[0] for request in requests]
    for found, expected in zip([*together, *again], [*alone, *alone[:5]], strict=True):
        assert found.logprobs == pytest.approx(expected.logprobs, abs=1e-5)
        assert found.ranks == expected.ranks


def test_it_is_computed_once(lm_of: Callable[[str], Any]) -> None:
    rng = random.Random(5)
    begun = ids(rng, 70)
    scorer = lm_of("gpt2").scorer()
    texts = [ids(rng, 4) for _ in range(6)]
    scorer.score([Request(begun + text, (label,)) for text in texts[:5] for label in (1, 2, 3)])
    assert scorer.tokens == 70 + 5 * 4
    scorer.score([Request(begun + texts[5], (label,)) for label in (1, 2, 3)])
    assert scorer.tokens == 70 + 6 * 4
