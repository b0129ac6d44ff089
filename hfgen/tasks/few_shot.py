"""Labelled examples before the text, and which of many to take; imports no torch."""

from __future__ import annotations

import random
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from hfgen.errors import DataError


@dataclass(frozen=True)
class Shot:
    """A text with its label, shown to the model."""

    text: str
    label: str
    place: str = ""
    """Where it stands, for records: `train.jsonl:12`."""


def choose(
    examples: Sequence[Shot], labels: Collection[str], count: int, seed: int
) -> tuple[Shot, ...]:
    """Take `count` examples, as even over the labels as can be, and shuffle them.

    The same seed takes the same examples in the same order, whatever the order of the labels.
    Raises `DataError` for an example of no such label, and where there are too few.
    """
    for shot in examples:
        if shot.label not in labels:
            place = f"{shot.place}: " if shot.place else ""
            raise DataError(
                f"{place}{shot.label!r} is none of the labels {', '.join(sorted(labels))}",
                hint="correct it, or add the label",
            )
    if len(examples) < count:
        raise DataError(
            f"{count} examples are asked for, there are {len(examples)}", hint="ask for fewer"
        )
    draw = random.Random(seed)
    piles = {
        label: draw.sample(pile, len(pile))
        for label in sorted(labels)
        if (pile := [shot for shot in examples if shot.label == label])
    }
    order = draw.sample(sorted(piles), len(piles))
    chosen: list[Shot] = []
    while len(chosen) < count:
        for label in order:
            if piles[label] and len(chosen) < count:
                chosen.append(piles[label].pop())
    return tuple(draw.sample(chosen, len(chosen)))
