"""What the repetitions of one batch size come to: medians, spreads, shares of the limits, ratios.

Pure arithmetic; knows no model and no clock.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from hfgen.bench.options import BenchOptions
from hfgen.bench.runs import PlainRun, Run, Tokens


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


def against_plain(
    options: BenchOptions,
    size: int,
    runs: Sequence[Run],
    batches: Sequence[PlainRun],
    singles: Sequence[PlainRun],
) -> dict[str, Any]:
    """Ratios of the pairs: to the plain script with the same batch, and one text after another."""
    total = size * options.new_tokens
    ratios = [b.elapsed_s / a.elapsed_s for a, b in zip(runs, batches, strict=True)]
    one_by_one = [size * b.elapsed_s / a.elapsed_s for a, b in zip(runs, singles, strict=True)]
    return {
        "tokens_per_s": spread([total / run.elapsed_s for run in runs]),
        "transformers_tokens_per_s": spread([total / run.elapsed_s for run in batches]),
        "ratio": spread(ratios),
        "ratios": ratios,
        "one_by_one_tokens_per_s": spread([options.new_tokens / run.elapsed_s for run in singles]),
        "one_by_one_ratio": spread(one_by_one),
        "one_by_one_ratios": one_by_one,
        "equal_tokens": equal_share(
            [(a.tokens, b.tokens) for a, b in zip(runs, batches, strict=True)]
        ),
    }


def equal_share(pairs: Sequence[tuple[Tokens, Tokens]]) -> float:
    """The share of tokens that are equal, place by place."""
    equal = [
        left == right
        for ours, theirs in pairs
        for row, other in zip(ours, theirs, strict=True)
        for left, right in zip(row, other, strict=True)
    ]
    return sum(equal) / len(equal)


def spread(values: Sequence[float]) -> dict[str, float]:
    """Median, least and most."""
    return {"median": statistics.median(values), "min": min(values), "max": max(values)}
