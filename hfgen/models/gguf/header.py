"""The header of a GGUF file: what it says of itself, and whether the file is whole.

Reads the beginning of a file and its length, never the weights, and needs no package. Every length
that the file tells is checked against the file before it is believed. The format:
https://github.com/ggml-org/ggml/blob/master/docs/gguf.md: magic, version, counts, metadata, names
and places of tensors, alignment, the tensors' data.
"""

from __future__ import annotations

import mmap
import struct
from dataclasses import dataclass
from math import prod
from pathlib import Path

from hfgen.errors import ModelDamaged, ModelUnsupported
from hfgen.models.checkpoint.weights import FETCH_AGAIN

# Type id -> name, elements in a block, bytes of a block.
BLOCKS: dict[int, tuple[str, int, int]] = {
    0: ("F32", 1, 4), 1: ("F16", 1, 2), 2: ("Q4_0", 32, 18), 3: ("Q4_1", 32, 20),
    6: ("Q5_0", 32, 22), 7: ("Q5_1", 32, 24), 8: ("Q8_0", 32, 34), 9: ("Q8_1", 32, 40),
    10: ("Q2_K", 256, 84), 11: ("Q3_K", 256, 110), 12: ("Q4_K", 256, 144), 13: ("Q5_K", 256, 176),
    14: ("Q6_K", 256, 210), 15: ("Q8_K", 256, 292), 16: ("IQ2_XXS", 256, 66),
    17: ("IQ2_XS", 256, 74), 18: ("IQ3_XXS", 256, 98), 19: ("IQ1_S", 256, 50),
    20: ("IQ4_NL", 32, 18), 21: ("IQ3_S", 256, 110), 22: ("IQ2_S", 256, 82),
    23: ("IQ4_XS", 256, 136), 24: ("I8", 1, 1), 25: ("I16", 1, 2), 26: ("I32", 1, 4),
    27: ("I64", 1, 8), 28: ("F64", 1, 8), 29: ("IQ1_M", 256, 56), 30: ("BF16", 1, 2),
    34: ("TQ1_0", 256, 54), 35: ("TQ2_0", 256, 66), 39: ("MXFP4", 32, 17), 40: ("NVFP4", 64, 36),
    41: ("Q1_0", 128, 18),
}  # fmt: skip

_MAGIC = b"GGUF"
_VERSIONS = (2, 3)
_SCALARS = {0: "<B", 1: "<b", 2: "<H", 3: "<h", 4: "<I", 5: "<i", 6: "<f", 7: "<?", 10: "<Q",
            11: "<q", 12: "<d"}  # fmt: skip
_STRING, _ARRAY = 8, 9
_DEEPEST_ARRAY = 4
_MOST_DIMENSIONS = 8
_EMBEDDING, _HEAD = "token_embd.weight", "output.weight"
# Architectures whose head is the embedding, though converters write it a second time.
_TIED = ("gpt2",)
_COMPARED_BYTES = 2**20


@dataclass(frozen=True)
class GgufTensor:
    """One tensor as the header describes it."""

    name: str
    shape: tuple[int, ...]
    type_name: str
    place: int = 0
    """Where its data begins, from the beginning of all data."""
    size: int = 0
    """Bytes of its data."""

    @property
    def count(self) -> int:
        """Number of elements."""
        return prod(self.shape)


@dataclass(frozen=True)
class GgufHeader:
    """What a whole GGUF file tells before its data begins."""

    metadata: dict[str, object]
    """Scalars and texts, and arrays of numbers as lists; arrays of texts are left out."""
    tensors: tuple[GgufTensor, ...]
    """A head that repeats the embedding byte for byte is not among them."""

    @property
    def architecture(self) -> str:
        """The architecture in llama.cpp's spelling, empty when the file names none."""
        return str(self.metadata.get("general.architecture") or "")

    @property
    def count(self) -> int:
        """Number of weights that the file holds."""
        return sum(tensor.count for tensor in self.tensors)

    @property
    def parameters(self) -> int:
        """Number of weights of the model, of which a tied head is no part.

        Quantizers store such a head in a type of its own, so that both are held after all.
        """
        is_tied = self.architecture in _TIED
        return sum(t.count for t in self.tensors if not (is_tied and t.name == _HEAD))

    def number(self, key: str) -> int | None:
        """Return a number that belongs to the architecture (`block_count`); of a list the most."""
        value = self.metadata.get(f"{self.architecture}.{key}")
        if isinstance(value, list):
            value = max(value, default=None)
        return int(value) if isinstance(value, (int, float)) else None


