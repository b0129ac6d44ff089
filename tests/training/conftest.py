"""A tiny model on disk and rows for it to learn."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from hfgen.training.loop import samples
from tests.conftest import BUNDLED, build_model

WORDS = ("apple", "river", "stone", "cloud", "tiger", "horse", "bread", "night", "glass", "smoke")


@pytest.fixture(scope="session", autouse=True)
def short_samples() -> Iterator[None]:
    """What a model writes at each evaluation takes half of the time of a short run."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(samples, "NEW_TOKENS", 8)
        yield


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> Iterator[None]:
    """Sums are added in one order, and models of this size are computed soonest."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def no_plot() -> Iterator[None]:
    """Half of the time of a short run; `test_report` and the tests of the commands draw."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("hfgen.training.report.plot.draw", lambda report, path: False)
        yield


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory, tokenizer: Any) -> Path:
    """A GPT-2 of three layers with dropout, and the bundled tokenizer."""
    folder = tmp_path_factory.mktemp("models") / "tiny"
    changes = {"resid_pdrop": 0.1, "embd_pdrop": 0.1, "attn_pdrop": 0.1, "initializer_range": 0.05}
    build_model("gpt2", **changes).save_pretrained(folder)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (folder / name).write_bytes((BUNDLED / name).read_bytes())
    return folder


@pytest.fixture(scope="session")
def pairs_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """120 rows: a word, and the same word backwards in capitals."""
    rows = [
        {"prompt": f"{a} {b}:", "completion": f" {b} {a}{n % 7}"}
        for n, (a, b) in enumerate((a, b) for a in WORDS for b in (*WORDS, "x", "y"))
    ]
    file = tmp_path_factory.mktemp("data") / "pairs.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return file
