"""The weight files of a model folder: which ones count, and whether they are whole.

Reads names, indexes and headers, never the weights, and needs neither torch nor safetensors. The
layout is that of https://huggingface.co/docs/safetensors: 8 bytes of header length, a JSON header,
the data.
"""

from __future__ import annotations

import json
import re
import struct
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from hfgen.errors import HfgenError, ModelDamaged, ModelUnsupported

# In the order in which Transformers looks for them.
WEIGHT_FILES = (
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
)

FETCH_AGAIN = "fetch the model's files again"

_OTHER_FORMATS = {
    ".h5": "TensorFlow",
    ".msgpack": "Flax",
    ".ot": "Rust",
    ".onnx": "ONNX",
}
_LFS_POINTER = b"version https://git-lfs.github.com/spec/"
_DISTRIBUTED = re.compile(r"shard-[0-9]{5}-model-[0-9]{5}-of-[0-9]{5}\.safetensors")
_MAX_HEADER_BYTES = 100_000_000

_TYPE_BITS = {
    "BOOL": 8, "U8": 8, "I8": 8, "F8_E5M2": 8, "F8_E4M3": 8, "F8_E8M0": 8, "U16": 16, "I16": 16,
    "F16": 16, "BF16": 16, "U32": 32, "I32": 32, "F32": 32, "U64": 64, "I64": 64, "F64": 64,
    "C64": 64,
}  # fmt: skip


@dataclass(frozen=True)
class Weights:
    """The weight files of a folder."""

    files: tuple[Path, ...]
    is_pickled: bool


def read_json(file: Path) -> dict[str, Any]:
    """Return the object in a JSON file, or raise `ModelDamaged`."""
    try:
        value = json.loads(file.read_bytes())
    except (ValueError, RecursionError) as error:
        raise ModelDamaged(f"{file} is no valid JSON", hint=FETCH_AGAIN) from error
    except OSError as error:
        raise ModelDamaged(f"cannot read {file}: {error.strerror}") from error
    if not isinstance(value, dict):
        raise ModelDamaged(f"{file} does not hold a JSON object", hint=FETCH_AGAIN)
    return value


def find_weights(folder: Path) -> Weights:
    """Return the weight files that Transformers would load; every shard is there."""
    names = file_names(folder)
    if any(_DISTRIBUTED.fullmatch(name) for name in names):
        raise ModelUnsupported(
            f"{folder} holds a distributed checkpoint", hint="save it with save_pretrained first"
        )
    found = next((name for name in WEIGHT_FILES if name in names), None)
    if found is None:
        raise _no_weights(folder, names)
    is_pickled = found.startswith("pytorch_model")
    if not found.endswith(".index.json"):
        return Weights((folder / found,), is_pickled)
    shards = shards_of(folder / found)
    missing = [name for name in shards if name not in names]
    if missing:
        raise ModelDamaged(
            f"{folder} lacks {len(missing)} of {len(shards)} weight files: {_some(missing)}",
            hint=FETCH_AGAIN,
        )
    return Weights(tuple(folder / name for name in shards), is_pickled)


def shards_of(index: Path) -> tuple[str, ...]:
    """Return the names of the weight files that an index lists, sorted."""
    weight_map = read_json(index).get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        raise ModelDamaged(f"{index} lists no weights", hint=FETCH_AGAIN)
    names = set(weight_map.values())
    for name in names:
        if not isinstance(name, str) or Path(name).name in ("", "..") or re.search(r"[/\\]", name):
            raise ModelDamaged(f"{index} names a file outside its folder: {name!r}")
    return tuple(sorted(names))


def check_weight_file(file: Path) -> None:
    """Check what a weight file's beginning and length tell, without reading the weights."""
    try:
        with file.open("rb") as stream:
            start = stream.read(len(_LFS_POINTER))
            if start == _LFS_POINTER:
                raise ModelDamaged(
                    f"{file} is a Git LFS pointer, not the weights themselves",
                    hint=f"git lfs pull (in {file.parent})",
                )
            if file.suffix == ".safetensors":
                stream.seek(0)
                _check_safetensors(file, stream.read(8), stream)
            elif not start:
                raise ModelDamaged(f"{file} is empty", hint=FETCH_AGAIN)
    except OSError as error:
        raise ModelDamaged(f"cannot read {file}: {error.strerror}") from error


def _check_safetensors(file: Path, prefix: bytes, stream: BinaryIO) -> None:
    size = file.stat().st_size
    length = struct.unpack("<Q", prefix)[0] if len(prefix) == 8 else size
    if 8 + length > size:
        raise ModelDamaged(f"{file} ends within its header ({size:,} bytes)", hint=FETCH_AGAIN)
    if length > _MAX_HEADER_BYTES:
        raise ModelDamaged(f"{file} has no readable header", hint=FETCH_AGAIN)
    try:
        header = json.loads(stream.read(length))
        tensors = [value for name, value in header.items() if name != "__metadata__"]
        ends = [tensor["data_offsets"][1] for tensor in tensors]
        is_consistent = all(_is_consistent(tensor) for tensor in tensors)
        expected = 8 + length + max(ends, default=0)
    except (ValueError, RecursionError, AttributeError, KeyError, TypeError, IndexError) as error:
        raise ModelDamaged(f"{file} has no readable header", hint=FETCH_AGAIN) from error
    if not is_consistent:
        raise ModelDamaged(f"{file} has a header that contradicts itself", hint=FETCH_AGAIN)
    if size != expected:
        raise ModelDamaged(
            f"{file} has {size:,} bytes, but its header tells of {expected:,}", hint=FETCH_AGAIN
        )


def _is_consistent(tensor: dict[str, Any]) -> bool:
    start, end = tensor["data_offsets"]
    count = 1
    for extent in tensor["shape"]:
        count *= extent
    bits = _TYPE_BITS.get(tensor["dtype"])
    return bool(0 <= start <= end and (bits is None or end - start == count * bits // 8))


def _no_weights(folder: Path, names: Collection[str]) -> HfgenError:
    suffixes = {Path(name).suffix for name in names}
    formats = [words for suffix, words in _OTHER_FORMATS.items() if suffix in suffixes]
    if files := sorted(name for name in names if name.lower().endswith(".gguf")):
        return ModelUnsupported(
            f"{folder} has its weights in a GGUF file", hint=f"name it: -m {folder / files[0]}"
        )
    if formats:
        return ModelUnsupported(
            f"{folder} has weights in {' and '.join(formats)} format only",
            hint="hfgen runs safetensors (or pytorch_model.bin)",
        )
    return ModelDamaged(f"{folder} has no weights (model.safetensors)", hint=FETCH_AGAIN)


def file_names(folder: Path) -> frozenset[str]:
    """Return the names in a folder; a link of the Hub's cache whose blob is gone is no file."""
    try:
        return frozenset(item.name for item in folder.iterdir() if item.exists())
    except OSError as error:
        raise ModelDamaged(f"cannot read {folder}: {error.strerror}") from error


def _some(names: list[str]) -> str:
    return ", ".join(names[:3]) + (", …" if len(names) > 3 else "")
