"""A real chat model, SmolLM2-135M-Instruct: LoRA on conversations through its own template."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from samples import read_report

import hfgen
from hfgen.training.runs.finetuning import finetune
from tests.models.smollm2 import smollm2_file

ANIMALS = (
    "cat", "dog", "cow", "duck", "horse", "sheep", "goose", "frog", "owl", "lion", "pig", "hen",
    "bee", "crow", "wolf", "goat",
)  # fmt: skip


def rows() -> list[dict[str, Any]]:
    """A habit that no model has: every answer ends in a small song."""
    return [
        {
            "messages": [
                {"role": "system", "content": "You are a singing teacher."},
                {"role": "user", "content": f"Tell me about the {animal}."},
                {"role": "assistant", "content": f"The {animal} sings: la la {animal} la."},
            ]
        }
        for animal in ANIMALS
        for _ in range(2)
    ]


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_lora_on_conversations(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    if "HFGEN_CACHE_DIR" not in os.environ:
        monkeypatch.setenv("HFGEN_CACHE_DIR", str(tmp_path_factory.mktemp("cache")))
    base = str(smollm2_file(tmp_path_factory.mktemp("download")))
    data, val = tmp_path / "chat.jsonl", tmp_path / "val.jsonl"
    lines = [json.dumps(row) + "\n" for row in rows()]
    data.write_text("".join(lines[:-4]), encoding="utf-8")
    val.write_text("".join(lines[-4:]), encoding="utf-8")
    done = finetune(
        data, model=base, output=tmp_path / "singing", lora=True, val_data=str(val), max_steps=20,
        batch_size=4, learning_rate=1e-3,
    )  # fmt: skip
    assert done.before.loss is not None and done.after.loss is not None
    assert done.after.loss < 0.5 * done.before.loss
    lm = hfgen.load(str(done.folder))
    record = lm.generate(
        "Tell me about the fox.", system="You are a singing teacher.", do_sample=False,
        max_new_tokens=40,
    )  # fmt: skip
    assert record.finish_reason == "eos"
    assert "fox" in record.completion and "la" in record.completion.split()
    assert read_report(done.folder).trainable_parameters < 0.1 * read_report(done.folder).parameters
