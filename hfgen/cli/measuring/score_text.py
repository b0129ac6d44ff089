"""Scores for people: a line for each text, or colours over its tokens."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING

from hfgen.cli.io.colours import Style, style_of
from hfgen.scoring.asked import By

if TYPE_CHECKING:
    from hfgen.scoring.texts import TextScore

_LONGEST = 60


def shown(score: TextScore, by: By, *, has_colours: bool) -> Iterator[tuple[str, Style]]:
    """Pieces of text, each with its style.

    Tokens and words are coloured by probability where colours can be seen; without them, each has a
    line: log-probability, rank (of a token) and text.
    """
    if score.index == 0 and (by == "text" or not has_colours):
        yield _header(by), Style.PLAIN
    if by == "text":
        yield _columns(score), Style.PLAIN
        return
    if has_colours:
        for unit in score.units:
            yield unit.text, style_of(unit.logprob)
        yield "\n", Style.PLAIN
        return
    for unit in score.units:
        rank = "" if unit.rank is None else f"{unit.rank:>6}  "
        text = json.dumps(unit.text, ensure_ascii=False)
        yield f"{unit.logprob:>10.4f}  {rank}{text}\n", Style.PLAIN


def _header(by: By) -> str:
    if by == "text":
        return "  log-prob  tokens  perplexity  bits/byte  text\n"
    return f"  log-prob  {'  rank  ' if by == 'token' else ''}{by}\n"


def _columns(score: TextScore) -> str:
    text = " ".join(score.text.split())
    text = text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"
    return (
        f"{score.log_likelihood:>10.3f}  {score.tokens:>6}  {score.perplexity:>10.2f}  "
        f"{score.bits_per_byte:>9.3f}  {text}\n"
    )
