"""Completions from a model: prompts, ends, seeds, ranking."""

from __future__ import annotations

import math
from functools import cache
from types import SimpleNamespace

import pytest

from hfgen.coding.complete import code_options, complete_code
from hfgen.coding.languages import language_of_file
from hfgen.coding.prompt import code_prompt
from hfgen.errors import ContextOverflow, ModelUnsupported
from hfgen.generation.options.options import GenerationOptions
from hfgen.generation.prompts.infill import encode_infill
from tests.conftest import BUNDLED, build_model, wrap

PYTHON = language_of_file("a.py", "")
FIM = ("<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>", "<|fim_pad|>")


@cache
def filling_lm():
    """A random model with tokens for filling in."""
    from transformers import AddedToken, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(BUNDLED)
    tokenizer.add_tokens([AddedToken(token, special=True, normalized=False) for token in FIM])
    return wrap(build_model("gpt2", vocab_size=len(tokenizer)), tokenizer)


@pytest.fixture
def writes(monkeypatch, lm_of):
    """A model that writes given texts: `writes(lm, "text", …)`, one a sample, by token pieces."""

    def prepare(lm, *texts, reason="eos"):
        from hfgen.generation.records import Piece, TokenLogprob
        from hfgen.generation.results import TextInProgress

        encode = lm.tokenizer.encode

        class Scripted:
            def __init__(self):
                self.rows = {}
                self.more_will_come = True
                self.asked = []

            @property
            def has_work(self):
                return bool(self.rows)

            def submit(self, made: list[TextInProgress]):
                for text in made:
                    index = text.request.key[0]
                    self.asked.append(text.request)
                    self.rows[index] = list(map(lm.tokenizer.decode, encode(texts[index])))

            def cancel(self, index):
                del self.rows[index]

            def step(self):
                found = []
                for index, rest in list(self.rows.items()):
                    text = rest.pop(0)
                    record = None
                    if not rest:
                        del self.rows[index]
                        record = SimpleNamespace(finish_reason=reason, completion_tokens=99)
                    logprob = (TokenLogprob(0, text, -1.0 - index),)
                    found.append(Piece(index, 0, text, logprob, record))
                return found

        scripted = Scripted()
        monkeypatch.setattr(lm, "scheduler", lambda slots, progress=None: scripted, raising=False)
        return scripted

    return prepare


def complete(lm, before, after="", *, until="function", watch=lambda text: None, **options):
    options = code_options(GenerationOptions(**({"seed": 7} | options)), lm.window)
    return complete_code(lm, before, after, PYTHON, options, until=until, watch=watch)


def test_without_an_end_it_is_the_text_that_generate_makes(lm_of):
    lm = lm_of("gpt2")
    prompt = "def f(x):\n    return"
    settings = {"temperature": 0.2, "top_p": 0.95, "max_new_tokens": 12, "seed": 7}
    (found,) = complete(lm, prompt, until="eof", max_new_tokens=12)
    expected = lm.generate(prompt, raw=True, **settings)
    assert (found.text, found.finish_reason) == (expected.completion, expected.finish_reason)
    assert (found.seed, found.prompt_tokens) == (7, expected.prompt_tokens)
    several = complete(lm, prompt, until="eof", max_new_tokens=12, num_return_sequences=3)
    settings["temperature"] = 0.8
    expected = lm.generate([prompt], raw=True, num_return_sequences=3, logprobs=0, **settings)
    assert {one.text: one.seed for one in several} == {one.completion: one.seed for one in expected}
    means = [math.fsum(t.logprob for t in one.logprobs) / len(one.logprobs) for one in expected]
    assert [one.logprob for one in several] == pytest.approx(sorted(means, reverse=True))
    for one in several:
        alone = complete(lm, prompt, until="eof", max_new_tokens=12, seed=one.seed, temperature=0.8)
        assert alone[0].text == one.text


def test_a_prompt_for_filling_in():
    lm = filling_lm()
    before, after = "def f(x):\n    return ", "\n\nprint(f(1))\n"
    found = code_prompt(lm, before, after, limit=100)
    assert found.ids == encode_infill(lm.tokenizer, before, after).ids
    prefix, suffix, middle, pad = lm.tokenizer.convert_tokens_to_ids(list(FIM))
    assert (found.ids[0], found.ids[-1]) == (prefix, middle)
    assert found.end_ids == {prefix, suffix, middle, pad}
    assert not found.is_cut
    (text,) = complete(lm, before, after, until="eof", max_new_tokens=8, temperature=0)
    expected = lm.model.generate(
        **_batch(found.ids), max_new_tokens=8, do_sample=False,
        eos_token_id=[0, *sorted(found.end_ids)], pad_token_id=0,
    )  # fmt: skip
    ids = [int(one) for one in expected[0][len(found.ids) :]]
    while ids and ids[-1] in {0, *found.end_ids}:
        ids.pop()
    assert text.text.rstrip() == lm.tokenizer.decode(ids).rstrip()
    assert text.prompt_tokens == len(found.ids)


