"""The one loop over the engine: what is kept, cancelled and begun again."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from typing import Any

import pytest

from hfgen import GenerationOptions
from hfgen.generation.prompts.encode import Reading
from hfgen.generation.scheduler import Failed, Scheduler
from tests.conftest import ARCHITECTURES
from tests.generation.test_engine import failing_at, oracle

STORY = "Once upon a time there was a king who had a golden bird, and the bird could speak."
GREEDY = GenerationOptions(do_sample=False, max_new_tokens=12, ignore_eos=True)


def submit(scheduler: Scheduler, lm: Any, text: str, options: GenerationOptions, index: int) -> int:
    """Submit a prompt; return how many tokens it has."""
    texts = lm.prepare(text, index, options, Reading())
    scheduler.submit(texts)
    return len(texts[0].request.prompt_ids)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_prompt_that_goes_on_from_a_kept_text_computes_what_is_new(
    architecture: str, lm_of: Callable[[str], Any]
) -> None:
    lm = lm_of(architecture)
    scheduler = lm.scheduler(1, kept=1)
    known = submit(scheduler, lm, STORY, GREEDY, 0)
    (first,) = scheduler.finish()
    computed = scheduler.statistics.prefill_tokens

    longer = STORY + first.completion + " The king said to the bird"
    length = submit(scheduler, lm, longer, GREEDY, 1)
    (second,) = scheduler.finish()
    assert list(second.token_ids) == oracle(lm, longer, GREEDY)
    new = scheduler.statistics.prefill_tokens - computed
    assert new <= length - known + 1

    # An edited text is computed from where it differs; what was kept is left as it was.
    edited = STORY + " The bird flew"
    submit(scheduler, lm, edited, GREEDY, 2)
    (third,) = scheduler.finish()
    assert list(third.token_ids) == oracle(lm, edited, GREEDY)
    assert scheduler.statistics.prefill_tokens - computed - new <= 6


def test_kept_texts_serve_several_prompts_at_once(lm_of: Callable[[str], Any]) -> None:
    lm = lm_of("gpt2")
    scheduler = lm.scheduler(4, kept=4)
    beginnings = [STORY, STORY + " But the queen was ill.", "In a dark forest lived two brothers."]
    for index, text in enumerate(beginnings):
        submit(scheduler, lm, text, GREEDY, index)
    scheduler.finish()
    ends = [f"{text} And so" for text in beginnings] + ["Something else that nobody has said"]
    for index, text in enumerate(ends):
        submit(scheduler, lm, text, GREEDY, 10 + index)
    found = scheduler.finish()
    assert [list(record.token_ids) for record in found] == [
        oracle(lm, text, GREEDY) for text in ends
    ]


def test_what_was_computed_of_a_cancelled_text_is_kept(lm_of: Callable[[str], Any]) -> None:
    lm = lm_of("gpt2")
    scheduler = lm.scheduler(1, kept=1)
    submit(scheduler, lm, STORY, GREEDY, 0)
    pieces = [scheduler.step() for _ in range(6)]
    assert pieces
    scheduler.cancel(0)
    assert not scheduler.has_work
    assert scheduler.free_slots == 1
    computed = scheduler.statistics.prefill_tokens
    submit(scheduler, lm, STORY + " And", GREEDY, 1)
    (record,) = scheduler.finish()
    assert list(record.token_ids) == oracle(lm, STORY + " And", GREEDY)
    assert scheduler.statistics.prefill_tokens - computed <= 3


def test_nothing_is_kept_unless_asked_for(lm_of: Callable[[str], Any]) -> None:
    lm = lm_of("gpt2")
    scheduler = lm.scheduler(1)
    for index in range(2):
        length = submit(scheduler, lm, STORY, GREEDY, index)
    scheduler.finish()
    assert scheduler.statistics.prefill_tokens == 2 * length


def test_no_piece_comes_twice_when_memory_runs_out(
    lm_of: Callable[[str], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    lm = lm_of("gpt2")
    options = GenerationOptions(max_new_tokens=30, seed=3, ignore_eos=True, logprobs=1)
    prompts = [STORY + end for end in (" One", " Two", " Three")]
    expected = [record.completion for record in lm.generate(prompts, options)]
    fewer: list[int] = []
    scheduler = lm.scheduler(3, on_fewer_slots=fewer.append)
    for index, text in enumerate(prompts):
        submit(scheduler, lm, text, options, index)
    broken = failing_at(17, lm._decoding.forward, MemoryError())
    monkeypatch.setattr(lm._decoding, "forward", broken)
    texts: dict[int, str] = defaultdict(str)
    tokens: dict[int, int] = defaultdict(int)
    completions = {}
    while scheduler.has_work:
        for found in scheduler.step():
            assert not isinstance(found, Failed)
            texts[found.index] += found.text
            tokens[found.index] += len(found.logprobs)
            if found.record is not None:
                completions[found.index] = found.record.completion
    assert fewer == [1]
    assert [texts[i] for i in range(3)] == [completions[i] for i in range(3)] == expected
    assert set(tokens.values()) == {30}
