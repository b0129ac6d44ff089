"""What a run cost."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Any

from hfgen.generation.engine import Statistics


@dataclass(frozen=True)
class RunStatistics:
    """What a run cost, in seconds, tokens and bytes."""

    load_s: float
    """Imports and weights; 0 in the second and later runs of a model."""
    first_token_s: float
    """From the start of the run to the first token."""
    prefill_tokens: int
    prefill_s: float
    decode_tokens: int
    decode_s: float
    peak_bytes: int
    """Most memory held by the process, or by the GPU's allocator."""


def run_statistics(engine: Statistics, load_s: float, device: Any) -> RunStatistics:
    """Sum up an engine's life on a device."""
    return RunStatistics(
        load_s=load_s,
        first_token_s=engine.first_token_s or 0.0,
        prefill_tokens=engine.prefill_tokens,
        prefill_s=engine.prefill_s,
        decode_tokens=engine.decode_tokens,
        decode_s=engine.decode_s,
        peak_bytes=peak_bytes(device),
    )


def peak_bytes(device: Any) -> int:
    """Most memory that this process held so far, or that the GPU's allocator did."""
    if device.type == "cuda":
        import torch

        return int(torch.cuda.max_memory_allocated(device))
    try:
        import resource
    except ImportError:  # not on Windows
        return 0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return int(peak) * (1 if sys.platform == "darwin" else 1024)
