"""Where a run took place and what it read: versions, machine, files with their hashes.

Nothing that names a person, a host or a folder but the paths as they were given.
"""

from __future__ import annotations

import hashlib
import os
import platform
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path

from hfgen.errors import DataError
from hfgen.models.sizing.memory import gpu_memory, main_memory
from hfgen.training.options.finetune import Method

_PACKAGES = ("hfgen", "torch", "transformers", "accelerate", "tokenizers")
_CPUINFO = Path("/proc/cpuinfo")


@dataclass(frozen=True)
class FileFacts:
    """A data file."""

    name: str
    """As it was given."""
    bytes: int
    sha256: str


@dataclass(frozen=True)
class Machine:
    """What a run had to compute with."""

    cpu: str
    cores: int
    """That this process may use."""
    memory_bytes: int | None = None
    gpus: tuple[str, ...] = ()
    gpu_memory_bytes: int | None = None
    """Of the first one."""


def versions(method: Method = "full") -> dict[str, str]:
    """Versions of Python and of every package that a run of this method depends on."""
    extra = {"full": (), "qlora": ("peft", "bitsandbytes")}.get(method, ("peft",))
    found = {"python": platform.python_version()}
    for name in (*_PACKAGES, *extra):
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def machine() -> Machine:
    """This machine; torch is imported only where there is a driver for a GPU."""
    memory, gpu = main_memory(), gpu_memory()
    return Machine(
        cpu=_cpu(),
        cores=_cores(),
        memory_bytes=memory.total_bytes if memory else None,
        gpus=_gpus() if gpu else (),
        gpu_memory_bytes=gpu.total_bytes if gpu else None,
    )


def file_facts(paths: Iterable[str | Path]) -> tuple[FileFacts, ...]:
    """Size and SHA-256 of each file, read in pieces. Raises `DataError` for one that cannot be."""
    return tuple(_file(path) for path in paths)


def timestamp() -> str:
    """The present moment in UTC, as ISO 8601 to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def _file(path: str | Path) -> FileFacts:
    try:
        with Path(path).open("rb") as stream:
            digest = hashlib.file_digest(stream, "sha256")
            return FileFacts(str(path), stream.tell(), digest.hexdigest())
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise DataError(f"{path}: {reason}", hint="check the file and who may read it") from error


def _cpu() -> str:
    try:
        text = _CPUINFO.read_text("utf-8", errors="replace")
    except OSError:
        text = ""
    names = [
        line.partition(":")[2].strip() for line in text.splitlines() if line[:10] == "model name"
    ]
    return next(filter(None, names), "") or platform.processor() or platform.machine()


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _gpus() -> tuple[str, ...]:
    import torch

    return tuple(torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count()))
