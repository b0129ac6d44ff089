"""How much memory this machine has, and how much of it is left; without torch where possible."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_CGROUP = Path("/sys/fs/cgroup")
_OWN_GROUPS = Path("/proc/self/cgroup")
# Files of a control group, and the line of its statistics that counts pages read once.
_VERSION_2 = ("memory.max", "memory.current", "inactive_file")
_VERSION_1 = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
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
    for limit, used in _container_limits():
        total, available = min(total, limit), min(available, limit - used)
    return Memory("cpu", total, max(0, available))


def has_nvidia_driver() -> bool:
    """Whether there may be a CUDA GPU; torch is not asked."""
    return _NVIDIA.exists() or os.name == "nt"


def gpu_memory(index: int | None = None) -> Memory | None:
    """Return the memory of an NVIDIA GPU, the current one where no `index` says which.

    torch is imported only where there is a driver.
    """
    if not has_nvidia_driver():
        return None
    try:
        import torch

        if not torch.cuda.is_available():
            return None
        available, total = torch.cuda.mem_get_info(index)
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


def _container_limits() -> Iterator[tuple[int, int]]:
    """The limit of each control group this process is in, and how much of it is in use.

    Pages of files that were read once (`inactive_file`) count for the kernel, but it drops them as
    soon as the memory is needed.
    """
    for folder, (limit_name, used_name, cache_name) in _control_groups():
        limit, used = _number(folder / limit_name), _number(folder / used_name)
        if limit is not None:
            cached = _statistic(folder / "memory.stat", cache_name)
            yield limit, max(0, (used or 0) - cached)


def _control_groups() -> Iterator[tuple[Path, tuple[str, str, str]]]:
    """Folders of the process's groups, and the names of limit, use and cache there.

    In a container its own group is mounted as the root, and the path names folders that are not
    there; elsewhere (a service, a job of a scheduler) a limit may stand at any level.
    """
    try:
        lines = _OWN_GROUPS.read_text("utf-8").splitlines()
    except (OSError, ValueError):
        lines = []
    entries = (line.split(":", 2) for line in lines if line.count(":") > 1)
    own = {kind: path for _, kind, path in entries}
    for root, kind, names in (
        (_CGROUP, "", _VERSION_2),
        (_CGROUP / "memory", "memory", _VERSION_1),
    ):
        path = Path(own.get(kind, "/").lstrip("/"))
        for relative in (path, *path.parents):
            yield root / relative, names


def _statistic(file: Path, name: str) -> int:
    """A line of a group's statistics; 0 when there is none."""
    with contextlib.suppress(OSError, ValueError):
        values = dict(line.split() for line in file.read_text("ascii").splitlines())
        return int(values.get(name, 0))
    return 0


def _number(file: Path) -> int | None:
    try:
        return int(file.read_text("ascii"))
    except (OSError, ValueError):  # absent, or "max"
        return None
