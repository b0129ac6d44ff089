"""What the colours of text on a terminal mean."""

from __future__ import annotations

import math
from enum import StrEnum


class Style(StrEnum):
    """How a piece of text looks on a terminal; elsewhere it makes no difference."""

    PLAIN = ""
    PROMPT = "\x1b[1m"
    STRONG = PROMPT
    EMPHASIS = "\x1b[3m"
    LIKELY = "\x1b[32m"
    POSSIBLE = "\x1b[33m"
    UNLIKELY = "\x1b[35m"
    SURPRISING = "\x1b[31m"
    LEARNED = "\x1b[36m"
    CODE = LEARNED


LEGEND = {
    Style.LIKELY: "50% and more",
    Style.POSSIBLE: "10% to 50%",
    Style.UNLIKELY: "1% to 10%",
    Style.SURPRISING: "below 1%",
}


def style_of(logprob: float) -> Style:
    """The colour of a token by its probability under the model."""
    probability = math.exp(logprob)
    if probability >= 0.5:
        return Style.LIKELY
    if probability >= 0.1:
        return Style.POSSIBLE
    return Style.UNLIKELY if probability >= 0.01 else Style.SURPRISING
