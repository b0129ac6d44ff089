"""What holds for every request: shared batches, clients that go away, limits, keys, shutdown."""

from __future__ import annotations

import json
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx2
import openai
import pytest

from tests.serving.conftest import new_lm, serving, wait_until_idle

LONG = {
    "model": "base",
    "prompt": "The king",
    "max_tokens": 10_000,
    "overflow": "slide",
    "ignore_eos": True,
}


def connect(server: Any) -> socket.socket:
    host, _, port = server.url.removeprefix("http://").rpartition(":")
    return socket.create_connection((host, int(port)), timeout=30)


def send(server: Any, path: str, body: dict[str, Any]) -> socket.socket:
    """A request whose answer nobody has read yet."""
    data = json.dumps(body).encode()
    link = connect(server)
    head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(data)}\r\n\r\n"
    link.sendall(head.encode() + data)
    return link


def wait_for(condition: Any) -> None:
    until = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.005)


def test_requests_at_different_times_share_the_engine(server, lm_named):
    """Eight clients at once get what each would get alone."""
    prompts = [
        f"The {animal}" for animal in ("fox", "cat", "king", "dog", "owl", "hen", "ox", "bee")
    ]
    expected = [
        lm_named("base").generate(prompt, max_new_tokens=20 + 3 * seed, seed=seed).completion
        for seed, prompt in enumerate(prompts)
    ]

    def ask(seed: int) -> str:
        time.sleep(0.02 * seed)
        asked = {"prompt": prompts[seed], "max_tokens": 20 + 3 * seed, "seed": seed}
        parts = server.client.completions.create(model="base", stream=bool(seed % 2), **asked)
        if seed % 2:
            return "".join(part.choices[0].text for part in parts)
        return parts.choices[0].text

    most = 0

    def watch() -> None:
        nonlocal most
        while not is_done.is_set():
            most = max(most, server.workers["base"].running)
            time.sleep(0.001)

    is_done = threading.Event()
    watching = threading.Thread(target=watch)
    watching.start()
    with ThreadPoolExecutor(8) as pool:
        found = [*pool.map(ask, range(8))]
    is_done.set()
    watching.join()
    assert found == expected
    assert most > 1


@pytest.mark.parametrize("is_stream", [False, True], ids=["plain", "stream"])
def test_a_client_that_goes_away_frees_its_slots(server, is_stream):
    worker = server.workers["base"]
    links = [
        send(server, "/v1/completions", LONG | {"stream": is_stream, "n": 3}) for _ in range(3)
    ]
    wait_for(lambda: worker.running == 4)
    if is_stream:
        assert b"200 OK" in links[0].recv(200)
    for link in links:
        link.close()
    wait_until_idle(server.service)
    assert server.post("/v1/completions", model="base", prompt="a", max_tokens=2)["choices"]


def test_a_client_that_goes_away_while_it_waits(server):
    first = send(server, "/v1/completions", LONG | {"n": 4})
    wait_for(lambda: server.workers["base"].running == 4)
    second = send(server, "/v1/completions", LONG)
    wait_for(lambda: len(server.service.tickets[server.workers["base"]]) == 2)
    second.close()
    wait_for(lambda: len(server.service.tickets[server.workers["base"]]) == 1)
    assert server.workers["base"].running == 4
    first.close()
    wait_until_idle(server.service)


def test_a_large_request_does_not_keep_a_small_one_waiting(server):
    link = send(server, "/v1/completions", LONG | {"max_tokens": 200, "prompt": ["a"] * 60})
    wait_for(lambda: server.workers["base"].running == 4)
    answer = server.post("/v1/completions", model="base", prompt="a", max_tokens=2)
    assert answer["choices"]
    assert len(server.service.tickets[server.workers["base"]]) == 1, "the large one is done"
    link.close()
    wait_until_idle(server.service)


def test_an_error_ends_its_own_request_only(server, lm_named):
    """A request that no token is left for, and one that breaks a step, beside a good one."""
    record = lm_named("base").generate("The king", max_new_tokens=60, seed=2)
    asked = {"model": "base", "prompt": "The king", "max_tokens": 60, "seed": 2}
    everything = {str(token): -100 for token in range(4096)}
    with ThreadPoolExecutor(2) as pool:
        good = pool.submit(server.post, "/v1/completions", **asked)
        bad = server.post(
            "/v1/completions", model="base", prompt="a", suppress_tokens=[*range(4096)]
        )
        assert good.result()["choices"][0]["text"] == record.completion
    assert bad["status"] == 400
    assert "no token can be sampled" in bad["message"]
    # Biases of -100 are no ban: all alike, they change nothing.
    assert server.post("/v1/completions", **asked, logit_bias=everything)["choices"]


def test_a_step_that_breaks_is_told_and_got_over(monkeypatch):
    with serving({"base": new_lm("base")}) as server:
        scheduler = server.workers["base"]._scheduler

        def breaks() -> None:
            raise RuntimeError("boom")

        monkeypatch.setattr(scheduler, "step", breaks)
        error = server.post("/v1/completions", prompt="a")
        assert (error["status"], error["type"]) == (500, "server_error")
        assert "boom" not in error["message"]
        assert [str(error) for error in server.errors] == ["boom"]
        # Nor does anything else that goes wrong between two steps end the thread.
        monkeypatch.setattr(server.workers["base"]._scheduler, "submit", lambda texts: breaks())
        assert server.post("/v1/completions", prompt="a")["status"] == 500
        assert server.post("/v1/completions", prompt="a")["choices"]
        memory = server.workers["base"]._scheduler
        monkeypatch.setattr(memory, "step", lambda: (_ for _ in ()).throw(MemoryError()))
        assert server.post("/v1/completions", prompt="a")["status"] == 503
        monkeypatch.setattr(server.workers["base"]._scheduler, "step", breaks)
        with server.http.stream(
            "POST", "/v1/completions", json={"prompt": "a", "stream": True}
        ) as a:
            lines = [line for line in a.iter_lines() if line]
        assert "server_error" in lines[-1] and "[DONE]" not in "".join(lines)


