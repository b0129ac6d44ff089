from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import pytest

from hfgen.errors import HfgenError, ModelDamaged, ModelNotFound, ModelUnsupported, TokenizerMissing
from hfgen.models.checkpoint.layout import check_folder, needed_files


def change_config(folder: Path, **fields: Any) -> None:
    file = folder / "config.json"
    config = json.loads(file.read_text()) | fields
    file.write_text(json.dumps({key: value for key, value in config.items() if value is not ...}))


def write_safetensors(file: Path, header: Any, data: bytes) -> None:
    text = json.dumps(header).encode()
    file.write_bytes(struct.pack("<Q", len(text)) + text + data)


def expect(kind: type[HfgenError], match: str, folder: Path) -> HfgenError:
    with pytest.raises(kind, match=match) as caught:
        check_folder(folder)
    assert type(caught.value) is kind
    return caught.value


def test_a_good_folder_passes(tiny_folder: Path) -> None:
    check_folder(tiny_folder)
    check_folder(str(tiny_folder))


def test_no_folder(tmp_path: Path) -> None:
    expect(ModelNotFound, "there is no folder", tmp_path / "none")


def test_no_config(tiny_folder: Path) -> None:
    (tiny_folder / "config.json").unlink()
    expect(ModelNotFound, "has no config.json", tiny_folder)
    for step in ("checkpoint-9", "checkpoint-100"):
        (tiny_folder / step).mkdir()
    hint = expect(ModelNotFound, "has no config.json", tiny_folder).hint
    assert hint is not None and hint.endswith("checkpoint-100")


@pytest.mark.parametrize("text", ["", "{", "\xff\xfe", "[" * 100_000])
def test_invalid_config(tiny_folder: Path, text: str) -> None:
    (tiny_folder / "config.json").write_text(text, encoding="latin-1")
    expect(ModelDamaged, "no valid JSON", tiny_folder)


def test_config_is_no_object(tiny_folder: Path) -> None:
    (tiny_folder / "config.json").write_text("[1]")
    expect(ModelDamaged, "JSON object", tiny_folder)


@pytest.mark.parametrize("name", ["generation_config.json", "tokenizer_config.json"])
def test_other_invalid_json(tiny_folder: Path, name: str) -> None:
    (tiny_folder / name).write_text("{]")
    expect(ModelDamaged, name, tiny_folder)


@pytest.mark.parametrize(
    ("fields", "match"),
    [
        ({"model_type": ...}, "no model_type"),
        ({"model_type": 3}, "no model_type"),
        ({"model_type": "bert"}, "an encoder model"),
        ({"model_type": "t5"}, "an encoder-decoder model"),
        ({"is_encoder_decoder": True}, "an encoder-decoder model"),
        ({"architectures": ["GPT2ForSequenceClassification"]}, "GPT2ForSequenceClassification"),
    ],
)
def test_wrong_architecture(tiny_folder: Path, fields: dict[str, Any], match: str) -> None:
    change_config(tiny_folder, **fields)
    expect(ModelUnsupported, match, tiny_folder)


def test_adapter(tiny_folder: Path) -> None:
    (tiny_folder / "adapter_config.json").write_text("{}")
    expect(ModelUnsupported, "adapter", tiny_folder)
    (tiny_folder / "config.json").unlink()
    expect(ModelUnsupported, "adapter", tiny_folder)


def test_no_weights(tiny_folder: Path) -> None:
    (tiny_folder / "model.safetensors").unlink()
    expect(ModelDamaged, "no weights", tiny_folder)
    (tiny_folder / "tf_model.h5").touch()
    expect(ModelUnsupported, "TensorFlow format only", tiny_folder)


def test_distributed_checkpoint_is_refused(tiny_folder: Path) -> None:
    (tiny_folder / "shard-00000-model-00001-of-00001.safetensors").touch()
    expect(ModelUnsupported, "distributed", tiny_folder)


