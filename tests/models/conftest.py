"""Fixtures for models: a tiny folder on disk, a cache of its own, and a stand-in Hub."""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from stand_ins import StandInHub, environment

from tests import warm


@pytest.fixture(scope="session")
def tiny_session_folder(
    tmp_path_factory: pytest.TempPathFactory, model_of: Callable[[str], Any], tokenizer: Any
) -> Path:
    folder = tmp_path_factory.mktemp("tiny")
    model_of("gpt2").save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture
def tiny_folder(tiny_session_folder: Path, tmp_path: Path) -> Path:
    """A small random GPT-2 that the test may damage."""
    return Path(shutil.copytree(tiny_session_folder, tmp_path / "tiny"))


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty Hub cache of the test's own, and hfgen's cache folder."""
    from huggingface_hub import constants

    folder = tmp_path / "hub"
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(folder))
    monkeypatch.setenv("HFGEN_CACHE_DIR", str(tmp_path / "hfgen-cache"))
    monkeypatch.setenv("HFGEN_CONFIG_DIR", str(tmp_path / "hfgen-config"))
    monkeypatch.delenv("HF_TOKEN", raising=False)
    return folder


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[StandInHub]:
    """The stand-in Hub, in place of the real one, with the network allowed and no waiting."""
    from huggingface_hub import close_session, constants
    from huggingface_hub.utils import _http

    server = StandInHub()
    monkeypatch.setattr(constants, "ENDPOINT", server.url)
    template = server.url + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    # The library's waits between retries; its retries stay.
    real = time.sleep
    monkeypatch.setattr(_http.time, "sleep", lambda seconds: real(min(seconds, 0.01)))
    close_session()
    yield server
    close_session()
    server.close()


@pytest.fixture
def program(tmp_path: Path, cache: Path) -> Callable[..., Any]:
    """Run hfgen as a process with the test's own cache, configuration and Hub.

    `program("models", "list", HF_ENDPOINT=…)`: offline unless an endpoint is given.
    """

    def run(*arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [warm.program(), *arguments],
            env=environment(tmp_path, **env), cwd=tmp_path, stdin=subprocess.DEVNULL,
            capture_output=True, text=True, timeout=60,
        )  # fmt: skip

    return run
