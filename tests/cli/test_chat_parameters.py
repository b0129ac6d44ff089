"""`/set` in a dialogue."""

from __future__ import annotations

from typing import Any

import pytest

from hfgen.cli.chat.parameters import assign
from hfgen.errors import UsageError
from hfgen.generation.options.options import GenerationOptions


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        ("temperature 0.2", {"temperature": 0.2}),
        ("temperature=0.2", {"temperature": 0.2}),
        ("top-p 0.5", {"top_p": 0.5}),
        ("temp 1", {"temperature": 1.0}),
        ("num_predict 7", {"max_new_tokens": 7}),
        ("stop END", {"stop_strings": ("END",)}),
        ("stop \\n", {"stop_strings": ("\n",)}),
        ("greedy true", {"do_sample": False}),
        ("ignore_eos yes", {"ignore_eos": True}),
        ("stop_token_ids 1,2", {"stop_token_ids": (1, 2)}),
        ("seed default", {}),
    ],
)
def test_values(typed: str, expected: dict[str, Any]) -> None:
    options, field = assign(GenerationOptions(seed=3, logprobs=4), typed)
    kept = {} if "seed" in typed else {"seed": 3}
    assert options.given() == kept | expected
    assert field in expected or field == "seed"


@pytest.mark.parametrize(
    ("typed", "message"),
    [
        ("temperature", "not NAME VALUE"),
        ("temperture 3", "temperture"),
        ("temperature hot", "temperature"),
        ("top_p 3", "must be"),
        ("num_return_sequences 2", "num_return_sequences"),
        ("min_new_tokens 9", "more than"),
    ],
)
def test_refusals(typed: str, message: str) -> None:
    before = GenerationOptions(max_new_tokens=5)
    with pytest.raises(UsageError, match=message):
        assign(before, typed)
