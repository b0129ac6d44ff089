"""Conversations for models without a chat template of their own."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from hfgen.batch.input.rows import read_row
from hfgen.errors import UsageError
from hfgen.generation.prompts.encode import PromptEncoder, Reading
from hfgen.generation.prompts.transcript import AnswerText, transcript
from hfgen.models.checkpoint.chat_template import give_own_form
from tests.conftest import build_model, wrap

SAID = [
    {"role": "system", "content": "You answer in one sentence."},
    {"role": "user", "content": "What is the capital of France?"},
    {"role": "assistant", "content": "Paris."},
    {"role": "user", "content": "And of Spain?"},
]
WRITTEN = (
    "You answer in one sentence.\n\nUser: What is the capital of France?\nAssistant: Paris.\n"
    "User: And of Spain?\nAssistant:"
)


def test_a_base_model_gets_a_transcript(tokenizer: Any) -> None:
    assert transcript(SAID) == WRITTEN
    encoder = PromptEncoder(tokenizer)
    got = encoder.encode_messages(SAID, Reading())
    assert got.ids == tokenizer.encode(WRITTEN)
    assert (got.rendered, got.is_answer) == (None, True)
    assert encoder.encode_messages(SAID[1:], Reading(system=SAID[0]["content"])).ids == got.ids
    special = encoder.encode_messages([{"role": "user", "content": "<|endoftext|>"}], Reading())
    assert tokenizer.eos_token_id not in special.ids
    with pytest.raises(UsageError, match="raw leaves"):
        encoder.encode_messages(SAID, Reading(raw=True))
    with pytest.raises(UsageError, match="chat template cannot be used"):
        encoder.encode_messages(SAID, Reading(chat_template="rag"))


def test_an_answer_ends_where_the_next_turn_would_begin(tokenizer: Any) -> None:
    """The model is made to write an answer and the user's next turn by biases."""
    lm = wrap(build_model("gpt2"), tokenizer)
    script = tokenizer.encode(" Madrid it\n is.\n\nUser: And", split_special_tokens=True)
    bias = [[script[: i + 1], 1000.0 + 100 * i] for i in range(len(script))]
    options = {"do_sample": False, "sequence_bias": bias, "ignore_eos": True}
    pieces = list(lm.stream(SAID, **options))
    record = pieces[-1].record
    assert record is not None
    assert (record.completion, record.finish_reason) == ("Madrid it\n is.", "stop")
    assert "".join(piece.text for piece in pieces) == record.text == "Madrid it\n is."
    assert record.prompt == "And of Spain?"
    row = read_row({"messages": SAID, **options}, 0, "f:1")
    (same,) = lm.generate([row.prompt])
    assert same.completion == record.completion


@pytest.mark.parametrize("size", [1, 2, 3, 50])
def test_white_space_around_an_answer_is_no_part_of_it(size: int) -> None:
    text = " \n Hello  there.\n\nYes. \n "
    splitter = AnswerText()
    parts = [splitter.add(text[at : at + size]) for at in range(0, len(text), size)]
    assert splitter.flush() == ("", "")
    assert "".join(answer for _, answer in parts) == text.strip()


def test_a_dialogpt_gets_its_own_form(tokenizer: Any) -> None:
    plain = copy.deepcopy(tokenizer)
    give_own_form(plain, SimpleNamespace(task_specific_params={"text-generation": {}}))
    give_own_form(plain, SimpleNamespace())
    assert not plain.chat_template
    give_own_form(plain, SimpleNamespace(task_specific_params={"conversational": {}}))
    got = PromptEncoder(plain).encode_messages(SAID[1:], Reading())
    end = plain.eos_token
    assert got.rendered == f"What is the capital of France?{end}Paris.{end}And of Spain?{end}"
    given = copy.deepcopy(tokenizer)
    given.chat_template = "own"
    give_own_form(given, SimpleNamespace(task_specific_params={"conversational": {}}))
    assert given.chat_template == "own"


def test_a_dialogpt_is_known_by_its_configuration(tokenizer: Any, tmp_path: Path) -> None:
    import hfgen

    build_model("gpt2").save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    config["task_specific_params"] = {"conversational": {"max_length": 1000}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    lm = hfgen.load(str(tmp_path), device="cpu")
    assert lm.is_chat
    text = f"Hello{lm.tokenizer.eos_token}"
    answer = lm.generate("Hello", max_new_tokens=5, seed=3, temperature=1.0, top_p=1.0)
    raw = lm.generate(
        text, raw=True, allow_special=True, max_new_tokens=5, seed=3, temperature=1.0, top_p=1.0
    )
    assert answer.completion == raw.completion


@pytest.mark.parametrize(
    ("own", "asked", "expected"),
    [
        ({}, {}, {"temperature": 0.3, "top_p": 0.9}),
        ({}, {"temperature": 1.1}, {"temperature": 1.1, "top_p": 0.9}),
        ({}, {"do_sample": False}, {"do_sample": False}),
        ({"temperature": 0.6, "do_sample": True}, {}, {"temperature": 0.6, "top_p": 0.95}),
    ],
)
def test_a_chat_model_samples_closely_unless_someone_says_otherwise(
    tokenizer: Any, own: dict[str, Any], asked: dict[str, Any], expected: dict[str, Any]
) -> None:
    from hfgen.generation.options.options import GenerationOptions

    chat = copy.deepcopy(tokenizer)
    chat.chat_template = "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}"
    model = build_model("gpt2")
    for name, value in own.items():
        setattr(model.generation_config, name, value)
    lm = wrap(model, chat)
    (text,) = lm.prepare(SAID, 0, GenerationOptions(**asked), Reading())
    config = text.request.config
    assert {name: getattr(config, name) for name in expected} == expected
    (raw,) = lm.prepare("Hello", 0, GenerationOptions(**asked), Reading(raw=True))
    if not own and not asked:
        assert (raw.request.config.temperature, raw.request.config.top_p) == (0.8, 0.95)


def test_an_answer_of_a_base_model_has_the_default_length(
    lm_of: Callable[[str], Any],
) -> None:
    from hfgen.generation.options.options import GenerationOptions

    lm = lm_of("bloom")  # without a limit
    (text,) = lm.prepare(SAID, 0, GenerationOptions(), Reading())
    assert text.request.config.max_new_tokens == 200
