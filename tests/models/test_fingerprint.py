"""By what a model is known again."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from hfgen.models.checkpoint import fingerprint as module
from hfgen.models.checkpoint.fingerprint import fingerprint
from hfgen.models.naming.resolve import ResolvedModel


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    found = tmp_path / "model"
    found.mkdir()
    (found / "config.json").write_text("{}")
    (found / "tokenizer.json").write_text("{}")
    (found / "model.safetensors").write_bytes(bytes(300_000))
    return found


def of(path: Path) -> str:
    return fingerprint(ResolvedModel("m", path, "folder"))


def test_a_copy_is_the_same_and_what_a_run_reports_does_not_count(
    folder: Path, tmp_path: Path
) -> None:
    before = of(folder)
    (folder / "training.json").write_text("{}")
    (folder / "checkpoints").mkdir()
    assert of(folder) == before
    shutil.copytree(folder, tmp_path / "copy")
    assert of(tmp_path / "copy") == before


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "chat_template.jinja"])
def test_a_small_file_counts(folder: Path, name: str) -> None:
    before = of(folder)
    (folder / name).write_text("{ }")
    assert of(folder) != before


@pytest.mark.parametrize("is_large", [False, True])
def test_weights_count(folder: Path, is_large: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if is_large:  # of which blocks are read
        monkeypatch.setattr(module, "_WHOLE_BYTES", 1000)
        monkeypatch.setattr(module, "_BLOCKS", 3)
        monkeypatch.setattr(module, "_BLOCK_BYTES", 100)
    seen = {of(folder)}
    for changed in (b"\1" * 300_000, bytes(299_999) + b"\1", b"\1" + bytes(299_999), bytes(9)):
        (folder / "model.safetensors").write_bytes(changed)
        seen.add(of(folder))
    assert len(seen) == 5


def test_a_commit_is_enough_and_an_adapter_has_its_base(folder: Path, tmp_path: Path) -> None:
    base = ResolvedModel("m", tmp_path / "none", "cache", "org/m", "c" * 40)
    assert fingerprint(base) == "c" * 40
    adapter = ResolvedModel("a", folder, "adapter", base=base)
    assert fingerprint(adapter) == f"{of(folder)} on {'c' * 40}"
    assert fingerprint(adapter) != fingerprint(replace(adapter, base=replace(base, revision="d")))


def test_a_gguf_file(folder: Path) -> None:
    file = folder / "model.safetensors"
    found = fingerprint(ResolvedModel("m", file, "gguf"))
    file.write_bytes(b"x")
    assert fingerprint(ResolvedModel("m", file, "gguf")) != found