def test_a_full_queue_a_key_a_long_body_and_a_late_answer():
    settings = {"queue": 1, "api_key": "secret", "body_limit": 1000, "timeout_s": 1.5}
    headers = {"authorization": "Bearer secret"}
    with (
        serving({"base": new_lm("base")}, slots=1, **settings) as server,
        httpx2.Client(base_url=server.url, headers=headers, timeout=30) as http,
    ):
        _check_keys(server)
        long = http.post("/v1/completions", json={"prompt": "a" * 2000})
        assert long.status_code == 413

        def pieces() -> Any:
            yield b'{"prompt": "'
            for _ in range(100):
                yield b"a" * 100

        assert http.post("/v1/completions", content=pieces()).status_code == 413
        with ThreadPoolExecutor(2) as pool:
            late = [pool.submit(http.post, "/v1/completions", json=LONG) for _ in range(2)]
            wait_for(lambda: len(server.service.tickets[server.workers["base"]]) == 2)
            full = http.post("/v1/completions", json={"prompt": "a"})
            assert full.status_code == 429
            assert full.json()["error"]["code"] == "queue_full"
            assert 1 <= int(full.headers["retry-after"]) <= 60
            for answer in [one.result() for one in late]:
                assert (answer.status_code, answer.json()["error"]["code"]) == (504, "timeout")
                assert answer.headers["x-should-retry"] == "false"
        with http.stream("POST", "/v1/completions", json=LONG | {"stream": True}) as answer:
            last = [line for line in answer.iter_lines() if line][-1]
        assert json.loads(last.removeprefix("data: "))["error"]["code"] == "timeout"


def _check_keys(server: Any) -> None:
    for headers in ({}, {"authorization": "Bearer wrong"}, {"authorization": "Bearer sécret"}):
        data = [(name.encode(), value.encode()) for name, value in headers.items()]
        for path in ("/v1/models", "/v1/completions", "/nowhere"):
            answer = httpx2.get(server.url + path, headers=data)
            assert (answer.status_code, answer.json()["error"]["code"]) == (401, "invalid_api_key")
        assert httpx2.get(server.url + "/health").json() == {"status": "ok"}
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="secret") as client:
        assert [model.id for model in client.models.list()] == ["base"]


def test_the_openai_client_comes_again_when_the_queue_was_full():
    with (
        serving({"base": new_lm("base")}, slots=1, queue=1) as server,
        ThreadPoolExecutor(2) as pool,
    ):
        short = LONG | {"max_tokens": 60}
        busy = [pool.submit(server.post, "/v1/completions", **short) for _ in range(2)]
        wait_for(lambda: len(server.service.tickets[server.workers["base"]]) == 2)
        with openai.OpenAI(base_url=f"{server.url}/v1", api_key="x", max_retries=9) as client:
            answer = client.completions.create(model="base", prompt="a", max_tokens=2)
        assert answer.choices[0].finish_reason == "length"
        assert all(one.result()["choices"] for one in busy)


def test_addresses_and_origins(server):
    http = server.http
    assert http.get("/nowhere").status_code == 404
    assert http.get("/v1//models").json()["object"] == "list"
    wrong = http.get("/v1/completions")
    assert (wrong.status_code, wrong.headers["allow"]) == (405, "POST")
    assert set(wrong.json()["error"]) == {"message", "type", "param", "code"}
    assert http.get("/v1/models/org/nothing").json()["error"]["code"] == "model_not_found"
    # A page elsewhere on the web, and a name elsewhere that leads here.
    for headers in (
        {"origin": "https://evil.example"},
        {"origin": "null"},
        {"host": "evil.example"},
    ):
        assert http.get("/v1/models", headers=headers).status_code == 403
    own = {"origin": server.url}
    assert http.get("/v1/models", headers=own).status_code == 200
    ids = {http.get("/health").headers["x-request-id"] for _ in range(3)}
    assert len(ids) == 3


def test_a_page_that_is_allowed():
    with serving({"base": new_lm("base")}, cors=("https://page.example",)) as server:
        origin = {"origin": "https://page.example"}
        answer = server.http.get("/v1/models", headers=origin)
        assert answer.headers["access-control-allow-origin"] == "https://page.example"
        asked = {**origin, "access-control-request-method": "POST"}
        assert server.http.options("/v1/completions", headers=asked).status_code == 200
        assert server.http.get("/v1/models", headers={"origin": "https://x.y"}).status_code == 403


def test_a_shutdown_finishes_what_was_begun():
    with serving({"base": new_lm("base")}) as server:
        with ThreadPoolExecutor(1) as pool:
            asked = {"prompt": "a", "max_tokens": 100, "seed": 1}
            answer = pool.submit(server.post, "/v1/completions", **asked)
            wait_for(lambda: server.workers["base"].running == 1)
            server.server.stop()
            assert answer.result()["usage"]["completion_tokens"] == 100
        wait_for(lambda: not _is_listening(server))


def _is_listening(server: Any) -> bool:
    try:
        connect(server).close()
    except OSError:
        return False
    return True
