"""Which process this is of those that a launcher such as torchrun has started together.

The launcher tells each of them by environment variables; without a launcher there is one process.
Only the standard library is imported: the program asks before anything is loaded.
"""

from __future__ import annotations

import os


def rank() -> int:
    """The number of this process, from 0."""
    return int(os.environ.get("RANK") or 0)


def world_size() -> int:
    """How many processes there are."""
    return int(os.environ.get("WORLD_SIZE") or 1)


def local_world_size() -> int:
    """How many of them are on this machine."""
    return int(os.environ.get("LOCAL_WORLD_SIZE") or 1)


def local_rank() -> int | None:
    """The number of this process on its machine; None without a launcher."""
    number = os.environ.get("LOCAL_RANK")
    return int(number) if number else None


def is_first() -> bool:
    """Whether this is the process that speaks, and writes what all have made."""
    return os.environ.get("RANK", "0") in ("0", "")
