"""By what a model is known again: its commit on the Hub, or a hash of its files.

Small files (configuration, tokenizer, template) are hashed whole, and so are weights up to 64 MiB,
adapters above all; of larger weights the length and blocks spread over the whole file, a few
megabytes. Training moves every weight, so that one step of it is seen.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hfgen.models.checkpoint.layout import ADAPTER_CONFIG, SMALL_FILES
from hfgen.models.naming.resolve import ResolvedModel

_WEIGHTS = (".safetensors", ".bin", ".gguf")
_WHOLE_BYTES = 64 << 20
_BLOCKS, _BLOCK_BYTES = 512, 1 << 13


def fingerprint(found: ResolvedModel) -> str:
    """The commit of a model of the Hub, else a hash; an adapter's has its base in it."""
    own = found.revision or _hash_of(found.path)
    return own if found.base is None else f"{own} on {fingerprint(found.base)}"


def _hash_of(path: Path) -> str:
    digest = hashlib.sha256()
    for file in [path] if path.is_file() else _files_of(path):
        size = file.stat().st_size
        if file != path:
            digest.update(file.name.encode("utf-8", "backslashreplace"))
        digest.update(f" {size}\n".encode())
        _add(digest, file, size)
    return digest.hexdigest()[:40]


def _files_of(folder: Path) -> Iterator[Path]:
    names = {ADAPTER_CONFIG, *SMALL_FILES}
    for file in sorted(folder.iterdir()):
        if file.is_file() and (file.name in names or file.suffix in _WEIGHTS):
            yield file


def _add(digest: Any, file: Path, size: int) -> None:
    with file.open("rb") as stream:
        if size <= _WHOLE_BYTES:
            digest.update(stream.read())
            return
        for number in range(_BLOCKS):
            stream.seek(number * (size - _BLOCK_BYTES) // (_BLOCKS - 1))
            digest.update(stream.read(_BLOCK_BYTES))
