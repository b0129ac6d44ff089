"""What is asked of `TextScorer`; without torch, so that a command can check it first."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

By = Literal["text", "token", "word", "line"]
BYS: tuple[By, ...] = ("text", "token", "word", "line")


@dataclass(frozen=True)
class ScoredText:
    """A text to score."""

    text: str
    context: str = ""
    """What comes before it, which is not scored."""
    id: str | None = None
