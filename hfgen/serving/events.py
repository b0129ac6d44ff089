"""What passes between a worker and those who have texts generated."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from hfgen.generation.options.options import GenerationOptions
from hfgen.generation.prompts.encode import Reading
from hfgen.generation.records import Piece, Prompt


@dataclass(frozen=True)
class Accepted:
    """All prompts of a job are prepared; the first event of every job that begins."""

    prompt_ids: tuple[tuple[int, ...], ...]
    """The token ids of each prompt."""


@dataclass(frozen=True)
class Ended:
    """The last event of a job."""

    error: Exception | None = None


Event = Accepted | Piece | Ended
"""What comes of a job; a piece's index is that of the prompt in the job."""


class Job(Protocol):
    """Texts to generate, and who hears of them."""

    prompts: Sequence[Prompt]
    """Each with a seed of its own."""
    options: GenerationOptions
    reading: Reading

    def deliver(self, events: Sequence[Event]) -> None:
        """Take the next events; called on the worker's thread."""


class Watch(Protocol):
    """Hears how a worker is doing, on the worker's thread."""

    def entered(self, waited_s: float, prompt_tokens: int) -> None:
        """A job's first text has a slot; `prompt_tokens` counts all its prompts."""

    def first_token(self, after_s: float) -> None:
        """A job's first text has begun, so long after the job came in."""

    def text_ended(self, completion_tokens: int) -> None:
        """A text is complete."""
