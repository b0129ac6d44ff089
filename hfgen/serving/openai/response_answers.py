"""The answers of `/v1/responses`, whole and as named events.

The output is a message, after an item with a reasoning model's thinking where there is any.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterator, Sequence
from typing import Any

from hfgen.generation.records import Piece, TokenLogprob
from hfgen.serving.events import Accepted
from hfgen.serving.openai.choices import Choices
from hfgen.serving.openai.errors import ApiError
from hfgen.serving.openai.logprobs import chat_logprobs
from hfgen.serving.token_bytes import TokenBytes

_PARTS = {"reasoning": "reasoning_text", "message": "output_text"}


class ResponseAnswers:
    """See `Answers`."""

    has_named_events = True

    def __init__(
        self, model: str, choices: Choices, tokens: TokenBytes | None, told: dict[str, Any]
    ) -> None:
        """`told` are fields of the request that the answer repeats."""
        self._choices = choices
        self._tokens = tokens
        self._told = told
        self._model = model
        self._ids = {kind: f"{kind[:3]}_{secrets.token_hex(12)}" for kind in _PARTS}
        self._id = f"resp_{secrets.token_hex(12)}"
        self._created = int(time.time())
        self._number = -1
        self._open: str | None = None
        """The kind of the item that is being written."""

    def start(self, accepted: Accepted) -> Iterator[dict[str, Any]]:
        """That the answer has begun."""
        self._choices.start(accepted)
        yield self._event("response.created", response=self._response("in_progress"))
        yield self._event("response.in_progress", response=self._response("in_progress"))

    def add(self, piece: Piece) -> Iterator[dict[str, Any]]:
        """The piece's text, within the item that it belongs to."""
        self._choices.add(piece)
        for kind, text in (("reasoning", piece.thinking), ("message", piece.text)):
            if text:
                yield from self._opening(kind)
                name = f"response.{_PARTS[kind]}.delta"
                extra = {"logprobs": self._lists(piece.logprobs)} if kind == "message" else {}
                yield self._event(name, **self._place(kind), delta=text, **extra)
        if piece.record is not None:
            yield from self._opening("message")
            yield from self._closing()

    def end(self) -> Iterator[dict[str, Any]]:
        """The whole answer."""
        response = self.whole()
        yield self._event(f"response.{response['status']}", response=response)

    def whole(self) -> dict[str, Any]:
        """The answer."""
        is_cut = self._choices.all[0].finish_reason == "length"
        return self._response("incomplete" if is_cut else "completed")

    def failed(self, error: ApiError) -> dict[str, Any]:
        """The event of a failure."""
        facts = {"code": error.code, "message": error.message, "param": error.param}
        # The Python client raises for a truthy "error".
        return self._event("error", **facts, **error.body)

    def _opening(self, kind: str) -> Iterator[dict[str, Any]]:
        """Begin an item, and end the one before it."""
        if self._open == kind:
            return
        if self._open is not None:
            yield from self._closing()
        self._open = kind
        item = self._item(kind, "in_progress") | {"content": []}
        yield self._event(
            "response.output_item.added", output_index=self._index(kind), item=item
        )  # fmt: skip
        part = self._part(kind) | {"text": ""}
        yield self._event("response.content_part.added", **self._place(kind), part=part)

    def _closing(self) -> Iterator[dict[str, Any]]:
        kind = self._open
        assert kind is not None
        part = self._part(kind)
        extra = {"logprobs": part["logprobs"]} if kind == "message" else {}
        name = f"response.{_PARTS[kind]}.done"
        yield self._event(name, **self._place(kind), text=part["text"], **extra)
        yield self._event("response.content_part.done", **self._place(kind), part=part)
        item = self._item(kind, self._status)
        yield self._event("response.output_item.done", output_index=self._index(kind), item=item)

    @property
    def _status(self) -> str:
        return "incomplete" if self._choices.all[0].finish_reason == "length" else "completed"

    def _index(self, kind: str) -> int:
        return 1 if kind == "message" and self._choices.all[0].thinking else 0

    def _place(self, kind: str) -> dict[str, Any]:
        return {"item_id": self._ids[kind], "output_index": self._index(kind), "content_index": 0}

    def _lists(self, logprobs: Sequence[TokenLogprob]) -> list[Any]:
        if self._tokens is None:
            return []
        found: list[Any] = chat_logprobs(logprobs, self._tokens)["content"]
        return found

    def _part(self, kind: str) -> dict[str, Any]:
        choice = self._choices.all[0]
        if kind == "reasoning":
            return {"type": "reasoning_text", "text": choice.thinking}
        lists = (
            [] if self._tokens is None else chat_logprobs(choice.logprobs, self._tokens)["content"]
        )
        return {"type": "output_text", "text": choice.text, "annotations": [], "logprobs": lists}

    def _item(self, kind: str, status: str) -> dict[str, Any]:
        item = {
            "id": self._ids[kind],
            "type": kind,
            "status": status,
            "content": [self._part(kind)],
        }
        own: dict[str, Any] = {"summary": []} if kind == "reasoning" else {"role": "assistant"}
        return item | own

    def _event(self, kind: str, **facts: Any) -> dict[str, Any]:
        self._number += 1
        return {"type": kind, "sequence_number": self._number, **facts}

    def _response(self, status: str) -> dict[str, Any]:
        is_done = status != "in_progress"
        why = {"reason": "max_output_tokens"}
        kinds = (["reasoning"] if self._choices.all[0].thinking else []) + ["message"]
        usage = self._choices.usage
        return {
            "id": self._id,
            "object": "response",
            "created_at": self._created,
            "status": status,
            "background": False,
            "error": None,
            "incomplete_details": why if status == "incomplete" else None,
            "model": self._model,
            "output": [self._item(kind, status) for kind in kinds] if is_done else [],
            "parallel_tool_calls": True,
            "previous_response_id": None,
            "reasoning": {"effort": None, "summary": None},
            "store": False,
            "text": {"format": {"type": "text"}},
            "tool_choice": "auto",
            "tools": [],
            "usage": {
                "input_tokens": usage["prompt_tokens"],
                "input_tokens_details": {"cached_tokens": 0},
                "output_tokens": usage["completion_tokens"],
                "output_tokens_details": {"reasoning_tokens": 0},
                "total_tokens": usage["total_tokens"],
            } if is_done else None,
            **self._told,
        }  # fmt: skip
