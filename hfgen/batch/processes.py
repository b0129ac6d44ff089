"""Several processes of torchrun that share the rows: process k of n has those of index k modulo n.

They talk through accelerate's state, over gloo: there is nothing to exchange but a few words.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from hfgen import distributed

# One process may be done long before another.
_LONGEST_WAIT = timedelta(days=30)


class Processes:
    """Which process this is, of how many."""

    def __init__(self) -> None:
        self.number = distributed.rank()
        self.count = distributed.world_size()
        self.on_this_machine = distributed.local_world_size()

    @property
    def is_first(self) -> bool:
        """Whether it is the one that merges and reports."""
        return self.number == 0

    def join(self) -> None:
        """Find the others."""
        if self.count > 1:
            from accelerate.state import PartialState

            PartialState(cpu=True, timeout=_LONGEST_WAIT)

    def device(self, name: str) -> str:
        """The device of this process, where `name` leaves it open."""
        if self.count == 1 or name not in ("auto", "cuda"):
            return name
        import torch

        return f"cuda:{distributed.local_rank() or 0}" if torch.cuda.is_available() else name

    def gather(self, value: Any) -> list[Any]:
        """Every process's value, in order; waits for all of them."""
        if self.count == 1:
            return [value]
        import torch.distributed as dist

        found: list[Any] = [None] * self.count
        dist.all_gather_object(found, value)
        return found
