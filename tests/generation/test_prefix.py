"""A beginning that prompts share is computed once, and changes nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hfgen import GenerationOptions, Prompt
from hfgen.generation.prefix import Prefix, most_shared
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

    def engine(*args: Any, **settings: Any) -> Any:
        engines.append(make(*args, **settings))
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
        assert engines[-1]._prompts.prefix.ids
        if slots == 3:
            assert engines[-1].statistics.prefill_tokens < prompt_tokens / 2


def test_a_window_that_slides_and_a_shared_beginning(
    lm_of: Callable[[str], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    lm = lm_of("gpt2")
    shared = []
    better = Prefix.better

    def watched(prefix: Prefix, contexts: Any) -> Any:
        shared.append(better(prefix, contexts))
        return shared[-1]

    monkeypatch.setattr(Prefix, "better", watched)
    texts = [SHARED + end for end in ENDS]
    options = GenerationOptions(max_new_tokens=150, ignore_eos=True, overflow="slide")
    crowded = lm.generate(texts, options, slots=4, seed=1)
    assert any(shared)
    alone = [lm.generate(t, options, slots=1, seed=1 + i) for i, t in enumerate(texts)]
    assert [r.token_ids for r in crowded] == [r.token_ids for r in alone]


def test_the_beginning_that_saves_most_leaves_a_token() -> None:
    assert most_shared([(1, 2, 3), (1, 2, 4, 5)]) == ((1, 2), 2)
    assert most_shared([(1, 2), (1, 2, 4, 5)]) == ((1,), 2)
    assert most_shared([(1, 2), (2, 2)]) == ((), 0)
    assert most_shared([(1,), (1, 2)]) == ((), 0)
    assert most_shared([(1, 2)]) == most_shared([]) == ((), 0)
    # Three of four share more than all four do; two share the longest one.
    few = [(1, 5, 5, 5, 5, 0), (1, 5, 5, 5, 6), (1, 5, 5, 5, 7), (1, 9)]
    assert most_shared(few) == ((1, 5, 5, 5), 3)


@given(st.lists(st.lists(st.integers(0, 1), min_size=1, max_size=6).map(tuple), unique=True))
def test_the_beginning_that_saves_most_is_found(contexts: list[tuple[int, ...]]) -> None:
    def saved(ids: tuple[int, ...]) -> int:
        return len(ids) * (sum(Prefix(ids).begins(context) for context in contexts) - 1)

    beginnings = {context[:length] for context in contexts for length in range(len(context))}
    ids, count = most_shared(sorted(contexts))
    assert max(0, saved(ids)) == max([0, *map(saved, beginnings)])
    assert count == sum(Prefix(ids).begins(context) for context in contexts)


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


def test_a_stranger_does_not_cost_the_others_their_prefix() -> None:
    long = tuple(range(100))
    many = [(*long, number) for number in range(1000, 1015)]
    stranger = (*long[:20], 7, 7)
    # Among the first ones, among later ones, and strangers alone.
    assert Prefix().better([*many, stranger]) == long
    assert Prefix(long).better([*many, stranger]) == ()
    prefix = Prefix(long)
    assert prefix.better(many) == ()
    strangers = [(*range(500, 520), number) for number in range(3)]
    assert prefix.better(strangers) == ()
    # When nobody begins with it any more, it gives way.
    assert any(prefix.better(strangers) for _ in range(20))
