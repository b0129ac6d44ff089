"""`Prompt`, `Record` and `Piece`: what generation takes from its callers and hands to them.

One record for generated text everywhere: the command line's JSON, batch files, the server's
internals and Python. No torch, no Transformers.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Any, Literal

from hfgen.generation.options.options import GenerationOptions

FinishReason = Literal["stop", "length", "eos", "time"]


@dataclass(frozen=True)
class Prompt:
    """A text to continue, with what differs from the other prompts of its run."""

    text: str
    id: str | None = None
    """The caller's own name, carried into the record."""
    options: GenerationOptions | None = None
    """Take precedence over the run's options."""
    seed: int | None = None
    """In place of the run's seed plus the prompt's index."""
    messages: tuple[dict[str, str], ...] = ()
    """A conversation (`role`, `content`) that is to be answered, in place of the text."""
    token_ids: tuple[int, ...] = ()
    """The prompt as token ids, in place of the text; no template and no special token is added."""


class Pending(Enum):
    """What an iterable of prompts may yield in the place of a prompt."""

    NOT_YET = "not yet"
    """There is no prompt at the moment; ask again after the next step."""


NOT_YET = Pending.NOT_YET


@dataclass(frozen=True)
class TokenLogprob:
    """One chosen token and the most likely alternatives, under the model's own distribution."""

    token_id: int
    token: str
    logprob: float
    """Natural logarithm of the probability, before temperature and filters."""
    top: tuple[tuple[int, str, float], ...] = ()
    """(token id, token, log-probability) of the most likely tokens, the most likely first."""

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready mapping."""
        row: dict[str, Any] = {
            "token_id": self.token_id,
            "token": self.token,
            "logprob": self.logprob,
        }
        if self.top:
            row["top"] = [
                {"token_id": token_id, "token": token, "logprob": logprob}
                for token_id, token, logprob in self.top
            ]
        return row


@dataclass(frozen=True)
class Record:
    """One generated text and how it came about."""

    index: int
    """Position of the prompt in the input, from 0; texts of one prompt share it."""
    id: str | None
    """The caller's own name for the prompt."""
    model: str
    prompt: str
    """As the user gave it, never as decoded."""
    completion: str
    finish_reason: FinishReason
    seed: int
    """The seed that gives the same text when the prompt is run alone."""
    prompt_tokens: int
    completion_tokens: int
    """Generated tokens, the one that ended the text included."""
    token_ids: tuple[int, ...] = ()
    """The generated token ids."""
    thinking: str | None = None
    """What a reasoning model wrote before its answer, which is no part of `completion`."""
    logprobs: tuple[TokenLogprob, ...] | None = None
    is_answer: bool = False
    """Whether it answers the prompt (a chat model, or any in a conversation)."""

    @property
    def text(self) -> str:
        """Prompt and completion; of an answer the answer alone."""
        return self.completion if self.is_answer else self.prompt + self.completion

    def to_dict(self) -> dict[str, Any]:
        """The machine-readable record (JSON-ready), in the documented order."""
        row: dict[str, Any] = {
            "index": self.index,
            "id": self.id,
            "model": self.model,
            "prompt": self.prompt,
            "completion": self.completion,
            "text": self.text,
            "finish_reason": self.finish_reason,
            "seed": self.seed,
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": self.completion_tokens,
        }
        if self.thinking is not None:
            row["thinking"] = self.thinking
        if self.logprobs is not None:
            row["logprobs"] = [token.to_dict() for token in self.logprobs]
        return row


@dataclass(frozen=True)
class Piece:
    """A piece of streamed text; the last piece of a text carries its record."""

    index: int
    """Position of the prompt in the input."""
    sample: int
    """Which of the prompt's texts this is, from 0."""
    text: str
    """New text, whole characters only; it may be empty on the last piece."""
    logprobs: tuple[TokenLogprob, ...] = ()
    """The tokens that came since the piece before, if they were asked for."""
    record: Record | None = None
    thinking: str = ""
    """New text of a reasoning model's thinking."""
