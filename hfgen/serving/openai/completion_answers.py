"""The answers of `/v1/completions`, whole and in chunks."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from hfgen.generation.records import Piece
from hfgen.serving.events import Accepted
from hfgen.serving.openai.choices import Choice, Choices, new_head
from hfgen.serving.openai.echo import Echo
from hfgen.serving.openai.errors import ApiError
from hfgen.serving.openai.logprobs import CompletionLogprobs
from hfgen.serving.token_bytes import TokenBytes


@dataclass(frozen=True)
class Shape:
    """What a client wants to see of its texts."""

    count: int
    """Texts of each prompt."""
    best_of: int
    """How many are made for that."""
    logprobs: int | None
    has_echo: bool
    has_usage: bool
    """Whether a stream ends with the usage."""


class CompletionAnswers:
    """See `Answers`."""

    has_named_events = False

    def __init__(
        self,
        model: str,
        choices: Choices,
        shape: Shape,
        tokens: TokenBytes | None,
        echo: Echo | None,
    ) -> None:
        """`tokens` is needed for log-probabilities, `echo` where there is an echo or no job."""
        self._head = new_head("cmpl", "text_completion", model)
        self._choices = choices
        self._shape = shape
        self._tokens = tokens
        self._echo = echo
        self._lists = None if tokens is None else [CompletionLogprobs(tokens) for _ in choices.all]

    def start(self, accepted: Accepted) -> Iterator[dict[str, Any]]:
        """The echo."""
        if accepted.prompt_ids:
            self._choices.start(accepted)
        elif self._echo is not None:
            self._choices.prompt_ids = tuple(self._echo.ids)
        for choice in self._choices.all if self._shape.has_echo else ():
            yield self._chunk(choice, self._prompt_text(choice), self._prompt_lists(choice))
        if not accepted.prompt_ids:
            for choice in self._choices.all:
                choice.finish_reason = "length"
                yield self._chunk(choice, "", None, choice.finish_reason)

    def add(self, piece: Piece) -> Iterator[dict[str, Any]]:
        """The piece's text, and in a chunk of its own how the text ended."""
        choice = self._choices.add(piece)
        if piece.text or piece.logprobs:
            lists = None
            if self._lists is not None:
                lists = self._lists[choice.index].add(piece.logprobs)
            yield self._chunk(choice, piece.text, lists)
        if choice.finish_reason is not None and piece.record is not None:
            yield self._chunk(choice, "", None, choice.finish_reason)

    def end(self) -> Iterator[dict[str, Any]]:
        """The usage."""
        if self._shape.has_usage:
            yield {**self._head, "choices": [], "usage": self._choices.usage}

    def failed(self, error: ApiError) -> dict[str, Any]:
        """The error."""
        return error.body

    def whole(self) -> dict[str, Any]:
        """The answer."""
        count = self._choices.count
        chosen = []
        for start in range(0, len(self._choices.all), count):
            texts = self._choices.all[start : start + count]
            if self._shape.best_of > self._shape.count:
                texts = sorted(texts, key=lambda choice: -choice.mean_logprob)
            chosen += texts[: self._shape.count]
        documents = [self._document(choice, index) for index, choice in enumerate(chosen)]
        return {**self._head, "choices": documents, "usage": self._choices.usage}

    def _document(self, choice: Choice, index: int) -> dict[str, Any]:
        return {
            "index": index,
            "text": (self._prompt_text(choice) if self._shape.has_echo else "") + choice.text,
            "logprobs": None if self._lists is None else self._lists[choice.index].all,
            "finish_reason": choice.finish_reason,
        }

    def _prompt_text(self, choice: Choice) -> str:
        assert self._echo is not None
        return self._echo.texts[choice.index // self._choices.count]

    def _prompt_scores(self, choice: Choice) -> Any:
        assert self._echo is not None
        return self._echo.scores[choice.index // self._choices.count]

    def _prompt_lists(self, choice: Choice) -> dict[str, Any] | None:
        if self._lists is None:
            return None
        lists = self._lists[choice.index]
        return lists.prompt(self._prompt_text(choice), self._prompt_scores(choice))

    def _chunk(
        self, choice: Choice, text: str, lists: dict[str, Any] | None, reason: str | None = None
    ) -> dict[str, Any]:
        document = {
            "index": choice.index, "text": text, "logprobs": lists, "finish_reason": reason,
        }  # fmt: skip
        usage = {"usage": None} if self._shape.has_usage else {}
        return {**self._head, "choices": [document], **usage}
