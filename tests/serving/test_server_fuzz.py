"""Whatever a request holds, its answer is a text or an error that explains itself."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

MESSAGES = st.lists(
    st.fixed_dictionaries(
        {"role": st.sampled_from(["user", "system", "assistant", "tool", "x"])},
        optional={
            "content": st.one_of(st.text(max_size=9), st.none(), st.just([{"type": "text"}]))
        },
    ),
    max_size=3,
)
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda one: st.lists(one, max_size=3) | st.dictionaries(st.text(max_size=4), one, max_size=2),
    max_leaves=4,
)  # fmt: skip
FIELDS = {
    "prompt": st.one_of(
        st.text(max_size=9), st.lists(st.text(max_size=5), max_size=3),
        st.lists(st.integers(-1, 5000), max_size=4), ANYTHING,
    ),
    "messages": st.one_of(MESSAGES, ANYTHING),
    "input": st.one_of(st.text(max_size=5), MESSAGES, ANYTHING),
    "max_tokens": st.one_of(st.integers(-1, 6), ANYTHING),
    "temperature": st.one_of(st.floats(0, 2), ANYTHING),
    "top_p": st.one_of(st.floats(0, 1), ANYTHING),
    "n": st.one_of(st.integers(-1, 3), ANYTHING),
    "best_of": st.one_of(st.integers(-1, 3), ANYTHING),
    "logprobs": st.one_of(st.integers(-1, 5), st.booleans(), ANYTHING),
    "top_logprobs": st.one_of(st.integers(-1, 5), ANYTHING),
    "echo": st.one_of(st.booleans(), ANYTHING),
    "stop": st.one_of(st.text(max_size=2), st.lists(st.text(max_size=2), max_size=3), ANYTHING),
    "seed": st.one_of(st.integers(-(2**63), 2**63), ANYTHING),
    "logit_bias": st.one_of(
        st.dictionaries(st.integers(-1, 5000).map(str), st.integers(-101, 101), max_size=3),
        ANYTHING,
    ),
    "frequency_penalty": st.one_of(st.floats(-2, 2), ANYTHING),
    "response_format": ANYTHING,
    "tools": ANYTHING,
    "text": ANYTHING,
    "stream_options": ANYTHING,
    "top_k": st.one_of(st.integers(-1, 9), ANYTHING),
    "min_new_tokens": st.one_of(st.integers(-1, 9), ANYTHING),
    "num_beams": st.one_of(st.integers(-1, 3), ANYTHING),
    "suppress_tokens": st.one_of(st.lists(st.integers(-1, 5000), max_size=3), ANYTHING),
    "guidance_scale": st.one_of(st.floats(0, 3), ANYTHING),
    "watermark": ANYTHING,
    "overflow": st.one_of(st.sampled_from(["error", "truncate", "slide"]), ANYTHING),
    "bad_words": ANYTHING,
    "exponential_decay_length_penalty": ANYTHING,
    "prompt_lookup_num_tokens": st.one_of(st.integers(-1, 3), ANYTHING),
}  # fmt: skip
PATHS = ("/v1/completions", "/v1/chat/completions", "/v1/responses", "/tokenize", "/detokenize")
OWN = {"/v1/completions": "prompt", "/v1/chat/completions": "messages", "/v1/responses": "input"}


@st.composite
def requests(draw: Any) -> tuple[str, dict[str, Any]]:
    path = draw(st.sampled_from(PATHS))
    chosen = draw(st.lists(st.sampled_from(sorted(FIELDS)), max_size=4, unique=True))
    body = {name: draw(FIELDS[name]) for name in chosen}
    if (own := OWN.get(path)) is not None:
        body = {name: v for name, v in body.items() if name not in OWN.values() or name == own}
        body.setdefault(own, "a" if own != "messages" else [{"role": "user", "content": "a"}])
        body.setdefault("max_output_tokens" if own == "input" else "max_tokens", 3)
    return path, body


def ask(server: Any, path: str, body: dict[str, Any]) -> None:
    data = json.dumps(body | {"model": "chat"})
    answer = server.http.post(path, content=data)
    assert answer.status_code in (200, 400, 404), (path, data, answer.text)
    if answer.status_code != 200:
        error = answer.json()["error"]
        assert error["message"] and "unexpected" not in error["message"], (path, data, error)
    assert server.errors == []


@settings(
    max_examples=40,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(asked=requests())
def test_requests(server, asked):
    ask(server, *asked)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@settings(max_examples=2000, deadline=None, suppress_health_check=[*HealthCheck])
@given(asked=requests())
def test_many_requests(server, asked):
    ask(server, *asked)
