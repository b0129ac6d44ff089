"""`/v1/chat/completions` against what the library answers."""

from __future__ import annotations

import json
from typing import Any

import pytest
from schemas import check_chunk

PATH = "/v1/chat/completions"
TALK = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "Hello"},
    {"role": "assistant", "content": "Hi!"},
    {"role": "user", "content": "Who is the king?"},
]


def contents(answer: Any) -> list[str]:
    return [choice["message"]["content"] for choice in answer["choices"]]


def stream(server: Any, **body: Any) -> list[dict[str, Any]]:
    with server.http.stream("POST", PATH, json=body | {"stream": True}) as answer:
        assert answer.status_code == 200
        lines = [line for line in answer.iter_lines() if line.startswith("data: ")]
    assert lines[-1] == "data: [DONE]"
    return [check_chunk(PATH, json.loads(line[6:])) for line in lines[:-1]]


@pytest.mark.parametrize("model", ["story", "base", "chat"])
@pytest.mark.parametrize("settings", [{}, {"temperature": 0}, {"top_p": 0.4, "stop": "e"}], ids=str)
def test_the_answer_is_that_of_generate(server, lm_named, model, settings):
    asked = {"messages": TALK, "model": model, "seed": 4, "max_tokens": 20, **settings}
    record = lm_named(model).generate(TALK, seed=4, max_new_tokens=20, **settings)
    answer = server.post(PATH, **asked)
    assert contents(answer) == [record.completion]
    assert answer["usage"]["prompt_tokens"] == record.prompt_tokens
    chunks = stream(server, **asked)
    deltas = [chunk["choices"][0]["delta"] for chunk in chunks]
    assert deltas[0]["role"] == "assistant" and deltas[0]["content"] == ""
    assert all("role" not in delta for delta in deltas[1:])
    assert "".join(delta.get("content", "") for delta in deltas) == record.completion
    reason = answer["choices"][0]["finish_reason"]
    reasons = [chunk["choices"][0]["finish_reason"] for chunk in chunks]
    assert (deltas[-1], reasons) == ({}, [None] * (len(chunks) - 1) + [reason])


def test_other_spellings_of_a_conversation(server):
    asked = {"model": "chat", "seed": 4, "max_completion_tokens": 8, "max_tokens": 3}
    expected = contents(server.post(PATH, messages=TALK, **asked))
    parts = [{"type": "text", "text": "Who is "}, {"type": "text", "text": "the king?"}]
    others = [
        {"role": "developer", "content": "Be brief."},
        TALK[1],
        {**TALK[2], "refusal": None, "tool_calls": []},
        {"role": "user", "content": parts, "name": "ann"},
    ]
    assert contents(server.post(PATH, messages=others, **asked)) == expected


def test_several_answers(server, lm_named):
    records = lm_named("chat").generate([TALK], seed=4, max_new_tokens=6, num_return_sequences=3)
    asked = {"model": "chat", "messages": TALK, "seed": 4, "max_tokens": 6, "n": 3}
    assert contents(server.post(PATH, **asked)) == [record.completion for record in records]
    found = [""] * 3
    for chunk in stream(server, **asked, stream_options={"include_usage": True}):
        for choice in chunk["choices"]:
            found[choice["index"]] += choice["delta"].get("content", "")
    assert found == [record.completion for record in records]
    assert chunk["usage"]["completion_tokens"] == 18


def test_logprobs(server, lm_named):
    asked = {"model": "chat", "messages": TALK, "seed": 4, "max_tokens": 6}
    record = lm_named("chat").generate(TALK, seed=4, max_new_tokens=6, logprobs=2)
    choice = server.post(PATH, **asked, logprobs=True, top_logprobs=2)["choices"][0]
    content = choice["logprobs"]["content"]
    assert [token["logprob"] for token in content] == pytest.approx(
        [token.logprob for token in record.logprobs], abs=1e-5
    )
    assert (
        b"".join(bytes(t["bytes"]) for t in content).decode("utf-8", "replace")
        == (choice["message"]["content"])
    )
    assert [len(token["top_logprobs"]) for token in content] == [2] * len(content)
    plain = server.post(PATH, **asked, logprobs=True)["choices"][0]["logprobs"]["content"]
    assert [token["top_logprobs"] for token in plain] == [[]] * len(plain)
    chunks = stream(server, **asked, logprobs=True)
    parts = [chunk["choices"][0]["logprobs"] for chunk in chunks]
    streamed = [token for part in parts if part for token in part["content"]]
    assert [token["bytes"] for token in streamed] == [token["bytes"] for token in plain]


