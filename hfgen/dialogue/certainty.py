"""Where an answer might have gone otherwise: its least certain tokens and their alternatives."""

from __future__ import annotations

import math
from collections.abc import Sequence

from hfgen.generation.records import TokenLogprob

_WORDS_BEFORE = 8


def least_certain(tokens: Sequence[TokenLogprob], count: int) -> list[str]:
    """A line for each of the least likely tokens, in their order in the text."""
    places = sorted(range(len(tokens)), key=lambda place: tokens[place].logprob)[:count]
    return [_line(tokens, place) for place in sorted(places)]


def _line(tokens: Sequence[TokenLogprob], place: int) -> str:
    chosen = tokens[place]
    before = "".join(token.token for token in tokens[max(0, place - _WORDS_BEFORE) : place])
    others = [
        _odds(text, logprob)
        for token_id, text, logprob in chosen.top
        if token_id != chosen.token_id
    ]
    begun = "…" * (place > _WORDS_BEFORE) + " ".join(before.split())
    line = f"{begun} → {_odds(chosen.token, chosen.logprob)}".strip()
    return f"{line}, not {', '.join(others)}" if others else line


def _odds(token: str, logprob: float) -> str:
    shown = f'"{token}"'.replace("\n", "⏎") if token else "the end"
    return f"{shown} {math.exp(logprob):.0%}"
