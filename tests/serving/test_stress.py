"""Many clients at once, some of which leave, send nonsense or break off: nothing leaks."""

from __future__ import annotations

import json
import os
import random
import re
import socket
import threading
import time
from pathlib import Path
from typing import Any

import httpx2
import pytest
from test_serve_command import start

CLIENTS = 64
SECONDS = float(os.environ.get("HFGEN_TEST_STRESS_S", "120"))
PROMPTS = ("The king", "A fox", "Once", "The old woman", "No", "Two brothers", "In winter", "Far")
NONSENSE = (b"", b"{", b"[]", b'{"prompt": 3}', b'{"prompt": "a", "n": -1}', b"\xff", b'{"x": 1}')


def asked(number: int) -> dict[str, Any]:
    """One of the requests; each has one right answer."""
    rng = random.Random(number)
    return {
        "prompt": rng.choice(PROMPTS), "max_tokens": rng.choice((3, 20, 60)), "seed": number,
        "ignore_eos": True, "temperature": rng.choice((0, 0.7, 1)),
    }  # fmt: skip


def memory_mb(process: int) -> float:
    status = Path(f"/proc/{process}/status").read_text()
    return int(re.search(r"VmRSS:\s+(\d+)", status)[1]) / 1024


class Client(threading.Thread):
    """Asks until it is told to stop."""

    def __init__(self, url: str, number: int, expected: list[str], stop: threading.Event) -> None:
        super().__init__()
        self.url, self.expected, self.stop = url, expected, stop
        self.rng = random.Random(number)
        self.done = self.left = 0
        self.wrong: list[Any] = []

    def run(self) -> None:
        with httpx2.Client(base_url=self.url, timeout=120) as http:
            while not self.stop.is_set():
                try:
                    self.ask(http)
                except Exception as error:  # noqa: BLE001 (it is reported at the end)
                    self.wrong.append(repr(error))

    def ask(self, http: Any) -> None:
        number = self.rng.randrange(len(self.expected))
        body = asked(number)
        kind = self.rng.choice(("plain", "stream", "stream", "leave", "break off", "nonsense"))
        if kind == "plain":
            answer = http.post("/v1/completions", json=body)
            if answer.status_code == 429:
                return
            self.check(number, answer.json()["choices"][0]["text"])
        elif kind == "nonsense":
            status = http.post("/v1/completions", content=self.rng.choice(NONSENSE)).status_code
            if not 400 <= status < 500:
                self.wrong.append(status)
        elif kind == "break off":
            self.break_off(json.dumps(body | {"max_tokens": 500}).encode())
        else:
            self.follow(http, number, body, leaves=kind == "leave")

    def follow(self, http: Any, number: int, body: dict[str, Any], *, leaves: bool) -> None:
        text = ""
        with http.stream("POST", "/v1/completions", json=body | {"stream": True}) as answer:
            for line in answer.iter_lines():
                if leaves and self.rng.random() < 0.2:
                    self.left += 1
                    return
                if line.startswith("data: {"):
                    text += json.loads(line[6:])["choices"][0]["text"]
        if answer.status_code == 200:
            self.check(number, text)

    def break_off(self, data: bytes) -> None:
        """A connection that ends somewhere in the request or in the wait for its answer."""
        host, _, port = self.url.removeprefix("http://").rpartition(":")
        with socket.create_connection((host, int(port)), timeout=60) as link:
            head = f"POST /v1/completions HTTP/1.1\r\nHost: {host}\r\nContent-Length: {len(data)}"
            whole = head.encode() + b"\r\n\r\n" + data
            link.sendall(whole[: self.rng.choice((20, len(whole) - 5, len(whole)))])
            time.sleep(self.rng.random() / 4)
            self.left += 1

    def check(self, number: int, text: str) -> None:
        self.done += 1
        if text != self.expected[number]:
            self.wrong.append((number, text, self.expected[number]))


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_many_clients_and_nothing_leaks():
    process, url = start("-m", "storyteller", "--port", "0")
    try:
        with httpx2.Client(base_url=url, timeout=60) as http:
            expected = [
                http.post("/v1/completions", json=asked(number)).json()["choices"][0]["text"]
                for number in range(60)
            ]
            stop = threading.Event()
            clients = [Client(url, number, expected, stop) for number in range(CLIENTS)]
            for client in clients:
                client.start()
            time.sleep(SECONDS / 2)
            half = memory_mb(process.pid)
            time.sleep(SECONDS / 2)
            stop.set()
            for client in clients:
                client.join(120)
            whole = memory_mb(process.pid)
            wrong = [one for client in clients for one in client.wrong]
            assert wrong == []
            time.sleep(1)
            figures = http.get("/metrics").text
            for name in ("busy_slots", "requests_processing", "requests_deferred"):
                assert f'hfgen_{name}{{model="storyteller"}} 0.0' in figures, figures
            print(
                f"{sum(c.done for c in clients)} texts right, {sum(c.left for c in clients)} left; "
                f"memory {half:.0f} and {whole:.0f} MB"
            )
            assert whole < half + 60
            # It is as good as new.
            answer = http.post("/v1/completions", json=asked(0)).json()
            assert answer["choices"][0]["text"] == expected[0]
    finally:
        process.kill()
        process.communicate()
