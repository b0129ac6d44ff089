"""Processor time of child processes: what a busy neighbour does not change."""

from __future__ import annotations

import resource
from collections.abc import Callable


def children_s(run: Callable[[], object]) -> float:
    """Seconds of processor time of the processes that `run` starts and waits for."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    run()
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime
