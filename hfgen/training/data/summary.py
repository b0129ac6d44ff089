"""The figures of `--dry-run`: rows, tokens, lengths, what was left out, and a few rows decoded."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from hfgen.training.data.dataset import Prepared
from hfgen.training.data.encode import spans

PERCENTILES = (50, 90, 99)
EXAMPLES_SHOWN = 3


@dataclass(frozen=True)
class Summary:
    """What there is to train on."""

    description: str
    rows: int
    """Rows that can be used."""
    examples: int
    """What they became: windows of long texts count each."""
    tokens: int
    learned_tokens: int
    shortest: int
    longest: int
    percentiles: dict[int, int]
    """Tokens of a row before it was fitted into the window: per cent of rows → at most so many."""
    skipped: int
    split: int
    windows: int
    truncated: int
    dropped: int

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def summarise(prepared: Prepared) -> Summary:
    """Count what a model would be trained on."""
    examples = prepared.examples
    lengths = sorted(prepared.lengths)
    return Summary(
        description=prepared.description,
        rows=len(prepared.rows),
        examples=len(examples),
        tokens=sum(len(example.ids) for example in examples),
        learned_tokens=sum(example.learned_tokens for example in examples),
        shortest=lengths[0],
        longest=lengths[-1],
        percentiles={percent: percentile(lengths, percent) for percent in PERCENTILES},
        skipped=prepared.skipped,
        **prepared.long_rows.to_dict(),
    )


def percentile(ordered: Sequence[int], percent: float) -> int:
    """The smallest value that at least `percent` of the ordered values do not exceed."""
    return ordered[max(0, math.ceil(len(ordered) * percent / 100) - 1)]


def decoded_examples(prepared: Prepared, tokenizer: Any) -> list[list[tuple[str, bool]]]:
    """The first example, one from the middle and the last, each as runs of (text, is_learned)."""
    examples = prepared.examples
    places = {0, len(examples) // 2, len(examples) - 1}
    return [spans(tokenizer, examples[place]) for place in sorted(places)[:EXAMPLES_SHOWN]]
