"""The answers of `/v1/chat/completions`, whole and in chunks."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from hfgen.generation.records import Piece
from hfgen.serving.events import Accepted
from hfgen.serving.openai.choices import Choice, Choices, new_head
from hfgen.serving.openai.errors import ApiError
from hfgen.serving.openai.logprobs import chat_logprobs
from hfgen.serving.token_bytes import TokenBytes


class ChatAnswers:
    """See `Answers`.

    A reasoning model's thinking is `reasoning_content`, beside the content.
    """

    has_named_events = False

    def __init__(
        self, model: str, choices: Choices, tokens: TokenBytes | None, *, has_usage: bool
    ) -> None:
        """`tokens` is needed for log-probabilities."""
        self._head = new_head("chatcmpl", "chat.completion", model)
        self._choices = choices
        self._tokens = tokens
        self._has_usage = has_usage

    def start(self, accepted: Accepted) -> Iterator[dict[str, Any]]:
        """Who speaks."""
        self._choices.start(accepted)
        for choice in self._choices.all:
            yield self._chunk(choice, {"role": "assistant", "content": "", "refusal": None})

    def add(self, piece: Piece) -> Iterator[dict[str, Any]]:
        """The piece's text, and in a chunk of its own how the text ended."""
        choice = self._choices.add(piece)
        delta = {"reasoning_content": piece.thinking} if piece.thinking else {}
        if piece.text or not piece.thinking:
            delta["content"] = piece.text
        if piece.text or piece.thinking or piece.logprobs:
            lists = None
            if self._tokens is not None:
                lists = chat_logprobs(piece.logprobs, self._tokens)
            if piece.text or piece.thinking or (lists is not None and lists["content"]):
                yield self._chunk(choice, delta, lists)
        if piece.record is not None:
            yield self._chunk(choice, {}, None, choice.finish_reason)

    def end(self) -> Iterator[dict[str, Any]]:
        """The usage."""
        if self._has_usage:
            yield {**self._chunk_head, "choices": [], "usage": self._choices.usage}

    def failed(self, error: ApiError) -> dict[str, Any]:
        """The error."""
        return error.body

    def whole(self) -> dict[str, Any]:
        """The answer."""
        documents = [self._document(choice) for choice in self._choices.all]
        return {**self._head, "choices": documents, "usage": self._choices.usage}

    @property
    def _chunk_head(self) -> dict[str, Any]:
        return {**self._head, "object": "chat.completion.chunk"}

    def _document(self, choice: Choice) -> dict[str, Any]:
        message = {"role": "assistant", "content": choice.text, "refusal": None}
        if choice.thinking:
            message["reasoning_content"] = choice.thinking
        lists = None if self._tokens is None else chat_logprobs(choice.logprobs, self._tokens)
        return {
            "index": choice.index,
            "message": message,
            "logprobs": lists,
            "finish_reason": choice.finish_reason,
        }

    def _chunk(
        self,
        choice: Choice,
        delta: dict[str, Any],
        lists: dict[str, Any] | None = None,
        reason: str | None = None,
    ) -> dict[str, Any]:
        document = {
            "index": choice.index, "delta": delta, "logprobs": lists, "finish_reason": reason,
        }  # fmt: skip
        usage = {"usage": None} if self._has_usage else {}
        return {**self._chunk_head, "choices": [document], **usage}
