"""The engine against its oracles: `model.generate`, and itself at other widths."""

from __future__ import annotations

import functools
import gc
import itertools
import weakref
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from hfgen import GenerationOptions, Prompt
from hfgen.errors import (
    ContextOverflow,
    GenerationFailed,
    InvalidOption,
    ModelUnsupported,
    OptionConflict,
    UsageError,
)
from hfgen.generation import engine as engine_module
from hfgen.generation import prefill
from hfgen.generation.engine import Engine
from hfgen.generation.options.config import end_of_text_ids, to_generation_config
from hfgen.generation.prompts.encode import PromptEncoder, Reading
from hfgen.generation.requests import RequestMaker
from hfgen.generation.sequences import Row
from tests.conftest import ARCHITECTURES, build_model, wrap

PROMPTS = [
    "Once upon a time",
    "The king",
    "A little girl named Alice went to the market and bought a basket of apples for",
    "Well,",
    "In the deep green forest there lived an old fox who",
    "a",
]


def oracle(lm: Any, text: str, options: GenerationOptions) -> list[int]:
    """Token ids by `model.generate` with the same parameters."""
    resolved = options.resolve()
    eos_ids = end_of_text_ids(resolved, lm.model, lm.tokenizer)
    config = to_generation_config(
        resolved,
        lm.tokenizer,
        max_new_tokens=resolved.max_new_tokens,
        eos_ids=eos_ids,
        vocabulary_size=lm.model.config.vocab_size,
    )
    ids = torch.tensor([lm.tokenizer.encode(text)])
    with torch.inference_mode():
        out = lm.model.generate(ids, attention_mask=torch.ones_like(ids), generation_config=config)
    return out[0, ids.shape[1] :].tolist()


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_greedy_equals_generate_at_every_width(
    architecture: str, lm_of: Callable[[str], Any]
) -> None:
    lm = lm_of(architecture)
    lengths = [12, 30, 7, 41, 23, 18]
    prompts = [
        Prompt(text, options=GenerationOptions(max_new_tokens=length))
        for text, length in zip(PROMPTS, lengths, strict=True)
    ]
    expected = [
        tuple(oracle(lm, text, GenerationOptions(do_sample=False, max_new_tokens=length)))
        for text, length in zip(PROMPTS, lengths, strict=True)
    ]
    assert len(set(expected)) == len(expected)
    for slots in (1, 2, 4, 16):
        records = lm.generate(prompts, do_sample=False, slots=slots)
        assert [record.token_ids for record in records] == expected, slots


def test_greedy_equals_decoding_without_a_cache(lm_of: Callable[[str], Any]) -> None:
    lm = lm_of("gpt2")
    ids = lm.tokenizer.encode(PROMPTS[0])
    start = len(ids)
    with torch.inference_mode():
        for _ in range(25):
            logits = lm.model(torch.tensor([ids]), use_cache=False).logits
            ids.append(int(logits[0, -1].argmax()))
    record = lm.generate(PROMPTS[0], do_sample=False, max_new_tokens=25)
    assert list(record.token_ids) == ids[start:]


LOGITS_OPTIONS: dict[str, st.SearchStrategy[Any]] = {
    "repetition_penalty": st.sampled_from([0.8, 1.2, 2.0]),
    "no_repeat_ngram_size": st.integers(1, 4),
    "bad_words": st.sampled_from([("the",), (" a", "king")]),
    "logit_bias": st.sampled_from([(("king", 8.0),), ((" old fox", 30.0),)]),
    "suppress_tokens": st.sampled_from([(5, 6, 7), (300,)]),
    "begin_suppress_tokens": st.just((11, 12)),
    "min_new_tokens": st.integers(1, 10),
    "min_length": st.integers(1, 20),
    "exponential_decay_length_penalty": st.sampled_from([(2, 1.5), (0, 3.0)]),
    "forced_eos_token_id": st.just(0),
    "forced_bos_token_id": st.just(77),
    "encoder_repetition_penalty": st.sampled_from([1.5, 0.7]),
    "encoder_no_repeat_ngram_size": st.integers(1, 3),
    "renormalize_logits": st.just(True),
    "remove_invalid_values": st.just(True),
    "eos_token_id": st.just((0, 9)),
    "bad_words_ids": st.just(((5, 6), (7,))),
    "sequence_bias": st.just((((40,), 9.0), ((41, 42), 9.0))),
}


