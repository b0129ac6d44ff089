"""The texts of a request while they come in: what plain and streamed answers are made of."""

from __future__ import annotations

import secrets
import time
from dataclasses import dataclass, field
from typing import Any

from hfgen.generation.records import Piece, TokenLogprob
from hfgen.serving.events import Accepted

_REASONS = {"eos": "stop", "stop": "stop", "length": "length", "time": "length"}


@dataclass
class Choice:
    """One text."""

    index: int
    text: str = ""
    thinking: str = ""
    logprobs: list[TokenLogprob] = field(default_factory=list)
    finish_reason: str | None = None
    tokens: int = 0

    def add(self, piece: Piece) -> None:
        """Take the next piece."""
        self.text += piece.text
        self.thinking += piece.thinking
        self.logprobs += piece.logprobs
        if piece.record is not None:
            self.finish_reason = _REASONS[piece.record.finish_reason]
            self.tokens = piece.record.completion_tokens

    @property
    def mean_logprob(self) -> float:
        """By which `best_of` ranks."""
        return sum(token.logprob for token in self.logprobs) / max(1, len(self.logprobs))


class Choices:
    """All texts of a request, `count` for each prompt, and how many tokens they are."""

    def __init__(self, prompts: int, count: int, *, is_repeated: bool) -> None:
        """`is_repeated` where each text has a prompt of its own in the job."""
        self.count = count
        self.all = [Choice(index) for index in range(prompts * count)]
        self.prompt_ids: tuple[tuple[int, ...], ...] = ()
        self._is_repeated = is_repeated

    def start(self, accepted: Accepted) -> None:
        """Take the prompts' token ids."""
        step = self.count if self._is_repeated else 1
        self.prompt_ids = accepted.prompt_ids[::step]

    def add(self, piece: Piece) -> Choice:
        """Take a piece of a text; return the text."""
        step = 1 if self._is_repeated else self.count
        choice = self.all[piece.index * step + piece.sample]
        choice.add(piece)
        return choice

    @property
    def usage(self) -> dict[str, Any]:
        """Tokens of the prompts, each counted once, and of all texts."""
        prompt = sum(map(len, self.prompt_ids))
        completion = sum(choice.tokens for choice in self.all)
        return {
            "prompt_tokens": prompt,
            "completion_tokens": completion,
            "total_tokens": prompt + completion,
        }


def new_head(prefix: str, kind: str, model: str) -> dict[str, Any]:
    """What every document of an answer begins with."""
    return {
        "id": f"{prefix}-{secrets.token_hex(12)}",
        "object": kind,
        "created": int(time.time()),
        "model": model,
    }
