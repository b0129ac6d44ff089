"""`lm.chat`: the same text as everywhere, what is computed again, and going back."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest

from hfgen.batch.input.rows import read_row
from hfgen.errors import ContextOverflow, UsageError
from tests.conftest import build_model, wrap

TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
TURNS = ["Hello, who are you?", "Tell me of the king.", "And of the golden bird?"]


@pytest.fixture(scope="module")
def lm(tokenizer: Any) -> Any:
    """A random chat model with a window of 400 tokens."""
    chat = copy.deepcopy(tokenizer)
    chat.add_special_tokens({"additional_special_tokens": ["<|im_start|>", "<|im_end|>"]})
    chat.chat_template = TEMPLATE
    return wrap(build_model("gpt2", vocab_size=4098, n_positions=400), chat)


def user(text: str) -> dict[str, str]:
    return {"role": "user", "content": text}


def assistant(text: str) -> dict[str, str]:
    return {"role": "assistant", "content": text}


@pytest.mark.parametrize("options", [{"do_sample": False}, {"temperature": 0.9}])
@pytest.mark.parametrize("kind", ["chat", "base"])
def test_the_same_text_as_everywhere(
    options: dict[str, Any], kind: str, lm: Any, lm_of: Callable[[str], Any]
) -> None:
    model = lm if kind == "chat" else lm_of("llama")
    asked: dict[str, Any] = {"max_new_tokens": 8, **options}
    chat = model.chat("Be brief.", seed=7, **asked)
    for number, turn in enumerate(TURNS[:2]):
        messages = [*chat.messages, user(turn)]
        record = chat.send(turn)
        assert record.seed == 7 + number
        alone = model.generate(messages, seed=record.seed, **asked)
        row = read_row({"messages": messages, "seed": record.seed}, 0, "f:1")
        (of_batch,) = model.generate([row.prompt], **asked)
        assert alone.token_ids == of_batch.token_ids == record.token_ids
        assert alone.completion == of_batch.completion == record.completion
        assert chat.messages == [*messages, assistant(record.completion)]


def test_pieces_make_the_answer(lm: Any) -> None:
    chat = lm.chat(seed=3, max_new_tokens=8)
    pieces = list(chat.stream("Hello"))
    assert "".join(piece.text for piece in pieces) == pieces[-1].record.completion
    assert chat.messages[-1] == assistant(pieces[-1].record.completion)


def test_an_emoji_of_several_tokens_comes_whole(lm: Any) -> None:
    script = lm.tokenizer.encode("a 🦊 b", split_special_tokens=True)
    assert len(script) > 5
    bias = [[script[: i + 1], 1000.0 + 100 * i] for i in range(len(script))]
    chat = lm.chat(sequence_bias=bias, max_new_tokens=len(script), do_sample=False)
    pieces = [piece.text for piece in chat.stream("👩‍👩‍👧 Hello")]
    assert "".join(pieces) == "a 🦊 b"
    assert any("🦊" in piece for piece in pieces) and "\ufffd" not in "".join(pieces)
    assert chat.messages[0]["content"] == "👩‍👩‍👧 Hello"


def test_a_turn_computes_what_is_new(lm: Any) -> None:
    chat = lm.chat(max_new_tokens=20, do_sample=False, ignore_eos=True)
    first = chat.send("Once upon a time there was a king who had a golden bird that could sing.")
    before = chat.prefill_tokens
    record = chat.send("Why?")
    assert chat.prefill_tokens - before <= record.prompt_tokens - first.prompt_tokens
    # Going back computes only what comes after the place.
    chat.undo()
    before = chat.prefill_tokens
    again = chat.send("Why?")
    assert again.token_ids == record.token_ids
    assert chat.prefill_tokens - before < 20
    before = chat.prefill_tokens
    list(chat.retry())
    assert chat.prefill_tokens - before <= 2


def test_going_back_loses_no_turn(lm: Any) -> None:
    chat = lm.chat(seed=1, max_new_tokens=4)
    first = chat.send("One")
    second = chat.send("Two")
    assert chat.undo() == "Two"
    assert chat.messages == [user("One"), assistant(first.completion)]
    (branch,) = chat.conversation.branches
    assert branch[-1].content == second.completion
    list(chat.retry(seed=99))
    assert chat.last.seed == 99
    assert len(chat.conversation.branches) == 1  # the first answer stands in the branch
    chat.edit(-1, "No.")
    assert chat.messages == [user("One"), assistant("No.")]
    assert len(chat.conversation.branches) == 2
    chat.edit(0, "Three")
    assert chat.messages == [user("Three")]
    list(chat.answer())
    assert [turn["role"] for turn in chat.messages] == ["user", "assistant"]
    assert len(chat.conversation.branches) == 3
    chat.conversation.switch(0)
    assert chat.messages[2] == user("Two")
    assert len(chat.conversation.branches) == 3
    while chat.undo() is not None:
        pass
    assert chat.messages == []
    assert len(chat.conversation.branches) == 4
    with pytest.raises(UsageError, match="no message"):
        chat.retry()


def test_an_answer_that_is_stopped_is_kept(lm: Any) -> None:
    chat = lm.chat(seed=1, max_new_tokens=30, ignore_eos=True)
    whole = chat.send("Hello").completion
    chat.undo()
    pieces = chat.stream("Hello", seed=1)
    said = [next(pieces).text for _ in range(5)]
    pieces.close()
    assert chat.messages == [user("Hello"), assistant("".join(said))]
    assert whole.startswith("".join(said))
    assert chat.conversation.messages[-1].facts["finish_reason"] == "stopped"
    before = chat.prefill_tokens
    chat.send("Go on")
    assert chat.prefill_tokens - before < 20


def test_an_interruption_in_a_step_keeps_what_was_said(
    lm: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tests.generation.test_engine import failing_at

    chat = lm.chat(seed=1, max_new_tokens=30, ignore_eos=True)
    broken = failing_at(9, lm._decoding.forward, KeyboardInterrupt())
    monkeypatch.setattr(lm._decoding, "forward", broken)
    with pytest.raises(KeyboardInterrupt):
        chat.send("Hello")
    assert [turn["role"] for turn in chat.messages] == ["user", "assistant"]
    monkeypatch.undo()
    assert chat.send("And?").completion_tokens == 30


def test_the_oldest_turns_leave_a_full_window(lm: Any) -> None:
    heard: list[str] = []
    chat = lm.chat("Be brief.", seed=5, max_new_tokens=10, ignore_eos=True, notify=heard.append)
    numbers = []
    for turn in range(12):
        record = chat.send(f"This is what I say as number {turn} of many " + "and more " * 15)
        assert record.prompt_tokens + record.completion_tokens <= 400
        numbers.append(chat.left_out)
    assert numbers[0] == 0 and numbers[-1] > 0
    # They leave several at once, so that what is kept begins alike for some answers.
    assert len(set(numbers)) == len(heard) + 1 < 5
    assert f"({numbers[-1]})" in heard[-1]
    assert len(chat.messages) == 25
    seen = [chat.messages[0], *chat.messages[1 + chat.left_out : -1]]
    alone = lm.generate(seen, seed=record.seed, max_new_tokens=10, ignore_eos=True)
    assert alone.completion == record.completion
    used, window = chat.tokens
    assert window == 400 and abs(used - record.prompt_tokens - 10) < 10


def test_an_open_length_leaves_room_for_an_answer(lm: Any) -> None:
    said = [user("the king and the bird " * 8), assistant("the golden bird " * 8)]
    for turns in range(1, 8):
        chat = lm.chat(messages=said * turns, seed=5)
        pieces = chat.stream("Why?")
        next(pieces)
        pieces.close()
        assert 400 - chat.tokens[0] >= 98
        assert (chat.left_out > 0) is (turns > 3)


def test_overflow_chooses_otherwise(lm: Any) -> None:
    long = "the king and the golden bird " * 30
    said = [user(long), assistant(long)]
    with pytest.raises(ContextOverflow):
        lm.chat(messages=said, overflow="error", max_new_tokens=20).send("Why?")
    heard: list[str] = []
    chat = lm.chat(messages=said, overflow="truncate", max_new_tokens=20, notify=heard.append)
    assert chat.send("Why?").prompt_tokens == 380
    assert (heard, chat.left_out) == ([], 0)


def test_a_message_that_alone_is_too_long_is_an_error_and_can_be_taken_back(lm: Any) -> None:
    chat = lm.chat(max_new_tokens=20)
    with pytest.raises(ContextOverflow):
        chat.send("the king and the golden bird " * 80)
    assert chat.undo() is not None
    chat.send("Hello")


def test_what_is_no_message(lm: Any) -> None:
    chat = lm.chat()
    with pytest.raises(UsageError, match="empty"):
        chat.send("  \n")
    with pytest.raises(UsageError, match="no message to answer"):
        chat.answer()
    with pytest.raises(UsageError, match="no turn"):
        chat.edit(-1, "x")
    with pytest.raises(UsageError, match="one answer"):
        lm.chat(num_return_sequences=2).send("Hello")
    with pytest.raises(UsageError, match="needs"):
        lm.chat(messages=[{"role": "user"}])
    assert chat.tokens == (0, 400)
    assert chat.undo() is None
