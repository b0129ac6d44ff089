"""A tiny model on disk and rows for it to learn."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import BUNDLED, build_model

WORDS = ("apple", "river", "stone", "cloud", "tiger", "horse", "bread", "night", "glass", "smoke")


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
