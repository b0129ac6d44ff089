"""`/tokenize`, `/detokenize`, `/apply-template` and `/metrics`."""

from __future__ import annotations

import re

import pytest

TALK = [{"role": "user", "content": "Hello"}]


def test_tokens_and_back(server, tokenizer):
    text = "The king, 你好"
    ids = tokenizer.encode(text)
    for name in ("content", "prompt"):
        found = server.post("/tokenize", model="base", **{name: text})
        assert found == {"tokens": ids, "count": len(ids), "max_model_len": 128}
    pieces = server.post("/tokenize", model="base", content=text, with_pieces=True)["tokens"]
    assert [piece["id"] for piece in pieces] == ids
    assert pieces[0]["piece"] == "The"
    assert server.post("/detokenize", model="base", tokens=ids)["content"] == text
    assert server.post("/detokenize", tokens=[])["content"] == ""


def test_a_template(server):
    prompt = server.post("/apply-template", model="chat", messages=TALK)["prompt"]
    assert prompt == "<user>Hello\n<assistant>"
    tokens = server.post("/tokenize", model="chat", messages=TALK)["tokens"]
    assert server.post("/detokenize", model="chat", tokens=tokens)["content"] == prompt
    base = server.post("/apply-template", model="base", messages=TALK)["prompt"]
    assert base == "User: Hello\nAssistant:"


@pytest.mark.parametrize(
    ("path", "body", "param"),
    [("/tokenize", {}, "messages"), ("/tokenize", {"content": 3}, "content"),
     ("/tokenize", {"content": "a", "prompt": "b"}, "content"),
     ("/tokenize", {"content": "a", "contents": "b"}, "contents"),
     ("/detokenize", {}, "tokens"), ("/detokenize", {"tokens": [-1]}, "tokens"),
     ("/detokenize", {"tokens": [4096]}, "tokens"), ("/detokenize", {"tokens": "a"}, "tokens"),
     ("/apply-template", {"messages": [{}]}, "messages[0].role")],
)  # fmt: skip
def test_what_is_wrong_is_refused(server, path, body, param):
    error = server.post(path, **body)
    assert (error["status"], error["param"]) == (400, param)


def test_metrics(server):
    def figure(name: str) -> float:
        text = server.http.get("/metrics").text
        match = re.search(rf"^{re.escape(name)} (\S+)$", text, re.MULTILINE)
        return 0.0 if match is None else float(match[1])

    predicted = 'hfgen_tokens_predicted_total{model="base"}'
    first = 'hfgen_time_to_first_token_seconds_count{model="base"}'
    before = figure(predicted), figure(first)
    answer = server.post("/v1/completions", model="base", prompt="a", max_tokens=5, n=2, seed=1)
    tokens = answer["usage"]["completion_tokens"]
    assert (figure(predicted), figure(first)) == (before[0] + tokens, before[1] + 1)
    assert figure('hfgen_slots{model="base"}') == 4
    assert figure('hfgen_requests_deferred{model="base"}') == 0
    assert figure('hfgen_http_requests_total{path="/v1/completions",status="200"}') > 0