@pytest.mark.parametrize("name", LOGITS_OPTIONS)
@settings(
    max_examples=3, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_each_logits_option_equals_generate(
    name: str, data: st.DataObject, lm_of: Callable[[str], Any]
) -> None:
    lm = lm_of("gpt2")
    value = data.draw(LOGITS_OPTIONS[name])
    options = GenerationOptions(do_sample=False, max_new_tokens=20, **{name: value})
    records = lm.generate(PROMPTS[:3], options)
    assert [list(r.token_ids) for r in records] == [oracle(lm, p, options) for p in PROMPTS[:3]]


NEUTRAL_HERE = {"renormalize_logits", "remove_invalid_values"}
"""They change no greedy text of a sound model."""


def test_each_logits_option_changes_the_text(lm_of: Callable[[str], Any]) -> None:
    """Ours equals the oracle's also where both leave an option out."""
    lm = lm_of("gpt2")
    plain = lm.generate(PROMPTS[0], do_sample=False, max_new_tokens=12, ignore_eos=True)
    first, third = plain.token_ids[0], plain.token_ids[2]
    texts = [lm.tokenizer.decode([token_id]) for token_id in plain.token_ids]
    # One that is a token by itself again.
    word = next(
        t
        for t, i in zip(texts, plain.token_ids, strict=True)
        if lm.tokenizer(t)["input_ids"] == [i]
    )
    ends = {"eos_token_id": (third,)}
    changes: dict[str, tuple[Any, dict[str, Any]]] = {
        "repetition_penalty": (5.0, {}), "no_repeat_ngram_size": (1, {}),
        "bad_words": ((word,), {}), "logit_bias": ((("king", 90.0),), {}),
        "suppress_tokens": ((first,), {}), "begin_suppress_tokens": ((first,), {}),
        "min_new_tokens": (9, ends), "min_length": (20, ends),
        "exponential_decay_length_penalty": ((0, 3.0), {}), "forced_eos_token_id": (0, {}),
        "forced_bos_token_id": (77, {}), "encoder_repetition_penalty": (9.0, {}),
        "encoder_no_repeat_ngram_size": (1, {}), "eos_token_id": ((third,), {}),
        "bad_words_ids": (((first,),), {}), "sequence_bias": ((((40,), 90.0),), {}),
    }  # fmt: skip
    assert set(changes) | NEUTRAL_HERE == set(LOGITS_OPTIONS)
    # What looks at the prompt has something to repeat there; a text begins after one token alone.
    long = PROMPTS[0] + plain.completion
    prompts = dict.fromkeys(changes, PROMPTS[0]) | {"forced_bos_token_id": ""}
    prompts |= {name: long for name in changes if name.startswith("encoder")}
    for name, (value, others) in changes.items():
        prompt = prompts[name]
        common = {"do_sample": False, "max_new_tokens": 12} | others
        before = lm.generate(prompt, **common).token_ids
        assert lm.generate(prompt, **common | {name: value}).token_ids != before, name


def is_allowed(values: dict[str, Any]) -> bool:
    """Whether the options go together; test_options.py holds the reasons."""
    try:
        GenerationOptions(**values)
    except OptionConflict:
        return False
    return True


combinations = given(
    values=st.fixed_dictionaries({}, optional=LOGITS_OPTIONS).filter(is_allowed),
    slots=st.integers(1, 6),
)
drawn = settings(
    max_examples=12,
    deadline=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


@drawn
@combinations
def test_random_combinations_equal_generate(
    values: dict[str, Any], slots: int, lm_of: Callable[[str], Any]
) -> None:
    check_combination(values, slots, lm_of)


@pytest.mark.slow
@settings(drawn, max_examples=200)
@combinations
def test_many_random_combinations_equal_generate(
    values: dict[str, Any], slots: int, lm_of: Callable[[str], Any]
) -> None:
    check_combination(values, slots, lm_of)


def check_combination(values: dict[str, Any], slots: int, lm_of: Callable[[str], Any]) -> None:
    lm = lm_of("gpt2")
    options = GenerationOptions(do_sample=False, max_new_tokens=20, **values)
    records = lm.generate(PROMPTS[:4], options, slots=slots)
    assert [list(r.token_ids) for r in records] == [oracle(lm, p, options) for p in PROMPTS[:4]]


def test_options_differ_from_row_to_row(lm_of: Callable[[str], Any]) -> None:
    lm = lm_of("gpt2")
    own = [
        GenerationOptions(do_sample=False),
        GenerationOptions(do_sample=False, repetition_penalty=1.5),
        GenerationOptions(do_sample=True, temperature=1.5, top_k=20),
        GenerationOptions(do_sample=True, top_p=0.5),
    ]
    prompts = [Prompt(PROMPTS[0], options=o) for o in own]
    together = lm.generate(prompts, seed=3, max_new_tokens=20)
    alone = [lm.generate(p, seed=3 + i, max_new_tokens=20, slots=1) for i, p in enumerate(prompts)]
    assert [r.token_ids for r in together] == [r.token_ids for r in alone]
    assert len({r.token_ids for r in together}) == 4


SAMPLING = [
    {"temperature": 1.0, "top_p": 1.0},
    {"temperature": 0.7, "top_p": 0.9},
    {"top_k": 30},
    {"min_p": 0.05},
    {"typical_p": 0.8},
    {"top_h": 0.5},
    {"epsilon_cutoff": 3e-4},
    {"eta_cutoff": 1e-3},
    {"top_k": 50, "top_p": 0.9, "min_p": 0.02, "repetition_penalty": 1.1},
]


@pytest.mark.parametrize("options", SAMPLING, ids=lambda options: "+".join(options))
def test_sampled_text_depends_on_prompt_options_and_seed_alone(
    options: dict[str, Any], lm_of: Callable[[str], Any]
) -> None:
    lm = lm_of("gpt2")
    options = options | {"max_new_tokens": 25}
    alone = lm.generate(PROMPTS[2], seed=7, slots=1, **options)
    for slots in (1, 4, 16):
        prompts = [*PROMPTS[:2], Prompt(PROMPTS[2], seed=7), *PROMPTS[3:]]
        assert lm.generate(prompts, seed=1, slots=slots, **options)[2].token_ids == alone.token_ids
    assert lm.generate(PROMPTS[2], seed=8, slots=1, **options).token_ids != alone.token_ids


def test_row_uses_seed_plus_index(lm_of: Callable[[str], Any]) -> None:
    lm = lm_of("gpt2")
    records = lm.generate(["The king"] * 3, seed=7, max_new_tokens=10)
    assert [record.seed for record in records] == [7, 8, 9]
    assert len({record.token_ids for record in records}) == 3
    assert lm.generate("The king", seed=9, max_new_tokens=10).token_ids == records[2].token_ids


def test_samples_repeat_from_their_recorded_seeds(lm_of: Callable[[str], Any]) -> None:
    lm = lm_of("gpt2")
    records = lm.generate(["The king"], seed=7, num_return_sequences=5, max_new_tokens=15, slots=3)
    assert records[0].seed == 7
    assert len({record.token_ids for record in records}) == 5
    for record in records:
        again = lm.generate("The king", seed=record.seed, max_new_tokens=15)
        assert again.token_ids == record.token_ids


def test_sampling_matches_the_distribution_of_transformers(lm_of: Callable[[str], Any]) -> None:
    """Chi-square of first tokens against the probabilities after Transformers' own filters."""
    lm = lm_of("gpt2")
    options = GenerationOptions(temperature=0.9, top_k=12, top_p=1.0, max_new_tokens=1)
    with torch.inference_mode():
        logits = lm.model(torch.tensor([lm.tokenizer.encode("The king")])).logits[0, -1]
    kept = torch.topk(logits / 0.9, 12)
    expected = dict(zip(kept.indices.tolist(), torch.softmax(kept.values, 0).tolist(), strict=True))
    draws = 3000
    records = lm.generate([Prompt("The king", seed=s) for s in range(draws)], options, slots=64)
    counts = dict.fromkeys(expected, 0)
    for record in records:
        counts[record.token_ids[0]] += 1
    chi_square = sum((counts[t] - draws * p) ** 2 / (draws * p) for t, p in expected.items())
    assert chi_square < 31.3  # 99.9 % of 11 degrees of freedom


def test_rows_come_and_go_without_padding_the_long_for_the_short(
    lm_of: Callable[[str], Any],
) -> None:
    """Forty rows of mixed lengths through three slots: the cache is moved, grown and reused."""
    lm = lm_of("gpt2")
    prompts = [
        Prompt(PROMPTS[i % 6], options=GenerationOptions(max_new_tokens=1 + (i * 17) % 60))
        for i in range(40)
    ]
    crowded = lm.generate(prompts, seed=1, slots=3)
    alone = [lm.generate(p, seed=1 + i, slots=1) for i, p in enumerate(prompts)]
    assert [r.token_ids for r in crowded] == [r.token_ids for r in alone]
    assert [r.index for r in crowded] == list(range(40))


def test_prompts_are_read_only_as_slots_become_free(lm_of: Callable[[str], Any]) -> None:
    lm = lm_of("gpt2")
    taken = 0

    def endless() -> Any:
        nonlocal taken
        while True:
            taken += 1
            yield "The king"

    stream = lm.stream(endless(), slots=4, max_new_tokens=5, seed=1)
    finished = 0
    for piece in stream:
        finished += piece.record is not None
        if finished == 10:
            break
    stream.close()
    assert taken <= 10 + 4


def test_sliding_window_continues_from_the_newest_half(lm_of: Callable[[str], Any]) -> None:
    lm = lm_of("gpt2")
    prompt_ids = lm.tokenizer.encode(PROMPTS[0])
    record = lm.generate(
        PROMPTS[0], do_sample=False, ignore_eos=True, max_new_tokens=300, overflow="slide"
    )
    ids = list(prompt_ids)
    context = list(prompt_ids)
    with torch.inference_mode():
        for _ in range(300):
            if len(context) > 128:
                context = context[-64:]
            token = int(lm.model(torch.tensor([context])).logits[0, -1].argmax())
            context.append(token)
            ids.append(token)
    assert list(record.token_ids) == ids[len(prompt_ids) :]
    assert record.finish_reason == "length"


def test_sliding_rows_do_not_disturb_their_neighbours(lm_of: Callable[[str], Any]) -> None:
    lm = lm_of("gpt2")
    long = GenerationOptions(max_new_tokens=200, overflow="slide", ignore_eos=True)
    prompts = [Prompt(text, options=long) for text in PROMPTS]
    together = lm.generate(prompts, seed=5, slots=4)
    alone = [lm.generate(p, seed=5 + i, slots=1) for i, p in enumerate(prompts)]
    assert [r.token_ids for r in together] == [r.token_ids for r in alone]


def test_a_row_of_nan_fails_alone(tokenizer: Any) -> None:
    model = build_model("gpt2")
    with torch.no_grad():
        model.transformer.wpe.weight[40:] = float("nan")
    lm = wrap(model, tokenizer)
    short = GenerationOptions(do_sample=False, max_new_tokens=20, ignore_eos=True)
    long = GenerationOptions(do_sample=False, max_new_tokens=100, ignore_eos=True)
    expected = lm.generate("Well,", short).token_ids
    maker = RequestMaker(model, tokenizer, 128)
    engine = Engine(model, tokenizer, slots=3, window=128)
    for index, (text, options) in enumerate([("The king", long), ("Well,", short)] * 2):
        for request in maker.make(Prompt(text), index, options, Reading()):
            engine.submit(request)
    tokens: dict[int, list[int]] = {}
    errors = []
    while engine.has_work:
        for event in engine.step():
            if event.error is None:
                tokens.setdefault(event.key[0], []).append(event.token_id)
            else:
                errors.append((event.key[0], type(event.error)))
    assert errors == [(0, GenerationFailed), (2, GenerationFailed)]
    assert tuple(tokens[1]) == expected
    assert tuple(tokens[3]) == expected


def test_nothing_left_to_choose_is_an_error(lm_of: Callable[[str], Any]) -> None:
    lm = lm_of("gpt2")
    everything = tuple(range(4096))
    for do_sample in (True, False):
        with pytest.raises(GenerationFailed, match="no token can be sampled"):
            lm.generate("a", suppress_tokens=everything, do_sample=do_sample, max_new_tokens=3)


def test_logprobs_are_those_of_the_model(lm_of: Callable[[str], Any]) -> None:
    lm = lm_of("gpt2")
    record = lm.generate("The king", seed=2, temperature=0.5, logprobs=3, max_new_tokens=8)
    ids = lm.tokenizer.encode("The king") + list(record.token_ids)
    with torch.inference_mode():
        table = torch.log_softmax(lm.model(torch.tensor([ids])).logits[0], dim=-1)
    assert record.logprobs is not None
    assert len(record.logprobs) == 8
    for step, token in enumerate(record.logprobs):
        row = table[len(ids) - 8 - 1 + step]
        assert token.token_id == record.token_ids[step]
        assert token.logprob == pytest.approx(float(row[token.token_id]), abs=1e-4)
        assert [t for t, _, _ in token.top] == torch.topk(row, 3).indices.tolist()


@pytest.mark.parametrize("architecture", ["gpt2", "llama", "gpt_neo", "bloom", "gemma3"])
def test_a_long_prompt_goes_in_parts_and_is_reported(
    architecture: str, lm_of: Callable[[str], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    lm = lm_of(architecture)
    long = " ".join([*PROMPTS, *PROMPTS])
    options = GenerationOptions(do_sample=False, max_new_tokens=12)
    expected = [tuple(oracle(lm, text, options)) for text in (long, "The king")]
    monkeypatch.setattr(prefill, "_PART_TOKENS", 10)
    # The stock model: GPT-2's own pass takes prompts of any lengths, in one.
    monkeypatch.setattr(lm, "_decoding", lm.model)
    seen: list[tuple[int, int]] = []
    pieces = lm.stream([long, "The king"], options, progress=lambda *counts: seen.append(counts))
    records = {piece.index: piece.record for piece in pieces if piece.record is not None}
    assert [records[index].token_ids for index in (0, 1)] == expected
    total = sum(record.prompt_tokens for record in records.values())
    assert (seen[0], seen[-1]) == ((0, total), (total, total))
    steps = [after - before for (before, _), (after, _) in itertools.pairwise(seen)]
    assert max(steps) <= 10
    assert {of for _, of in seen} == {total}


def test_max_time_ends_a_row(lm_of: Callable[[str], Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """By a clock that goes on by a second with each step, in the first of which the row begins."""
    lm = lm_of("gpt2")
    now = 0.0
    stock = Engine.step

    def step(engine: Engine) -> Any:
        nonlocal now
        now += 1.0
        return stock(engine)

    monkeypatch.setattr(Engine, "step", step)
    monkeypatch.setattr("hfgen.generation.sequences.time", SimpleNamespace(monotonic=lambda: now))
    for seconds, tokens, reason in ((0.5, 2, "time"), (6.5, 8, "time"), (99, 20, "length")):
        record = lm.generate(
            "The king", seed=1, max_time=seconds, max_new_tokens=20, ignore_eos=True, slots=1
        )
        assert (record.completion_tokens, record.finish_reason) == (tokens, reason)


def test_finish_reasons(lm_of: Callable[[str], Any]) -> None:
    lm = lm_of("gpt2")
    plain = lm.generate("The king", do_sample=False, max_new_tokens=12, ignore_eos=True)
    assert plain.finish_reason == "length"
    assert plain.completion_tokens == 12
    third = plain.token_ids[2]
    first = plain.token_ids.index(third)
    by_id = lm.generate("The king", do_sample=False, stop_token_ids=[third])
    assert (by_id.finish_reason, by_id.token_ids) == ("stop", plain.token_ids[: first + 1])
    by_eos = lm.generate("The king", do_sample=False, eos_token_id=[third])
    assert (by_eos.finish_reason, by_eos.token_ids) == ("eos", plain.token_ids[: first + 1])
    assert by_eos.completion == by_id.completion
    stop = plain.completion[3:6]
    by_text = lm.generate("The king", do_sample=False, stop_strings=[stop], ignore_eos=True)
    assert by_text.finish_reason == "stop"
    assert by_text.completion == plain.completion[: plain.completion.index(stop)]


def requests_for(lm: Any, texts: list[str], **options: Any) -> list[Any]:
    maker = RequestMaker(lm.model, lm.tokenizer, lm.window)
    return [
        request
        for index, text in enumerate(texts)
        for request in maker.make(Prompt(text), index, GenerationOptions(**options), Reading())
    ]


def drain(engine: Engine) -> dict[int, list[int]]:
    tokens: dict[int, list[int]] = {}
    while engine.has_work:
        for event in engine.step():
            tokens.setdefault(event.key[0], []).append(event.token_id)
    return tokens


def test_cancelled_rows_leave_the_others_alone(lm_of: Callable[[str], Any]) -> None:
    lm = lm_of("gpt2")
    requests = requests_for(lm, PROMPTS, do_sample=False, max_new_tokens=20)
    engine = Engine(lm.model, lm.tokenizer, slots=4, window=lm.window)
    for request in requests:
        engine.submit(request)
    tokens: dict[int, list[int]] = {}
    for _ in range(5):
        for event in engine.step():
            tokens.setdefault(event.key[0], []).append(event.token_id)
    engine.cancel((1, 0))
    engine.cancel((5, 0))
    for index, more in drain(engine).items():
        tokens.setdefault(index, []).extend(more)
    assert set(tokens) == {0, 1, 2, 3, 4}
    assert len(tokens[1]) == 5
    for index in (0, 2, 3, 4):
        expected = lm.generate(PROMPTS[index], do_sample=False, max_new_tokens=20).token_ids
        assert tuple(tokens[index]) == expected


def failing_at(number: int, function: Callable[..., Any], error: BaseException) -> Any:
    """The function, but its call of this number, from 0, raises once it has done its work."""
    calls = iter(range(10**6))

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        result = function(*args, **kwargs)
        if next(calls) == number:
            raise error
        return result

    return call


def fail_in(place: str, lm: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let memory run out, once, in a step of the kind `place`."""
    # The stock model computes prompts of one length at a time: the second of them fails.
    monkeypatch.setattr(lm, "_decoding", lm.model)
    if place == "a prompt enters":
        monkeypatch.setattr(lm.model, "forward", failing_at(1, lm.model.forward, MemoryError()))
    elif place == "rows slide":
        slide = failing_at(1, Row.slide, MemoryError())
        monkeypatch.setattr(Row, "slide", slide)
    else:
        choose = failing_at(9, engine_module.choose, MemoryError())
        monkeypatch.setattr(engine_module, "choose", choose)


FAILING = ("a prompt enters", "rows slide", "tokens are chosen")
SLIDING = {"do_sample": False, "max_new_tokens": 150, "overflow": "slide", "ignore_eos": True}


@pytest.mark.parametrize("place", FAILING)
def test_an_engine_is_unusable_after_a_step_that_failed(
    place: str, tokenizer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    lm = wrap(build_model("gpt2"), tokenizer)
    requests = requests_for(lm, PROMPTS[:4], **SLIDING)
    fail_in(place, lm, monkeypatch)
    engine = lm.engine(3)
    for request in requests[:3]:
        engine.submit(request)
    with pytest.raises(MemoryError):
        drain(engine)
    for use in (
        engine.step,
        lambda: engine.submit(requests[3]),
        lambda: engine.cancel((0, 0)),
        lambda: engine.has_work,
        lambda: engine.free_slots,
    ):
        with pytest.raises(RuntimeError, match="another engine"):
            use()
    assert not engine._cache.layers  # the memory is free, though somebody may hold the engine


@pytest.mark.parametrize("place", FAILING)
def test_a_step_that_failed_ends_a_stream_by_its_own_exception(
    place: str, tokenizer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    lm = wrap(build_model("gpt2"), tokenizer)
    expected = [r.token_ids for r in lm.generate(PROMPTS, slots=3, **SLIDING)]
    with monkeypatch.context() as patch:
        fail_in(place, lm, patch)
        with pytest.raises(MemoryError):
            lm.generate(PROMPTS, slots=3, **SLIDING)
    # Another run of the same model makes an engine of its own.
    assert [r.token_ids for r in lm.generate(PROMPTS, slots=3, **SLIDING)] == expected


def test_a_huge_length_costs_memory_only_as_it_is_used(lm_of: Callable[[str], Any]) -> None:
    lm = lm_of("gpt2")
    stream = lm.stream(
        "The king", max_new_tokens=10**9, overflow="slide", repetition_penalty=1.1, seed=1
    )
    pieces = list(itertools.islice(stream, 20))
    stream.close()
    assert len(pieces) == 20 and all(piece.record is None for piece in pieces)


def test_remove_invalid_values_is_honoured(tokenizer: Any) -> None:
    model = build_model("gpt2", tie_word_embeddings=False)
    with torch.no_grad():
        model.lm_head.weight[123] = float("nan")
    lm = wrap(model, tokenizer)
    options = GenerationOptions(do_sample=False, max_new_tokens=5, remove_invalid_values=True)
    assert list(lm.generate("The king", options).token_ids) == oracle(lm, "The king", options)
    with pytest.raises(GenerationFailed):
        lm.generate("The king", do_sample=False, max_new_tokens=5)


@pytest.mark.parametrize("config_class", ["OpenAIGPTConfig", "MambaConfig"])
def test_models_without_a_key_value_cache_are_refused(config_class: str, tokenizer: Any) -> None:
    import transformers

    config = getattr(transformers, config_class)(vocab_size=4096)
    config.num_hidden_layers = 1
    if config_class == "OpenAIGPTConfig":
        config.n_embd, config.n_head = 8, 2
    else:
        config.hidden_size, config.intermediate_size, config.state_size = 8, 16, 2
    model = transformers.AutoModelForCausalLM.from_config(config).eval()
    with pytest.raises(ModelUnsupported, match="cannot decode"):
        wrap(model, tokenizer).generate("a", max_new_tokens=3)


def test_an_error_of_one_prompt_comes_after_the_texts_begun_before(
    lm_of: Callable[[str], Any],
) -> None:
    lm = lm_of("gpt2")
    finished = []
    with pytest.raises(ContextOverflow):
        for piece in lm.stream(["The king", "Well,", "x " * 500, "never"], max_new_tokens=9):
            if piece.record is not None:
                finished.append(piece.index)
    assert sorted(finished) == [0, 1]


def test_a_prompt_that_is_no_text_is_refused(lm_of: Callable[[str], Any]) -> None:
    lm = lm_of("gpt2")
    for wrong in (None, 5, b"bytes"):
        with pytest.raises(UsageError, match="prompt 1"):
            lm.generate(["a", wrong], max_new_tokens=2)


def test_length_that_only_the_minimum_asks_for_is_checked(lm_of: Callable[[str], Any]) -> None:
    with pytest.raises(ContextOverflow, match="300 new"):
        lm_of("gpt2").generate("The king", min_new_tokens=300)


def test_token_ids_beyond_the_vocabulary_are_refused(lm_of: Callable[[str], Any]) -> None:
    for name in ("suppress_tokens", "stop_token_ids", "eos_token_id"):
        with pytest.raises(InvalidOption, match="below 4096"):
            lm_of("gpt2").generate("The king", **{name: [4096]})


@pytest.mark.parametrize("ids", ["x", {}, -1, 4096, [[]], [4096, -1], True])
def test_end_of_text_that_is_no_token_of_the_model_is_left_out(
    lm_of: Callable[[str], Any], tokenizer: Any, ids: Any
) -> None:
    sound = lm_of("gpt2").generate("The king", do_sample=False, max_new_tokens=5, min_new_tokens=3)
    model = build_model("gpt2")
    model.generation_config.eos_token_id = ids
    lm = wrap(model, tokenizer)
    record = lm.generate("The king", do_sample=False, max_new_tokens=5, min_new_tokens=3)
    assert record.token_ids == sound.token_ids


def test_defaults_of_the_model_beyond_its_vocabulary_are_left_out(tokenizer: Any) -> None:
    model = build_model("gpt2")
    model.generation_config.suppress_tokens = [4096]
    model.generation_config.begin_suppress_tokens = [3, 4096]
    model.generation_config.forced_eos_token_id = 4096
    assert wrap(model, tokenizer).generate("The king", max_new_tokens=2).completion_tokens == 2


@pytest.mark.parametrize(("total", "expected"), [(50, 50), (3, None), (-1, None), ("x", None)])
def test_the_models_max_length_counts_the_prompt(
    total: Any, expected: int | None, tokenizer: Any
) -> None:
    model = build_model("gpt2", n_positions=300)
    model.generation_config.max_length = total
    lm = wrap(model, tokenizer)
    greedy = {"do_sample": False, "ignore_eos": True}
    record = lm.generate(PROMPTS[0], **greedy)
    # One that leaves no room for a single token is left out.
    assert record.completion_tokens == (expected - record.prompt_tokens if expected else 200)
    if expected:
        ids = torch.tensor([lm.tokenizer.encode(PROMPTS[0])])
        model.generation_config.eos_token_id = None
        out = model.generate(ids, attention_mask=torch.ones_like(ids), do_sample=False)
        assert list(record.token_ids) == out[0, ids.shape[1] :].tolist()
    assert lm.generate(PROMPTS[0], max_new_tokens=60, **greedy).completion_tokens == 60


def test_a_minimum_of_the_models_file_refuses_no_prompt(tokenizer: Any) -> None:
    model = build_model("gpt2")
    model.generation_config.min_new_tokens = 5000
    lm = wrap(model, tokenizer)
    record = lm.generate("The king", do_sample=False)
    assert record.prompt_tokens + record.completion_tokens == 128
    with pytest.raises(ContextOverflow):
        lm.generate("The king", min_new_tokens=5000)


@pytest.mark.parametrize("beams", [1, 2])
def test_a_stop_that_is_a_special_token_is_seen(beams: int, lm_of: Callable[[str], Any]) -> None:
    """A special token is no part of the text, where stops are looked for."""
    lm = lm_of("gpt2")
    options: dict[str, Any] = {
        "do_sample": False, "num_beams": beams, "ignore_eos": True, "max_new_tokens": 9,
        "sequence_bias": [[[77], 100.0], [[77, 77], 100.0], [[77, 77, 0], 300.0]],
    }  # fmt: skip
    assert len(lm.generate("The king", **options).token_ids) == 9
    record = lm.generate("The king", stop_strings=["<|endoftext|>", "never"], **options)
    assert (record.token_ids.index(0) + 1, record.finish_reason) == (
        record.completion_tokens,
        "stop",
    )
    assert 1 < record.completion_tokens < 9


@pytest.mark.parametrize("prompt", [Prompt("a", options=GenerationOptions(num_return_sequences=2))])
@pytest.mark.parametrize("options", [None, GenerationOptions(num_return_sequences=3)])
def test_one_prompt_is_not_asked_for_several_texts(
    prompt: Any, options: Any, lm_of: Callable[[str], Any]
) -> None:
    lm = lm_of("gpt2")
    for one in (prompt, "a") if options else (prompt,):
        with pytest.raises(UsageError, match="one prompt returns one record"):
            lm.generate(one, options, max_new_tokens=2)
    assert len(lm.generate([prompt], options, max_new_tokens=2)) == 2
    own = Prompt("a", options=GenerationOptions(num_return_sequences=1))
    assert lm.generate(own, options, max_new_tokens=2).completion_tokens <= 2


@pytest.mark.parametrize("architecture", ["gpt2", "llama"])
def test_a_model_is_freed_with_its_last_user(architecture: str, tokenizer: Any) -> None:
    """By reference counts alone: nobody waits for the collector with gigabytes in hand."""
    lm = wrap(build_model(architecture), tokenizer)
    lm.generate(PROMPTS, do_sample=False, max_new_tokens=3, slots=2)
    lm.generate(PROMPTS[0], num_beams=2, max_new_tokens=3)
    lm.generate(PROMPTS[0], guidance_scale=2, repetition_penalty=1.2, watermark=True, seed=1)
    gc.collect()
    parts = [part for m in (lm.model, lm._decoding) for part in (*m.modules(), *m.parameters())]
    weights = [weakref.ref(part) for part in parts]
    del parts
    gc.disable()
    try:
        del lm
        assert [ref() for ref in weights if ref() is not None] == []
    finally:
        gc.enable()


def test_counts_are_no_token_ids(tokenizer: Any) -> None:
    config = to_generation_config(
        GenerationOptions(prompt_lookup_num_tokens=500),
        tokenizer, max_new_tokens=500, eos_ids=[], vocabulary_size=300,
    )  # fmt: skip
    assert config.prompt_lookup_num_tokens == 500


def test_empty_prompt_begins_with_the_token_that_begins_texts(lm_of: Callable[[str], Any]) -> None:
    lm = lm_of("gpt2")
    record = lm.generate("", do_sample=False, max_new_tokens=8)
    ids = torch.tensor([[0]])
    with torch.inference_mode():
        expected = lm.model.generate(ids, max_new_tokens=8, do_sample=False, pad_token_id=0)
    assert list(record.token_ids) == expected[0, 1:].tolist()
    assert (record.prompt, record.prompt_tokens) == ("", 1)


def test_special_tokens_in_a_prompt_are_plain_text_unless_allowed(
    lm_of: Callable[[str], Any],
) -> None:
    lm = lm_of("gpt2")
    text = "one<|endoftext|>two"
    plain = lm.generate(text, max_new_tokens=1, seed=1).prompt_tokens
    special = lm.generate(text, max_new_tokens=1, seed=1, allow_special=True).prompt_tokens
    assert special < plain
    encoder = PromptEncoder(lm.tokenizer)
    assert 0 not in encoder.encode(text, Reading()).ids
    assert 0 in encoder.encode(text, Reading(allow_special=True)).ids
