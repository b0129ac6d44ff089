"""`hfgen serve` as a program: what it says, what it refuses, how it ends."""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx2
import pytest

from hfgen.cli.program.main import run

PROGRAM = [sys.executable, "-m", "hfgen", "serve"]


def start(*arguments: str) -> tuple[subprocess.Popen[str], str]:
    """A running program and its address."""
    process = subprocess.Popen(
        [*PROGRAM, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert process.stderr is not None
    line = process.stderr.readline()
    assert line.startswith("notice: serving "), line + process.stderr.read()
    return process, line.split(" at ")[1].split()[0]


@pytest.fixture(scope="module")
def running() -> Iterator[Any]:
    process, url = start("-m", "tale=storyteller", "--port", "0", "--slots", "2")
    yield process, url
    process.kill()
    process.communicate()


def test_it_serves_and_stops_when_all_is_answered(running):
    process, url = running
    asked = {"prompt": "The king", "max_tokens": 6, "seed": 7}
    with httpx2.Client(base_url=url, timeout=60) as http:
        answer = http.post("/v1/completions", json=asked).json()
        assert answer["choices"][0]["text"] == " was in his council."
        assert answer["model"] == "tale"
    long = {"prompt": "The king", "max_tokens": 400, "ignore_eos": True}

    def ask() -> Any:
        return httpx2.post(f"{url}/v1/completions", json=long, timeout=60).json()

    with ThreadPoolExecutor(1) as pool:
        under_way = pool.submit(ask)
        while 'processing{model="tale"} 1' not in httpx2.get(f"{url}/metrics").text:
            time.sleep(0.02)
        process.send_signal(signal.SIGTERM)
        assert under_way.result()["usage"]["completion_tokens"] == 400
    out, err = process.communicate(timeout=30)
    assert (process.returncode, out) == (0, "")
    assert err == "notice: finishing a request (again to stop at once)\n"


@pytest.mark.slow
def test_a_second_signal_ends_it_at_once():
    process, url = start("-m", "storyteller", "--port", "0", "-v")
    body = json.dumps({"prompt": "a", "max_tokens": 10**6, "overflow": "slide"}).encode()
    host, _, port = url.removeprefix("http://").rpartition(":")
    with socket.create_connection((host, int(port))) as link:
        head = f"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}"
        link.sendall(head.encode() + b"\r\n\r\n" + body)
        while "processing" not in httpx2.get(f"{url}/metrics").text:
            time.sleep(0.02)
        process.send_signal(signal.SIGINT)
        time.sleep(0.5)
        assert process.poll() is None
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "error: interrupted\n" in err
    assert "notice: GET /metrics 200 " in err


@pytest.fixture
def refused(monkeypatch, capfd):
    """Run a command line that must fail before a model is loaded; return its two lines."""
    monkeypatch.setattr("hfgen.cli.program.main._QUIET_LIBRARIES", {})
    monkeypatch.setattr("hfgen.loading.load_model", lambda *given: pytest.fail("was loaded"))

    def call(code: int, *arguments: str) -> list[str]:
        assert run(["serve", *arguments]) == code
        out, err = capfd.readouterr()
        assert out == ""
        lines = err.splitlines()
        assert [line.partition(": ")[0] for line in lines] == ["error", "hint"]
        return lines

    return call


def test_other_machines_need_a_key(refused):
    error, hint = refused(2, "--host", "0.0.0.0", "-m", "storyteller")
    assert error == (
        "error: 0.0.0.0 can be reached from other machines, and there is no API key"
    )  # fmt: skip
    assert hint == "hint: add --api-key KEY, or --no-auth to let everybody in"


def test_a_port_that_is_taken(refused):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        error, hint = refused(1, "--port", str(port), "-m", "storyteller")
    assert error == f"error: cannot listen at 127.0.0.1 port {port}: address already in use"
    assert hint == "hint: choose another port, or --port 0 for a free one"


def test_the_missing_extra(refused, monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(
        "importlib.util.find_spec", lambda name, *a: None if name == "uvicorn" else find(name, *a)
    )
    error, hint = refused(1, "-m", "storyteller")
    assert error == "error: hfgen serve needs packages that are not installed"
    assert hint == "hint: pip install 'hfgen[serve]'"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [(["--port", "70000"], "--port 70000: must be a whole number from 0 to 65535"),
     (["--port", "0", "-m", "a=x", "-m", "a=y"], "two models are called a"),
     (["--host", "no.such.host.invalid", "--no-auth"], "there is no address no.such.host.invalid"),
     (["--timeout", "0"], "--timeout 0: must be"), (["--slots", "0"], "--slots 0: must be"),
     (["--api-key", "ké"], "the API key must be printable ASCII")],
    ids=str,
)  # fmt: skip
def test_what_is_wrong_is_refused(refused, arguments, message):
    assert message in refused(2, "-m", "storyteller", *arguments)[0]


def test_help_names_the_server(capfd, monkeypatch):
    monkeypatch.setattr("hfgen.cli.program.main._QUIET_LIBRARIES", {})
    assert run(["serve", "--help"]) == 0
    out = capfd.readouterr().out
    assert "Server" in out and "--api-key" in out


def test_the_page_is_part_of_the_package():
    import hfgen.serving

    assert Path(hfgen.serving.__file__).with_name("playground.html").is_file()
