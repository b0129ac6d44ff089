"""The processes of torchrun or accelerate: which one this is, and work that the first does alone.

The others wait for what all of them read. That may take hours, longer than processes of torchrun
wait for each other otherwise; it ends early where the first process fails, for the launcher ends
the others then.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

from hfgen import distributed
from hfgen.models.silence import quiet
from hfgen.training.options.common import RunOptions

_LONGEST_WAIT = timedelta(days=7)
_USUAL_WAIT_S = 1800


def processes() -> tuple[int, int]:
    """This process's number among those of a launcher, and how many there are."""
    return distributed.rank(), distributed.world_size()


def is_first_process() -> bool:
    """Whether this process is the one that reports and writes."""
    return distributed.is_first()


@contextlib.contextmanager
def first_process_first(options: RunOptions, *, is_cpu: bool) -> Iterator[None]:
    """Have the first process leave the block before any other one enters it."""
    number, count = processes()
    if count == 1:
        yield
        return
    import torch.distributed as dist

    _join(options, is_cpu=is_cpu)
    group = dist.new_group(backend="gloo", timeout=_LONGEST_WAIT)
    if number:
        dist.barrier(group)
    yield
    if not number:
        dist.barrier(group)


def _join(options: RunOptions, *, is_cpu: bool) -> None:
    """Have the processes find each other, as the Trainer would have them a little later."""
    from accelerate.state import PartialState

    given = dict(options.arguments or ())
    settings: dict[str, Any] = {"backend": given.get("ddp_backend")}
    if not is_cpu:
        settings["timeout"] = timedelta(seconds=given.get("ddp_timeout", _USUAL_WAIT_S))
    with quiet():
        PartialState(cpu=is_cpu, **settings)