@pytest.mark.parametrize("change", [-1, -1000, 1])
def test_weights_of_the_wrong_length(tiny_folder: Path, change: int) -> None:
    file = tiny_folder / "model.safetensors"
    data = file.read_bytes()
    file.write_bytes(data[:change] if change < 0 else data + b"x")
    expect(ModelDamaged, f"has {len(data) + change:,} bytes, .* {len(data):,}", tiny_folder)


def test_weights_end_within_the_header(tiny_folder: Path) -> None:
    file = tiny_folder / "model.safetensors"
    start = file.read_bytes()[:100]
    for data in (start, start[:5], b"", struct.pack("<Q", 2**63) + b"{}"):
        file.write_bytes(data)
        expect(ModelDamaged, "ends within its header", tiny_folder)


@pytest.mark.parametrize(
    "header",
    [
        [],
        {"w": 1},
        {"w": {"data_offsets": [0]}},
        {"w": {"dtype": "F32", "shape": "x", "data_offsets": [0, 4]}},
    ],
)
def test_header_is_no_header(tiny_folder: Path, header: Any) -> None:
    write_safetensors(tiny_folder / "model.safetensors", header, b"1234")
    expect(ModelDamaged, "no readable header", tiny_folder)


def test_header_contradicts_itself(tiny_folder: Path) -> None:
    tensor = {"dtype": "F32", "shape": [2], "data_offsets": [0, 4]}
    write_safetensors(tiny_folder / "model.safetensors", {"w": tensor}, b"1234")
    expect(ModelDamaged, "contradicts itself", tiny_folder)


def test_git_lfs_pointer(tiny_folder: Path) -> None:
    text = "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n"
    (tiny_folder / "model.safetensors").write_text(text)
    error = expect(ModelDamaged, "Git LFS pointer", tiny_folder)
    assert "git lfs pull" in (error.hint or "")


def test_shards(tiny_folder: Path) -> None:
    names = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"]
    (tiny_folder / "model.safetensors").rename(tiny_folder / names[0])
    index = tiny_folder / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {"a": names[0], "b": names[1]}}))
    expect(ModelDamaged, f"lacks 1 of 2 weight files: {names[1]}", tiny_folder)
    (tiny_folder / names[1]).write_bytes((tiny_folder / names[0]).read_bytes())
    check_folder(tiny_folder)
    (tiny_folder / names[1]).write_bytes(b"")
    expect(ModelDamaged, names[1], tiny_folder)


@pytest.mark.parametrize("name", ["../model.safetensors", "/etc/passwd", "a\\b", "..", ""])
def test_an_index_may_not_point_elsewhere(tiny_folder: Path, name: str) -> None:
    (tiny_folder / "model.safetensors").unlink()
    index = tiny_folder / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {"a": name}}))
    expect(ModelDamaged, "outside its folder", tiny_folder)


def test_empty_index(tiny_folder: Path) -> None:
    (tiny_folder / "model.safetensors").unlink()
    (tiny_folder / "model.safetensors.index.json").write_text("{}")
    expect(ModelDamaged, "lists no weights", tiny_folder)


def test_no_tokenizer(tiny_folder: Path) -> None:
    (tiny_folder / "tokenizer.json").unlink()
    expect(TokenizerMissing, "has no tokenizer", tiny_folder)
    (tiny_folder / "vocab.json").write_text("{}")
    expect(TokenizerMissing, "lacks the tokenizer file merges.txt", tiny_folder)
    (tiny_folder / "merges.txt").touch()
    check_folder(tiny_folder)


def test_needed_files_are_those_to_run_it_and_weights_come_last() -> None:
    offered = [
        "pytorch_model.bin", "tf_model.h5", "model.safetensors", "README.md", "vocab.json",
        "merges.txt", "tokenizer.json", "config.json", "rust_model.ot", "flax_model.msgpack",
        "64.tflite", "generation_config.json", "training.json", ".gitattributes",
    ]  # fmt: skip
    files = needed_files(offered)
    assert files[-1] == "model.safetensors"
    assert set(files[:-1]) == {
        "config.json", "generation_config.json", "tokenizer.json", "vocab.json", "merges.txt",
    }  # fmt: skip
    offered.remove("model.safetensors")
    assert needed_files(offered)[-1] == "pytorch_model.bin"
