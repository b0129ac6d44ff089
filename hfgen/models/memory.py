"""How much memory this machine has, and how much of it is left; without torch where possible."""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass
from pathlib import Path

_CGROUP = Path("/sys/fs/cgroup")
_MEMINFO = Path("/proc/meminfo")
_NVIDIA = Path("/proc/driver/nvidia/version")


@dataclass(frozen=True)
class Memory:
    """One kind of memory, in bytes."""

    device: str
    """`cpu` or `cuda`."""
    total_bytes: int
    available_bytes: int


def main_memory() -> Memory | None:
    """Return the machine's memory, or what a container may use of it; None when unknown."""
    found = _from_meminfo() or _from_sysconf() or _from_psutil()
    if found is None:
        return None
    total, available = found
    limit, used = _number(_CGROUP / "memory.max"), _number(_CGROUP / "memory.current")
    if limit is not None and limit < total:
        total, available = limit, min(available, limit - (used or 0))
    return Memory("cpu", total, max(0, available))


def has_nvidia_driver() -> bool:
    """Whether there may be a CUDA GPU; torch is not asked."""
    return _NVIDIA.exists() or os.name == "nt"


def gpu_memory() -> Memory | None:
    """Return the memory of the first NVIDIA GPU; torch is imported only where there is a driver."""
    if not has_nvidia_driver():
        return None
    try:
        import torch

        if not torch.cuda.is_available():
            return None
        available, total = torch.cuda.mem_get_info(0)
    except (ImportError, RuntimeError):
        return None
    return Memory("cuda", total, available)


def _from_meminfo() -> tuple[int, int] | None:
    with contextlib.suppress(OSError, KeyError, ValueError, IndexError):
        lines = (line.split() for line in _MEMINFO.read_text("ascii").splitlines())
        values = {words[0]: int(words[1]) * 1024 for words in lines if len(words) > 1}
        return values["MemTotal:"], values["MemAvailable:"]
    return None


def _from_sysconf() -> tuple[int, int] | None:
    with contextlib.suppress(AttributeError, OSError, ValueError):
        page = os.sysconf("SC_PAGE_SIZE")
        return page * os.sysconf("SC_PHYS_PAGES"), page * os.sysconf("SC_AVPHYS_PAGES")
    return None


def _from_psutil() -> tuple[int, int] | None:
    with contextlib.suppress(ImportError):
        import psutil

        found = psutil.virtual_memory()
        return found.total, found.available
    return None


def _number(file: Path) -> int | None:
    try:
        return int(file.read_text("ascii"))
    except (OSError, ValueError):  # absent, or "max"
        return None