def read_header(file: Path) -> GgufHeader:
    """Read the header and check the file's length against it.

    Raises `ModelDamaged` when it is no whole GGUF file, `ModelUnsupported` for a version or a
    quantization that is not known here.
    """
    try:
        with file.open("rb") as stream:
            if stream.read(4) != _MAGIC:
                raise ModelDamaged(f"{file} is no GGUF file", hint=FETCH_AGAIN)
            with mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as data:
                return _read(file, data)
    except OSError as error:
        raise ModelDamaged(f"cannot read {file}: {error.strerror}") from error
    except (struct.error, UnicodeDecodeError, OverflowError, KeyError) as error:
        raise ModelDamaged(
            f"{file} ends within its header, or the header is damaged", hint=FETCH_AGAIN
        ) from error


def _read(file: Path, data: mmap.mmap) -> GgufHeader:
    reader = _Reader(data)
    version = reader.scalar("<I")
    if version not in _VERSIONS:
        raise ModelUnsupported(
            f"{file} is a GGUF file of version {version:#x}; known are 2 and 3, little-endian",
            hint="convert the model again with a current llama.cpp",
        )
    tensor_count, value_count = reader.scalar("<Q"), reader.scalar("<Q")
    metadata: dict[str, object] = {}
    for _ in range(value_count):
        key = reader.text()
        value = reader.value(reader.scalar("<I"))
        if value is not None:
            metadata[key] = value
    tensors = [_tensor(file, reader) for _ in range(tensor_count)]
    end = max((tensor.place + tensor.size for tensor in tensors), default=0)
    alignment = metadata.get("general.alignment", 32)
    if not isinstance(alignment, int) or alignment < 1:
        raise ModelDamaged(f"{file} has a header that contradicts itself", hint=FETCH_AGAIN)
    start = -(-reader.place // alignment) * alignment
    if len(data) < start + end:
        raise ModelDamaged(
            f"{file} has {len(data):,} bytes, but its header tells of {start + end:,}",
            hint=FETCH_AGAIN,
        )
    if _repeats_embedding(data, start, {tensor.name: tensor for tensor in tensors}):
        tensors = [tensor for tensor in tensors if tensor.name != _HEAD]
    return GgufHeader(metadata, tuple(tensors))


def _repeats_embedding(data: mmap.mmap, start: int, tensors: dict[str, GgufTensor]) -> bool:
    """Whether the head is the embedding, written a second time."""
    one, other = tensors.get(_EMBEDDING), tensors.get(_HEAD)
    if one is None or other is None:
        return False
    if (one.shape, one.type_name) != (other.shape, other.type_name):
        return False
    first, second = start + one.place, start + other.place
    for begin in range(0, one.size, _COMPARED_BYTES):
        end = min(begin + _COMPARED_BYTES, one.size)
        if data[first + begin : first + end] != data[second + begin : second + end]:
            return False
    return True


def _tensor(file: Path, reader: _Reader) -> GgufTensor:
    """Read a tensor's description."""
    name = reader.text()
    dimensions = reader.scalar("<I")
    if dimensions > _MOST_DIMENSIONS:
        raise ModelDamaged(f"{file} has a header that contradicts itself", hint=FETCH_AGAIN)
    shape = tuple(reader.scalar("<Q") for _ in range(dimensions))
    kind, offset = reader.scalar("<I"), reader.scalar("<Q")
    if kind not in BLOCKS:
        raise ModelUnsupported(
            f"{file} holds weights in a quantization that hfgen does not know (type {kind})",
            hint="take a file in a common one: Q8_0, Q6_K, Q5_K_M, Q4_K_M, F16",
        )
    type_name, elements, size = BLOCKS[kind]
    return GgufTensor(name, shape, type_name, offset, prod(shape) // elements * size)


class _Reader:
    """Reads values one after another; `struct.error` where the file ends."""

    def __init__(self, data: mmap.mmap) -> None:
        self._data = data
        self.place = len(_MAGIC)

    def scalar(self, form: str) -> int:
        (value,) = struct.unpack_from(form, self._data, self.place)
        self.place += struct.calcsize(form)
        return value  # type: ignore[no-any-return]

    def text(self) -> str:
        length = self.scalar("<Q")
        start, self.place = self.place, self.place + length
        if self.place > len(self._data):
            raise struct.error("a text ends beyond the file")
        return self._data[start : self.place].decode("utf-8", errors="replace")

    def value(self, kind: int, depth: int = 0) -> object:
        """Read one value of metadata; None for an array that holds no numbers."""
        if kind == _STRING:
            return self.text()
        if kind != _ARRAY:
            return self.scalar(_SCALARS[kind])
        if depth > _DEEPEST_ARRAY:
            raise struct.error("arrays too deep")
        item, count = self.scalar("<I"), self.scalar("<Q")
        if item in (_STRING, _ARRAY):
            for _ in range(count):
                self.value(item, depth + 1)
            return None
        form = f"<{count}{_SCALARS[item][1]}"
        size = struct.calcsize(_SCALARS[item]) * count
        if self.place + size > len(self._data):
            raise struct.error("an array ends beyond the file")
        values = list(struct.unpack_from(form, self._data, self.place))
        self.place += size
        return values
