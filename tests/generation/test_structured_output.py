"""Constrained texts: each satisfies its grammar, whatever the model, the sampling and the length.

Schemas are checked by jsonschema, which shares nothing with what constrains.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import hypothesis.strategies as st
import jsonschema
import pytest
from hypothesis import HealthCheck, given, settings

from hfgen import GenerationOptions, Prompt
from hfgen.errors import HfgenError, OptionConflict, UsageError
from hfgen.generation.constraints.schemas import read_schema
from tests.conftest import build_model, wrap

PERSON = read_schema("name, age int, tags list")
HOSTILE = (
    '{"name": "',
    "]]]]}}}}",
    "```json\n{",
    "\\u0000 \\ud83d",
    'Say no. "',
    "}",
    "\n\n\n",
    "1e999",
)


@pytest.fixture(scope="module")
def lm(lm_of: Callable[[str], Any]) -> Any:
    return lm_of("gpt2")


def check(schema: dict[str, Any], text: str) -> None:
    value = json.loads(text)
    checker = jsonschema.FormatChecker()
    jsonschema.Draft202012Validator(schema, format_checker=checker).validate(value)


LEAVES = st.sampled_from(
    [
        {"type": "string"}, {"type": "integer"}, {"type": "number"}, {"type": "boolean"},
        {"type": "null"}, {"const": "x"}, {"enum": ["red", 2, None]},
        {"type": "string", "minLength": 3, "maxLength": 9},
        {"type": "string", "pattern": "^[A-Z]{2}-[0-9]+$"}, {"type": "string", "format": "date"},
        {"type": "integer", "minimum": -3, "maximum": 12}, {"type": ["integer", "null"]}, {},
        {"type": "number", "exclusiveMinimum": 5},
    ]
)  # fmt: skip
NAMES = st.text('abcé "\\n', min_size=1, max_size=4)


@st.composite
def objects(draw: Any, inner: Any) -> dict[str, Any]:
    properties = draw(st.dictionaries(NAMES, inner, max_size=3))
    required = [name for name in properties if draw(st.booleans())]
    schema = {"type": "object", "properties": properties, "required": required}
    return schema | draw(st.sampled_from([{"additionalProperties": False}, {}]))


SCHEMAS = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        objects(inner),
        st.builds(
            lambda items, least: {"type": "array", "items": items, "minItems": least},
            inner, st.integers(0, 2),
        ),
        st.builds(lambda a, b: {"anyOf": [a, b]}, inner, inner),
    ),
    max_leaves=5,
)  # fmt: skip
CASES = {
    "schema": SCHEMAS, "seed": st.integers(0, 10**6), "length": st.integers(8, 90),
    "prompt": st.sampled_from(HOSTILE), "temperature": st.sampled_from([0, 0.7, 1.5, 20]),
}  # fmt: skip


def always_valid(
    lm: Any, schema: Any, seed: int, length: int, prompt: str, temperature: float
) -> bool:
    try:
        record = lm.generate(
            prompt, json_schema=schema, seed=seed, max_new_tokens=length, temperature=temperature
        )
    except UsageError as error:
        # Not every small schema fits: its shortest text takes more tokens.
        assert "its shortest text takes" in error.message
        return False
    check(schema, record.completion)
    assert len(record.token_ids) <= length
    return True


@settings(max_examples=15, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(**CASES)
def test_every_text_parses_and_validates(lm: Any, **case: Any) -> None:
    always_valid(lm, **case)


@pytest.mark.slow
def test_a_thousand_texts_of_the_packaged_model_validate() -> None:
    import hfgen

    packaged = hfgen.load("storyteller")
    done = []

    @settings(max_examples=1000, deadline=None, suppress_health_check=list(HealthCheck))
    @given(**CASES)
    def run(**case: Any) -> None:
        done.append(always_valid(packaged, **case))

    run()
    assert sum(done) > 500


@pytest.mark.parametrize("length", [30, 64])
def test_a_text_is_closed_at_its_length_and_says_so(lm: Any, length: int) -> None:
    reasons = set()
    for seed in range(3):
        record = lm.generate("x", json_schema=PERSON, max_new_tokens=length, seed=seed)
        check(PERSON, record.completion)
        reasons.add(record.finish_reason)
        assert len(record.token_ids) <= length
    assert reasons <= {"length", "stop"}
    assert "length" in reasons


def test_a_late_text_is_closed_too(lm: Any) -> None:
    record = lm.generate("x", json_schema=PERSON, max_new_tokens=100, max_time=1e-6, seed=1)
    check(PERSON, record.completion)
    assert record.finish_reason == "time"


def test_a_length_without_room_is_refused(lm: Any) -> None:
    with pytest.raises(UsageError, match=r"its shortest text takes \d+ tokens, 8 may") as caught:
        lm.generate("x", json_schema=PERSON, max_new_tokens=8)
    assert caught.value.hint == "raise max_new_tokens"


def test_the_end_of_the_grammar_ends_the_text(lm: Any) -> None:
    """Before any end-of-text token, which would be the only one left."""
    for way in ({"ignore_eos": True}, {}):
        record = lm.generate("x", choices=["a king", "the queen"], seed=2, **way)
        assert record.completion in ("a king", "the queen")
        assert record.finish_reason == "stop"


def test_end_of_text_comes_only_where_the_text_may_end(tokenizer: Any) -> None:
    eos = build_model("gpt2")
    lm = wrap(eos, tokenizer)
    for bias in (1000, -1000):
        record = lm.generate(
            "x", regex="[a-z]{3,9}", sequence_bias=[[[0], bias]], max_new_tokens=20, seed=1
        )
        assert re.fullmatch("[a-z]{3,9}", record.completion)
        assert record.finish_reason == ("eos" if bias > 0 else "stop")


def test_blanks_are_bounded(lm: Any) -> None:
    """A model that wants nothing but blanks gets one behind a comma or a colon."""
    blanks = [[[i], 500.0] for i in range(300) if not lm.tokenizer.decode([i]).strip()]
    record = lm.generate(
        "x", json_schema="a int, b bool", sequence_bias=blanks, max_new_tokens=60, seed=1
    )
    assert re.fullmatch(r'\{"a": ?-?\d+, ?"b": ?(true|false)\}', record.completion)


def test_nothing_is_compiled() -> None:
    code = "import hfgen.generation.engine, sys; print('llguidance.torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


def test_a_constraint_without_effect_changes_nothing(lm: Any) -> None:
    for how in ({"do_sample": False}, {"temperature": 0.9, "top_p": 0.9, "seed": 5}):
        plain = lm.generate("The king", max_new_tokens=1, **how)
        text = plain.completion
        assert text.isprintable()
        free = lm.generate("The king", max_new_tokens=1, regex="(?s:.*)", **how)
        assert free.token_ids == plain.token_ids


def test_rows_of_unlike_grammars_share_a_batch(lm: Any) -> None:
    ways: list[dict[str, Any]] = [
        {"json_schema": PERSON}, {"regex": "[ab]+c"}, {"choices": ["yes", "no"]}, {},
        {"grammar": 'start: "(" start ")" | "x"'}, {"json_schema": PERSON, "temperature": 5},
    ]  # fmt: skip
    prompts = [Prompt("The king", options=GenerationOptions(**way), seed=7) for way in ways]
    alone = [lm.generate(prompt, max_new_tokens=40).token_ids for prompt in prompts]
    for slots in (2, 6):
        together = lm.generate(prompts, max_new_tokens=40, slots=slots)
        assert [record.token_ids for record in together] == alone


def test_the_window_may_slide_meanwhile(tokenizer: Any) -> None:
    lm = wrap(build_model("gpt2", n_positions=32), tokenizer)
    record = lm.generate("x", json_schema=PERSON, max_new_tokens=90, overflow="slide", seed=1)
    check(PERSON, record.completion)


@pytest.mark.parametrize(
    ("schema", "words"),
    [
        ({"properties": {"a": {"not": {}}}}, "properties.a.not cannot be enforced"),
        ({"type": "array", "uniqueItems": True}, "uniqueItems cannot be enforced"),
        ({"type": "integer", "minimum": 5, "maximum": 3}, "minimum (5) is greater than maximum"),
        ({"$ref": "http://x.org/y"}, "http://x.org/y"),
        ({"type": "string", "format": "zip"}, "Unknown format: zip"),
        ({"type": "string", "pattern": "(?=a)b"}, "look-around"),
        ({"type": "foo"}, "Invalid type: foo"),
        (
            {"type": "object", "properties": {"a": {"$ref": "#"}}, "required": ["a"]},
            "no finite text",
        ),
        ("name, name", "the field name is there twice"),
        ("name foo", "'foo' is no type"),
        ('{"type": ', "this is no JSON"),
        ("[1]", "a schema is a JSON object"),
    ],
)
def test_impossible_schemas_are_refused_without_a_model(schema: Any, words: str) -> None:
    with pytest.raises(UsageError) as caught:
        GenerationOptions(json_schema=schema)
    assert words in caught.value.message
    assert caught.value.hint
    assert "\n" not in caught.value.message


@pytest.mark.parametrize(
    "options",
    [{"regex": "(ab"}, {"regex": "(?=a)b"}, {"grammar": "start: foo"}, {"grammar": "("},
     {"regex": "[^\\s\\S]"}],
)  # fmt: skip
def test_grammars_that_cannot_be_read_are_refused(options: Any) -> None:
    with pytest.raises(UsageError) as caught:
        GenerationOptions(**options)
    assert caught.value.hint
    assert "\n" not in caught.value.message


@pytest.mark.parametrize(
    "options",
    [
        {"regex": "a", "choices": ["a"]}, {"regex": "a", "num_beams": 2},
        {"json_schema": "a", "stop_strings": ["x"]}, {"json_schema": "a", "stop_token_ids": [1]},
        {"choices": ["a"], "prompt_lookup_num_tokens": 3}, {"grammar": 'start: "a"',
        "assistant_model": "gpt2"},
    ],
)  # fmt: skip
def test_what_does_not_go_together_is_refused(options: Any) -> None:
    with pytest.raises(OptionConflict):
        GenerationOptions(**options)


def test_the_short_form_of_a_schema() -> None:
    schema = read_schema("name, age int?, tags list, sizes list[float], born date: the day")
    kinds = schema["properties"]
    assert list(kinds) == schema["required"] == ["name", "age", "tags", "sizes", "born"]
    assert kinds["age"] == {"anyOf": [{"type": "integer"}, {"type": "null"}]}
    assert kinds["sizes"] == {"type": "array", "items": {"type": "number"}}
    assert kinds["born"]["description"] == "the day"
    assert schema["additionalProperties"] is False


def test_what_the_penalties_leave_nothing_of_is_an_error_of_the_row(lm: Any) -> None:
    with pytest.raises(HfgenError, match="no token can be sampled"):
        lm.generate("x", choices=["a"], suppress_tokens=lm.tokenizer.encode("a"), seed=1)
