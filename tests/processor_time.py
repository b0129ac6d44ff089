"""Processor time of child processes: what a busy neighbour does not change."""

from __future__ import annotations

import resource
import subprocess
import sys
from collections.abc import Callable

_FLOOR_S = 0.15
"""What importing Typer and its help takes on a quiet machine."""


def children_s(run: Callable[[], object]) -> float:
    """Seconds of processor time of the processes that `run` starts and waits for."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    run()
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime


def best_s(run: Callable[[], object], *, times: int = 3) -> float:
    """The least processor time of a few runs, as a quiet machine would take.

    Processes that share a core take more of its time too; importing Typer, timed in the same
    moment, says how much more.
    """

    def import_typer() -> object:
        command = [sys.executable, "-c", "import typer.rich_utils"]
        return subprocess.run(command, check=True, timeout=60)

    floor_s = min(children_s(import_typer) for _ in range(times))
    return min(children_s(run) for _ in range(times)) / max(1.0, floor_s / _FLOOR_S)