def _batch(ids):
    import torch

    found = torch.tensor([ids])
    return {"input_ids": found, "attention_mask": torch.ones_like(found)}


def test_a_model_without_the_tokens_says_so(lm_of):
    with pytest.raises(
        ModelUnsupported, match="gpt2 cannot fill in: its tokenizer has no"
    ) as caught:
        complete(lm_of("gpt2"), "x = ", "\ny")
    assert "model=" in caught.value.hint


def test_what_is_far_from_the_cursor_leaves(lm_of):
    lm = lm_of("gpt2")
    told = []
    text = "one two three\n" * 100
    options = code_options(GenerationOptions(seed=1, max_new_tokens=8), lm.window)
    (found,) = complete_code(lm, text, "", PYTHON, options, notify=told.append)
    assert found.prompt_tokens == 120
    assert told == [
        "the context window of 128 tokens does not hold the whole text: the model sees the 120 "
        "tokens nearest to the cursor"
    ]
    assert code_prompt(lm, text, "", limit=120).ids == tuple(lm.tokenizer.encode(text)[-120:])
    filling = filling_lm()
    found = code_prompt(filling, text, text, limit=100)
    assert len(found.ids) == 100
    assert found.is_cut
    with pytest.raises(ContextOverflow):
        complete(lm, text, overflow="error", max_new_tokens=8)
    assert complete(lm, "")[0].prompt_tokens == 1


def test_a_completion_ends_with_its_function(writes, lm_of):
    lm = lm_of("gpt2")
    streamed = []
    scripted = writes(lm, "    return 1\n\n\ndef g():\n    return 2\n")
    (found,) = complete(lm, "def f():\n", watch=streamed.append)
    assert (found.text, found.finish_reason) == ("    return 1", "stop")
    assert "".join(streamed) == found.text
    assert not scripted.rows
    assert found.completion_tokens < 12
    assert "".join(token.token for token in found.logprobs).rstrip() == found.text


def test_alternatives_are_ranked_and_equal_ones_are_one(writes, lm_of):
    lm = lm_of("gpt2")
    texts = ("    return 1\n\nx", "    return 2\n\nx", "    return 1\n\nyy")
    scripted = writes(lm, *texts)
    found = complete(lm, "def f():\n", num_return_sequences=3)
    assert [(one.text, one.samples, one.logprob) for one in found] == [
        ("    return 1", 2, -1.0), ("    return 2", 1, -2.0),
    ]  # fmt: skip
    assert scripted.asked[0].seed == 7
    assert len({request.seed for request in scripted.asked}) == 3


def test_a_completion_of_nothing(writes, lm_of):
    lm = lm_of("gpt2")
    writes(lm, "\n")
    (found,) = complete(lm, "def f():\n    return 1")
    assert (found.text, found.logprob) == ("", None)


def test_options_where_nothing_is_said():
    def given(**options):
        return code_options(GenerationOptions(**options), 1024)

    assert (given().temperature, given().top_p, given().max_new_tokens) == (0.2, 0.95, 256)
    assert given(num_return_sequences=3).temperature == 0.8
    assert given(temperature=0.5, num_return_sequences=3).temperature == 0.5
    assert given(temperature=0).top_p is None
    assert given(do_sample=False).temperature is None
    assert given(num_beams=3, num_return_sequences=3).temperature is None
    assert given(min_new_tokens=300).max_new_tokens == 300
    assert code_options(GenerationOptions(), 128).max_new_tokens == 64


def test_beams_and_guesses(lm_of):
    lm = lm_of("gpt2")
    prompt = "Once upon a time"
    found = complete(lm, prompt, until="eof", num_beams=3, num_return_sequences=2, max_new_tokens=6)
    expected = lm.generate([prompt], num_beams=3, num_return_sequences=2, max_new_tokens=6)
    assert [one.text for one in found] == [one.completion.rstrip() for one in expected]
    plain = complete(lm, prompt, until="eof", max_new_tokens=6, temperature=0)
    guessed = complete(
        lm, prompt, until="eof", max_new_tokens=6, temperature=0, prompt_lookup_num_tokens=2
    )
    assert [one.text for one in plain] == [one.text for one in guessed]
