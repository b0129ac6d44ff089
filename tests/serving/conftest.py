"""A server on a real socket, in this process: its models are owned by threads of their own."""

from __future__ import annotations

import functools
import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import httpx2
import openai
import pytest
from schemas import check

from tests.conftest import BUNDLED, build_model, wrap

TEMPLATE = (
    "{% for m in messages %}<{{ m.role }}>{{ m.content }}\n{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}"
)


def new_tokenizer(*, is_chat: bool = False) -> Any:
    """A tokenizer of one's own: none may be used by two threads."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(BUNDLED)
    if is_chat:
        tokenizer.chat_template = TEMPLATE
    return tokenizer


def new_lm(name: str) -> Any:
    """`story` is the bundled model, `base` a random one, `chat` a random one with a template."""
    if name == "story":
        import hfgen

        return hfgen.load("storyteller")
    return wrap(build_model("gpt2" if name == "base" else "llama"),
                new_tokenizer(is_chat=name == "chat"))  # fmt: skip


@contextmanager
def serving(models: dict[str, Any], *, slots: int = 4, **settings: Any) -> Iterator[Any]:
    """A running server: `url`, `service`, `client` (openai), `post`, `errors`."""
    from hfgen.serving.app import create_app
    from hfgen.serving.metrics import Metrics
    from hfgen.serving.server import ListeningServer, bind, url_of
    from hfgen.serving.service import Service
    from hfgen.serving.settings import ServerSettings
    from hfgen.serving.worker import Worker

    settings = ServerSettings(port=0, **settings)
    metrics = Metrics()
    workers = {
        name: Worker(lm, slots=slots, watch=metrics.watch(name)) for name, lm in models.items()
    }
    errors: list[Exception] = []
    service = Service(workers, settings, errors.append)
    listener = bind(settings)
    url = url_of(listener)
    started = threading.Event()
    server = ListeningServer(create_app(service, metrics), started.set)
    thread = threading.Thread(target=server.serve_on, args=(listener,))
    thread.start()
    assert started.wait(30)
    key = settings.api_key or "none"
    with (
        openai.OpenAI(base_url=f"{url}/v1", api_key=key, max_retries=0, timeout=60) as client,
        httpx2.Client(base_url=url, timeout=60) as http,
    ):

        def post(path: str, **body: Any) -> Any:
            answer = http.post(path, content=json.dumps(body))
            return check(path, answer.status_code, answer.json())

        try:
            yield SimpleNamespace(
                url=url, service=service, server=server, client=client, http=http, post=post,
                errors=errors, workers=workers,
            )  # fmt: skip
            wait_until_idle(service)
        finally:
            server.stop()
            thread.join(30)
            for worker in workers.values():
                worker.close(30)
            assert not thread.is_alive()


def wait_until_idle(service: Any) -> None:
    """Wait until no request is open and no slot is taken; fail where one stays."""
    until = time.monotonic() + 20
    while time.monotonic() < until:
        busy = [worker.running for worker in service.workers.values()]
        tickets = [len(tickets) for tickets in service.tickets.values()]
        if not any(busy) and not any(tickets):
            return
        time.sleep(0.01)
    raise AssertionError(f"slots in use: {busy}, requests open: {tickets}")


@pytest.fixture(scope="session")
def server() -> Iterator[Any]:
    """One server for most tests, with the models of `new_lm`."""
    models = {name: new_lm(name) for name in ("story", "base", "chat")}
    with serving(models) as running:
        yield running
        assert running.errors == []


@pytest.fixture(scope="session")
def lm_named() -> Callable[[str], Any]:
    """The same models outside the server."""
    return functools.cache(new_lm)
