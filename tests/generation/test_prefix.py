"""A beginning that prompts share is computed once, and changes nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from hfgen import GenerationOptions, Prompt
from hfgen.generation.prefix import Prefix, common_beginning
from tests.conftest import ARCHITECTURES
from tests.generation.test_engine import oracle

SHARED = "Tell a story of a king, a fox and a golden bird. The king is old and the fox is wise. "
ENDS = ["Once", "Once upon a time", "In a forest", "The fox said", "Well,", "a", "Then the king"]


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_texts_are_those_of_generate(
    architecture: str, lm_of: Callable[[str], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    lm = lm_of(architecture)
    engines = []
    make = lm.engine

    def engine(slots: int) -> Any:
        engines.append(make(slots))
        return engines[-1]

    monkeypatch.setattr(lm, "engine", engine)
    greedy = GenerationOptions(do_sample=False, max_new_tokens=12)
    texts = [SHARED + end for end in ENDS] + ["The queen"]
    expected = [tuple(oracle(lm, text, greedy)) for text in texts]
    for slots in (3, 8):
        # The first ones decide what is shared, a stranger comes last.
        records = lm.generate([Prompt(text) for text in texts], greedy, slots=slots)
        assert [record.token_ids for record in records] == expected, slots
        prompt_tokens = sum(record.prompt_tokens for record in records)
        assert engines[-1]._prefix.ids or slots == 8
        if slots == 3:
            assert engines[-1].statistics.prefill_tokens < prompt_tokens / 2


def test_a_window_that_slides_and_a_shared_beginning(lm_of: Callable[[str], Any]) -> None:
    lm = lm_of("gpt2")
    texts = [SHARED + end for end in ENDS]
    options = GenerationOptions(max_new_tokens=150, ignore_eos=True, overflow="slide")
    crowded = lm.generate(texts, options, slots=4, seed=1)
    alone = [lm.generate(t, options, slots=1, seed=1 + i) for i, t in enumerate(texts)]
    assert [r.token_ids for r in crowded] == [r.token_ids for r in alone]


def test_the_common_beginning_leaves_a_token() -> None:
    assert common_beginning([(1, 2, 3), (1, 2, 4, 5)]) == (1, 2)
    assert common_beginning([(1, 2), (1, 2, 4, 5)]) == (1,)
    assert common_beginning([(2, 2), (1, 2)]) == ()
    assert common_beginning([(1,), (1, 2)]) == ()


def test_when_another_prefix_is_taken() -> None:
    long = tuple(range(40))
    contexts = [(*long, 1), (*long, 2, 3)]
    assert Prefix().better(contexts) == long
    assert Prefix().better(contexts[:1] * 3) == ()
    assert Prefix().better([(*long[:15], 99), (*long[:15], 98)]) == ()
    # A longer one where it saves much, another one where the old one does not fit.
    assert Prefix(long[:20]).better(contexts) == long
    assert Prefix(long[:25]).better(contexts) == ()
    assert Prefix((7,) * 20).better(contexts) == long
    assert Prefix(long).better([*contexts, (5, 6, 7)]) == ()
