"""What the repetitions of one batch size come to: medians, spreads, shares of the limits.

Pure arithmetic; knows no model and no clock.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from hfgen.bench.options import BenchOptions
from hfgen.bench.runs import Run


@dataclass(frozen=True)
class Weights:
    """What a step reads and multiplies by."""

    count: int
    size_bytes: int


@dataclass(frozen=True)
class Limits:
    """What the machine can do, for the precision that the matrices are in."""

    bytes_per_s: float
    operations_per_s: float


def summarize(
    options: BenchOptions, size: int, runs: Sequence[Run], weights: Weights | None, limits: Limits
) -> dict[str, Any]:
    """Medians and spreads of one batch size; no shares where the weights are not known."""
    prompt, new = size * options.prompt_tokens, size * (options.new_tokens - 1)
    prefill = spread([prompt / run.prefill_s for run in runs])
    decode = spread([new / run.decode_s for run in runs])
    shares: dict[str, float | None] = dict.fromkeys(
        ("bandwidth_share", "compute_share", "prefill_compute_share")
    )
    if weights is not None:
        steps_per_s = decode["median"] / size
        operations = 2 * weights.count
        shares = {
            "bandwidth_share": steps_per_s * weights.size_bytes / limits.bytes_per_s,
            "compute_share": decode["median"] * operations / limits.operations_per_s,
            "prefill_compute_share": prefill["median"] * operations / limits.operations_per_s,
        }
    return {
        "first_token_s": spread([run.prefill_s for run in runs]),
        "prefill_tokens_per_s": prefill,
        "decode_tokens_per_s": decode,
        **shares,
    }


def spread(values: Sequence[float]) -> dict[str, float]:
    """Median, least and most."""
    return {"median": statistics.median(values), "min": min(values), "max": max(values)}
