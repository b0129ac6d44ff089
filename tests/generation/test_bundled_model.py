"""The engine on real weights (the bundled model) and on GPT-2's full shape."""

from __future__ import annotations

import os
import random
from typing import Any

import pytest
import torch

from hfgen import GenerationOptions, load
from tests.conftest import BUNDLED, wrap
from tests.generation.test_engine import PROMPTS, oracle

WORDS = ["the", "king", "fox", "forest", "old", "girl", "said", "went", "of", "in", "to", "with"]


@pytest.fixture(scope="module")
def storyteller() -> Any:
    return load("storyteller", device="cpu")


def test_greedy_equals_generate(storyteller: Any) -> None:
    options = GenerationOptions(do_sample=False, max_new_tokens=60)
    expected = [tuple(oracle(storyteller, text, options)) for text in PROMPTS]
    for slots in (1, 4, 16):
        records = storyteller.generate(PROMPTS, options, slots=slots)
        assert [record.token_ids for record in records] == expected


def test_stock_objects(storyteller: Any) -> None:
    from transformers import GPT2LMHeadModel

    assert type(storyteller.model) is GPT2LMHeadModel
    before = {name: value.clone() for name, value in storyteller.model.state_dict().items()}
    ids = storyteller.tokenizer("Once upon a time", return_tensors="pt")
    first = storyteller.model.generate(**ids, max_new_tokens=5, do_sample=False)
    storyteller.generate(PROMPTS, max_new_tokens=5, seed=1)
    assert all(torch.equal(before[n], v) for n, v in storyteller.model.state_dict().items())
    again = storyteller.model.generate(**ids, max_new_tokens=5, do_sample=False)
    assert torch.equal(first, again)


@pytest.mark.slow
def test_greedy_equals_generate_at_gpt2_size() -> None:
    """124M parameters, random; GPT-2's own tokenizer where HFGEN_TEST_GPT2_TOKENIZER has it."""
    from transformers import AutoTokenizer, GPT2Config, GPT2LMHeadModel

    folder = os.environ.get("HFGEN_TEST_GPT2_TOKENIZER", BUNDLED)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = GPT2LMHeadModel(GPT2Config(initializer_range=0.05)).eval()
    lm = wrap(model, tokenizer)
    options = GenerationOptions(do_sample=False, max_new_tokens=24)
    expected = [tuple(oracle(lm, text, options)) for text in PROMPTS]
    assert len(set(expected)) == len(expected)
    for slots in (1, 4, 16):
        records = lm.generate(PROMPTS, options, slots=slots)
        assert [record.token_ids for record in records] == expected


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_flip_rate_in_float32(storyteller: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """How often a token differs because its row was decoded beside others: near-ties only."""
    rng = random.Random(0)
    prompts = [" ".join(rng.choices(WORDS, k=rng.randrange(2, 30))) for _ in range(200)]
    lines = []
    for name, options in {
        "greedy": GenerationOptions(do_sample=False, max_new_tokens=100),
        "sampled": GenerationOptions(temperature=0.8, top_p=0.95, max_new_tokens=100),
    }.items():
        alone = storyteller.generate(prompts, options, seed=0, slots=1)
        for slots in (4, 16, 64):
            together = storyteller.generate(prompts, options, seed=0, slots=slots)
            tokens = sum(record.completion_tokens for record in alone)
            # After its first flip a text is another one: count the flip, not what follows.
            flips = sum(a.token_ids != b.token_ids for a, b in zip(alone, together, strict=True))
            lines.append(f"{name}, {slots} slots: {flips} flips in {tokens} tokens")
            assert flips <= tokens * 1e-4, lines[-1]
    with capsys.disabled():
        print("", *lines, sep="\n")