WRONG = [
    ({"messages": []}, "messages", "at least one"),
    ({"messages": "Hello"}, "messages", "array"),
    ({"messages": [{"role": "king", "content": "x"}]}, "messages[0].role", "must be one of"),
    ({"messages": [{"role": "user"}]}, "messages[0].content", "text"),
    ({"messages": [{"role": "user", "contents": "x"}]}, "messages[0].contents", "content?"),
    ({"messages": [*TALK, {"role": "tool", "content": "x"}]}, "messages[4].role", "tools"),
    ({"messages": TALK[:3]}, "messages", "nothing is left to answer"),
    (
        {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {}}]}]},
        "messages[0].content[0]", "'image_url'",
    ),
    ({"response_format": {"type": "json_schema", "schema": {}}}, "response_format", "must be"),
    (
        {"response_format": {"type": "json_schema", "json_schema": {"schema": {"not": {}}}}},
        "response_format", "not cannot be enforced",
    ),
    (
        {"response_format": {"type": "json_object"}, "max_tokens": 1},
        "response_format", "its shortest text takes",
    ),
    ({"response_format": "json"}, "response_format", "must be"),
    ({"tools": [{"type": "function"}]}, "tools", "calls no tools"),
    ({"tool_choice": "required"}, "tool_choice", "calls no tools"),
    ({"audio": {}}, "audio", "answers are text"),
    ({"top_logprobs": 2}, "top_logprobs", '"logprobs": true'),
    ({"logprobs": 2}, "logprobs", "true or false"),
    ({"n": 129}, "n", "from 1 to 128"),
    ({"max_tokens": 0}, "max_tokens", "from 1"),
    ({"max_completion_tokens": 900}, None, "max_tokens"),
    ({"tempurature": 1}, "tempurature", "temperature?"),
]  # fmt: skip


@pytest.mark.parametrize(("body", "param", "words"), WRONG, ids=lambda x: str(x)[:40])
def test_what_is_wrong_is_refused(server, body, param, words):
    error = server.post(PATH, **({"model": "chat", "messages": TALK} | body))
    assert (error["status"], error["param"]) == (400, param), error
    assert words in error["message"]


def test_answers_keep_to_a_format(server):
    schema = {
        "type": "object", "properties": {"a": {"type": "integer"}, "b": {"enum": ["x", "y"]}},
        "required": ["a", "b"], "additionalProperties": False,
    }  # fmt: skip
    form = {"type": "json_schema", "json_schema": {"name": "n", "schema": schema, "strict": True}}
    asked = {"model": "chat", "messages": TALK, "seed": 4, "max_tokens": 40, "n": 2}
    for text in contents(server.post(PATH, **asked, response_format=form)):
        found = json.loads(text)
        assert list(found) == ["a", "b"] and type(found["a"]) is int and found["b"] in ("x", "y")
    for text in contents(server.post(PATH, **asked, response_format={"type": "json_object"})):
        assert isinstance(json.loads(text), dict)


def test_what_changes_nothing_is_accepted(server):
    asked = {"model": "chat", "messages": TALK, "seed": 4, "max_tokens": 3}
    expected = contents(server.post(PATH, **asked))
    more = {
        "tools": [], "tool_choice": "none", "response_format": {"type": "text"}, "store": False,
        "metadata": {"a": "b"}, "parallel_tool_calls": True, "service_tier": "auto",
        "modalities": ["text"], "logit_bias": {}, "stop": [], "prompt_cache_key": "x",
    }  # fmt: skip
    assert contents(server.post(PATH, **asked, **more)) == expected


def test_the_openai_client(server, lm_named):
    record = lm_named("chat").generate(TALK, seed=4, max_new_tokens=9)
    asked = {"model": "chat", "messages": TALK, "seed": 4, "max_tokens": 9}
    answer = server.client.chat.completions.create(**asked)
    assert answer.choices[0].message.content == record.completion
    with server.client.chat.completions.stream(**asked) as events:
        parts = [event.delta for event in events if event.type == "content.delta"]
    assert "".join(parts) == record.completion


def test_thinking_stands_beside_the_answer(server):
    from hfgen.generation.records import Piece, Record
    from hfgen.serving.events import Accepted
    from hfgen.serving.openai.chat_answers import ChatAnswers
    from hfgen.serving.openai.choices import Choices

    answers = ChatAnswers("m", Choices(1, 1, is_repeated=False), None, has_usage=False)
    record = Record(0, None, "m", "p", "Yes.", "eos", 0, 3, 5)
    pieces = [Piece(0, 0, "", thinking="Hm."), Piece(0, 0, "Yes."), Piece(0, 0, "", (), record)]
    chunks = [*answers.start(Accepted(((1, 2, 3),)))]
    chunks += [chunk for piece in pieces for chunk in answers.add(piece)]
    deltas = [check_chunk(PATH, chunk)["choices"][0]["delta"] for chunk in chunks]
    assert deltas[1:] == [{"reasoning_content": "Hm."}, {"content": "Yes."}, {}]
    message = answers.whole()["choices"][0]["message"]
    assert (message["content"], message["reasoning_content"]) == ("Yes.", "Hm.")
