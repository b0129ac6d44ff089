"""`/v1/responses` by the openai client, and what it refuses."""

from __future__ import annotations

import json

import pytest

TALK = [
    {"role": "user", "content": "Hello"},
    {"type": "message", "role": "assistant", "id": "msg_1", "status": "completed",
     "content": [{"type": "output_text", "text": "Hi!", "annotations": []}]},
    {"role": "user", "content": [{"type": "input_text", "text": "Who is the king?"}]},
]  # fmt: skip
PLAIN = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "Hello"},
    {"role": "assistant", "content": "Hi!"},
    {"role": "user", "content": "Who is the king?"},
]


def test_the_openai_client(server, lm_named):
    record = lm_named("chat").generate(PLAIN, seed=4, max_new_tokens=9)
    asked = {
        "model": "chat", "input": TALK, "instructions": "Be brief.", "max_output_tokens": 9,
        "extra_body": {"seed": 4},
    }  # fmt: skip
    answer = server.client.responses.create(**asked)
    assert answer.output_text == record.completion
    assert (answer.status, answer.incomplete_details.reason) == ("incomplete", "max_output_tokens")
    assert answer.usage.total_tokens == record.prompt_tokens + record.completion_tokens
    events = [*server.client.responses.create(**asked, stream=True)]
    kinds = [event.type for event in events]
    assert events[-1].response.output_text == record.completion
    assert kinds[:4] == [
        "response.created", "response.in_progress", "response.output_item.added",
        "response.content_part.added",
    ]  # fmt: skip
    assert kinds[-4:] == [
        "response.output_text.done", "response.content_part.done", "response.output_item.done",
        "response.incomplete",
    ]  # fmt: skip
    scored = server.client.responses.create(
        **asked, top_logprobs=2, include=["message.output_text.logprobs"]
    )
    tokens = scored.output[0].content[0].logprobs
    assert len(tokens[0].top_logprobs) == 2
    text = b"".join(bytes(token.bytes) for token in tokens).decode("utf-8", "replace")
    assert text == record.completion


def test_events_are_named_and_numbered(server):
    asked = {"model": "chat", "input": "Hello", "stream": True, "max_output_tokens": 3}
    with server.http.stream("POST", "/v1/responses", json=asked) as answer:
        lines = [line for line in answer.iter_lines() if line]
    names = [line.removeprefix("event: ") for line in lines[::2]]
    events = [json.loads(line.removeprefix("data: ")) for line in lines[1::2]]
    assert [event["type"] for event in events] == names
    assert [event["sequence_number"] for event in events] == [*range(len(events))]


def test_thinking_is_an_item_of_its_own():
    from hfgen.generation.records import Piece, Record
    from hfgen.serving.events import Accepted
    from hfgen.serving.openai.choices import Choices
    from hfgen.serving.openai.response_answers import ResponseAnswers

    answers = ResponseAnswers("m", Choices(1, 1, is_repeated=False), None, {})
    record = Record(0, None, "m", "p", "Yes.", "eos", 0, 3, 5)
    pieces = [Piece(0, 0, "", thinking="Hm."), Piece(0, 0, "Yes."), Piece(0, 0, "", (), record)]
    events = [*answers.start(Accepted(((1, 2, 3),)))]
    events += [event for piece in pieces for event in answers.add(piece)] + [*answers.end()]
    deltas = [(e["output_index"], e["delta"]) for e in events if "delta" in e]
    assert deltas == [(0, "Hm."), (1, "Yes.")]
    assert [item["type"] for item in answers.whole()["output"]] == ["reasoning", "message"]
    assert events[-1]["type"] == "response.completed"


@pytest.mark.parametrize(
    ("body", "param"),
    [({"input": []}, "input"), ({"input": [{"type": "function_call"}]}, "input[0]"),
     ({"previous_response_id": "resp_1"}, "previous_response_id"),
     ({"background": True}, "background"),
     ({"tools": [{}]}, "tools"), ({"text": {"format": {"type": "json_schema"}}}, "text.format"),
     ({"truncation": "left"}, "truncation"), ({"include": ["x"]}, "include"),
     ({"inputs": "a"}, "inputs"), ({"max_output_tokens": 0}, "max_output_tokens")],
    ids=str,
)  # fmt: skip
def test_what_is_wrong_is_refused(server, body, param):
    error = server.post("/v1/responses", **({"model": "chat", "input": "Hello"} | body))
    assert (error["status"], error["param"]) == (400, param)
