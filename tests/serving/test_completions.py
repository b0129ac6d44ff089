"""`/v1/completions` against what the library generates."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from schemas import check_chunk

PATH = "/v1/completions"


def texts(answer: Any) -> list[str]:
    return [choice["text"] for choice in answer["choices"]]


def stream(server: Any, **body: Any) -> list[dict[str, Any]]:
    """The chunks of a stream, each checked."""
    with server.http.stream("POST", PATH, json=body | {"stream": True}) as answer:
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith("text/event-stream")
        lines = [line for line in answer.iter_lines() if line.startswith("data: ")]
    assert lines[-1] == "data: [DONE]"
    return [check_chunk(PATH, json.loads(line[6:])) for line in lines[:-1]]


SETTINGS = [
    {},
    {"temperature": 0},
    {"temperature": 1.5, "top_k": 5},
    {"top_p": 0.5, "frequency_penalty": 1.5, "presence_penalty": 0.5},
    {"stop": " the"},
    {"stop": [",", ".", "\n", "?", "!"]},
    {"logit_bias": {"262": -100, "11": -100}},
    {"repetition_penalty": 1.3, "min_p": 0.1},
]


CASES = [*(("base", one) for one in SETTINGS), *(("story", one) for one in SETTINGS[:3])]


@pytest.mark.parametrize(("model", "settings"), CASES, ids=str)
def test_the_text_is_that_of_generate(server, lm_named, model, settings):
    asked = {"prompt": "The king", "max_tokens": 24, "seed": 7, "model": model, **settings}
    answer = server.post(PATH, **asked)
    ours = dict(settings)
    if "logit_bias" in ours:
        ours["sequence_bias"] = [[[int(i)], b] for i, b in ours.pop("logit_bias").items()]
    record = lm_named(model).generate("The king", max_new_tokens=24, seed=7, **ours)
    assert texts(answer) == [record.completion]
    assert answer["choices"][0]["finish_reason"] == (
        "length" if record.finish_reason == "length" else "stop"
    )
    assert answer["usage"]["prompt_tokens"] == record.prompt_tokens
    assert answer["usage"]["completion_tokens"] == record.completion_tokens
    chunks = stream(server, **asked)
    assert "".join(c["choices"][0]["text"] for c in chunks) == record.completion
    assert len({(c["id"], c["created"], c["model"]) for c in chunks}) == 1
    reasons = [c["choices"][0]["finish_reason"] for c in chunks]
    assert reasons == [None] * (len(chunks) - 1) + [answer["choices"][0]["finish_reason"]]
    assert chunks[-1]["choices"][0]["text"] == ""


def test_prompts_of_every_kind(server, lm_named, tokenizer):
    lm = lm_named("base")
    prompts = ["The king", "A fox and", "x"]
    expected = [r.completion for r in lm.generate(prompts, max_new_tokens=9, seed=3)]
    ids = [tokenizer.encode(prompt) for prompt in prompts]
    for prompt in (prompts, ids):
        answer = server.post(PATH, model="base", prompt=prompt, max_tokens=9, seed=3)
        assert texts(answer) == expected
        assert [choice["index"] for choice in answer["choices"]] == [0, 1, 2]
    one = server.post(PATH, model="base", prompt=ids[0], max_tokens=9, seed=3)
    assert texts(one) == expected[:1]
    # Without one, a text is begun, of 16 tokens.
    empty = server.post(PATH, model="base", seed=3)
    assert texts(empty) == [lm.generate("", max_new_tokens=16, seed=3).completion]


def test_several_texts_of_each_prompt(server, lm_named):
    options = {"max_new_tokens": 8, "seed": 5, "num_return_sequences": 3}
    expected = [r.completion for r in lm_named("base").generate(["a", "b"], **options)]
    answer = server.post(PATH, model="base", prompt=["a", "b"], max_tokens=8, seed=5, n=3)
    assert texts(answer) == expected
    assert answer["usage"] == {"prompt_tokens": 2, "completion_tokens": 48, "total_tokens": 50}
    found = [""] * 6
    for chunk in stream(server, model="base", prompt=["a", "b"], max_tokens=8, seed=5, n=3):
        found[chunk["choices"][0]["index"]] += chunk["choices"][0]["text"]
    assert found == expected
    greedy = server.post(PATH, model="base", prompt=["a", "b"], max_tokens=8, temperature=0, n=2)
    once = [
        r.completion for r in lm_named("base").generate(["a", "b"], max_new_tokens=8, greedy=True)
    ]
    assert texts(greedy) == [once[0], once[0], once[1], once[1]]


def test_the_best_of_several(server, lm_named):
    records = lm_named("base").generate(
        ["a"], max_new_tokens=8, seed=5, num_return_sequences=5, logprobs=0
    )
    records.sort(key=lambda r: -sum(t.logprob for t in r.logprobs) / len(r.logprobs))
    answer = server.post(PATH, model="base", prompt="a", max_tokens=8, seed=5, n=2, best_of=5)
    assert texts(answer) == [r.completion for r in records[:2]]
    assert answer["choices"][0]["logprobs"] is None
    assert answer["usage"]["completion_tokens"] == 40


def test_logprobs(server, lm_named):
    record = lm_named("base").generate("The king", max_new_tokens=12, seed=1, logprobs=3)
    asked = {"model": "base", "prompt": "The king", "max_tokens": 12, "seed": 1}
    choice = server.post(PATH, **asked, logprobs=3)["choices"][0]
    lists = choice["logprobs"]
    assert {len(values) for values in lists.values()} == {12}
    assert lists["token_logprobs"] == pytest.approx([t.logprob for t in record.logprobs], abs=1e-5)
    for name, logprob, best in zip(
        lists["tokens"], lists["token_logprobs"], lists["top_logprobs"], strict=True
    ):
        assert best[name] == logprob
        assert 3 <= len(best) <= 4
    chunks = stream(server, **asked, logprobs=3)
    parts = [c["choices"][0]["logprobs"] for c in chunks if c["choices"][0]["logprobs"]]
    for field, values in lists.items():
        streamed = [value for part in parts for value in part[field]]
        if field in ("tokens", "text_offset"):
            assert streamed == values
    alone = server.post(PATH, **asked, logprobs=0)["choices"][0]["logprobs"]
    assert [list(best) for best in alone["top_logprobs"]] == [[name] for name in alone["tokens"]]


def test_offsets_and_names_of_tokens(server, tokenizer):
    text = "Grüße, 你好 🦊! \nThe"
    answer = server.post(PATH, model="base", prompt=text, max_tokens=0, echo=True, logprobs=1)
    (choice,) = answer["choices"]
    assert choice["text"] == text
    lists = choice["logprobs"]
    assert len(lists["tokens"]) == len(tokenizer.encode(text)) == answer["usage"]["prompt_tokens"]
    assert any(name.startswith("bytes:\\x") for name in lists["tokens"])
    data = b"".join(
        bytes.fromhex(name[6:].replace("\\x", "")) if name.startswith("bytes:") else name.encode()
        for name in lists["tokens"]
    )
    assert data.decode() == text
    for name, offset in zip(lists["tokens"], lists["text_offset"], strict=True):
        assert name.startswith("bytes:") or text[offset:].startswith(name)


def test_an_echo_is_scored_as_the_model_scores_it(server, lm_named, tokenizer):
    import torch

    ids = tokenizer.encode("The king was in his castle, and the queen")
    answer = server.post(
        PATH, model="base", prompt=[ids, ids[:5]], max_tokens=1, logprobs=1, echo=True,
        temperature=0, seed=1234,
    )  # fmt: skip
    for choice, own in zip(answer["choices"], (ids, ids[:5]), strict=True):
        with torch.inference_mode():
            logits = lm_named("base").model(torch.tensor([own])).logits[0].float()
        table = logits.log_softmax(-1)
        expected = [float(table[i, token]) for i, token in enumerate(own[1:])]
        found = choice["logprobs"]["token_logprobs"]
        assert found[0] is None and choice["logprobs"]["top_logprobs"][0] is None
        assert found[1 : len(own)] == pytest.approx(expected, abs=1e-4)
        assert len(found) == len(own) + 1
        assert choice["text"].startswith(tokenizer.decode(own))
    streamed = stream(server, model="base", prompt="The king", max_tokens=2, echo=True, seed=1)
    whole = server.post(PATH, model="base", prompt="The king", max_tokens=2, echo=True, seed=1)
    assert "".join(c["choices"][0]["text"] for c in streamed) == texts(whole)[0]
    assert texts(whole)[0].startswith("The king")


def test_usage_of_a_stream(server):
    asked = {"model": "base", "prompt": "a", "max_tokens": 3, "seed": 1}
    chunks = stream(server, **asked, stream_options={"include_usage": True})
    assert [chunk["usage"] for chunk in chunks[:-1]] == [None] * (len(chunks) - 1)
    assert chunks[-1]["choices"] == []
    assert chunks[-1]["usage"] == server.post(PATH, **asked)["usage"]
    without = stream(server, **asked, stream_options={"include_obfuscation": False})
    assert all("usage" not in chunk for chunk in without)


WRONG = [
    ({"tmperature": 1}, "tmperature", "did you mean temperature?"),
    ({"temperature": "hot"}, "temperature", "a number"),
    ({"temperature": True}, "temperature", "a number"),
    ({"temperature": 101}, "temperature", "from 0 to 100"),
    ({"top_p": -0.1}, "top_p", "from 0 to 1"),
    ({"n": 0}, "n", "from 1 to 128"),
    ({"n": 2.5}, "n", "whole number"),
    ({"n": 2, "best_of": 1}, "best_of", "at least n"),
    ({"n": 1, "best_of": 2, "stream": True}, "best_of", "stream"),
    ({"max_tokens": -1}, "max_tokens", "whole number"),
    ({"max_tokens": 5000}, None, '"max_tokens": '),
    ({"logprobs": True}, "logprobs", "whole number"),
    ({"stop": [""]}, "stop", "not empty"),
    ({"stop": 3}, "stop", "texts"),
    ({"logit_bias": {"x": 1}}, "logit_bias", "no token id"),
    ({"logit_bias": {"1": 200}}, "logit_bias", "from -100 to 100"),
    ({"logit_bias": {"999999": 1}}, "logit_bias", "vocabulary"),
    ({"prompt": []}, "prompt", "prompt must be"),
    ({"prompt": [[]]}, "prompt", "prompt must be"),
    ({"prompt": {"a": 1}}, "prompt", "prompt must be"),
    ({"prompt": [1, "a"]}, "prompt", "prompt must be"),
    ({"prompt": [999999]}, None, "embeddings"),
    ({"prompt": "\ud800"}, None, "Unicode"),
    ({"suffix": " end"}, "suffix", "cannot fill in"),
    ({"stream_options": {"include_usge": True}}, "include_usge", "did you mean include_usage?"),
    ({"top_k": -1}, "top_k", "from 0"),
    ({"assistant_model": "gpt2"}, "assistant_model", "loads no model"),
    ({"num_return_sequences": 2}, "num_return_sequences", "write n"),
    ({"max_new_tokens": 2, "max_tokens": 2}, "max_new_tokens", "max_tokens"),
    ({"model": "gpt-4"}, "model", "there is no model 'gpt-4'"),
    ({"model": 4}, "model", "a string"),
    ({"seed": 2**64}, "seed", "whole number"),
    ({"n": 128, "prompt": ["a"] * 100}, "n", "4,096"),
]  # fmt: skip


@pytest.mark.parametrize(("body", "param", "words"), WRONG, ids=lambda x: str(x)[:40])
def test_what_is_wrong_is_refused(server, body, param, words):
    error = server.post(PATH, **({"model": "base", "prompt": "a"} | body))
    assert error["status"] == (404 if body.get("model") == "gpt-4" else 400)
    assert error["type"] == "invalid_request_error"
    assert error["param"] == param
    assert words in error["message"]


@pytest.mark.parametrize(
    "data",
    [b"", b"{", b"[]", b"null", b"3", b'"x"', b"[" * 100_000, b"\xff\xfe", b'{"prompt": NaN}',
     b'{"seed": ' + b"9" * 5000 + b"}", b'{"temperature": 1e999}', b'{"prompt": "a", "n": 1e3}'],
    ids=lambda data: repr(data[:12]),
)  # fmt: skip
def test_malformed_bodies(server, data):
    answer = server.http.post(PATH, content=data)
    assert answer.status_code == 400, answer.text
    assert set(answer.json()["error"]) == {"message", "type", "param", "code"}


def test_fields_that_change_no_text(server):
    asked = {"model": "base", "prompt": "a", "max_tokens": 4, "seed": 2}
    expected = texts(server.post(PATH, **asked))
    nulls = dict.fromkeys(["suffix", "stop", "logprobs", "n", "best_of", "stream", "user"])
    assert texts(server.post(PATH, **asked, **nulls, top_k=None)) == expected
    assert texts(server.post(PATH, **asked, user="me", echo=False)) == expected
    # Greedy decoding leaves the shape of the distribution out.
    assert server.post(PATH, **asked, temperature=0, top_p=0.5)["choices"]
    for seed in (-1, 2**62):
        assert server.post(PATH, **(asked | {"seed": seed}))["choices"]


def test_extreme_biases_and_probabilities_stay_json(server):
    answer = server.post(
        PATH, model="base", prompt="a", max_tokens=3, suppress_tokens=[5], logprobs=5, seed=1
    )
    lists = answer["choices"][0]["logprobs"]
    assert all(math.isfinite(value) for value in lists["token_logprobs"])


def test_the_openai_client(server, lm_named):
    import openai

    client = server.client
    record = lm_named("story").generate("Once upon a time", max_new_tokens=12, seed=7)
    asked = {"model": "story", "prompt": "Once upon a time", "max_tokens": 12, "seed": 7}
    answer = client.completions.create(**asked)
    assert answer.choices[0].text == record.completion
    assert answer._request_id.startswith("req_")
    parts = client.completions.create(**asked, stream=True)
    assert "".join(part.choices[0].text for part in parts) == record.completion
    extended = client.completions.create(**asked, extra_body={"top_k": 1})
    assert extended.choices[0].text != record.completion
    with pytest.raises(openai.NotFoundError, match="there is no model"):
        client.completions.create(**(asked | {"model": "gpt-4"}))
    with pytest.raises(openai.BadRequestError) as raised:
        client.completions.create(**(asked | {"max_tokens": 4000}))
    assert raised.value.code == "context_length_exceeded"
    assert [model.id for model in client.models.list()] == ["story", "base", "chat"]
    assert client.models.retrieve("chat").owned_by == "hfgen"
