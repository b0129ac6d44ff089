"""The logits processor of a constrained row.

llguidance's own helper for torch is compiled by `torch.compile` (a C++ compiler, and seconds, on a
CPU); here the bits are unpacked by numpy.
"""

from __future__ import annotations

import numpy as np
import torch

from hfgen.generation.constraints.constraint import Constraint


class GrammarMask:
    """Excludes from scores (1, V) what the row's grammar does not allow next."""

    def __init__(self, constraint: Constraint) -> None:
        self._constraint = constraint

    def __call__(self, input_ids: torch.Tensor | None, scores: torch.Tensor) -> torch.Tensor:
        size = scores.shape[-1]
        packed = np.frombuffer(self._constraint.mask(), dtype=np.uint8)
        allowed = np.zeros(size, dtype=np.bool_)
        bits = np.unpackbits(packed, bitorder="little")[:size].astype(np.bool_)
        allowed[: len(bits)] = bits
        allowed[[token_id for token_id in self._constraint.ends if token_id < size]] = False
        allowed[list(self._constraint.eos_ids)] = self._constraint.is_whole
        mask = torch.from_numpy(allowed).to(scores.device)
        return scores.masked_fill(~mask, -torch.inf)
