"""Log-probabilities in the two shapes that OpenAI's API has for them."""

from __future__ import annotations

import codecs
from collections.abc import Iterable, Sequence
from typing import Any

from hfgen.generation.records import TokenLogprob
from hfgen.serving.token_bytes import TokenBytes

LOWEST = -9999.0
"""What stands for minus infinity, which JSON does not have."""


class CompletionLogprobs:
    """Those of one text of `/v1/completions`: four lists of one length."""

    def __init__(self, tokens: TokenBytes) -> None:
        self._tokens = tokens
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._offset = 0
        self.all = _empty()
        """Lists for all tokens so far."""

    def prompt(self, text: str, scored: Sequence[TokenLogprob]) -> dict[str, Any]:
        """Lists for a prompt; nothing is known of its first token."""
        lists = self.add(scored, text)
        for name in ("token_logprobs", "top_logprobs"):
            lists[name][0] = self.all[name][0] = None
        self._offset = len(text)
        self._decoder.reset()
        return lists

    def add(self, generated: Iterable[TokenLogprob], text: str = "") -> dict[str, Any]:
        """Lists for the next tokens; `text` is what special tokens are looked for in."""
        lists = _empty()
        for token in generated:
            name = self._tokens.name(token.token_id)
            lists["tokens"].append(name)
            lists["token_logprobs"].append(finite(token.logprob))
            best: dict[str, float] = {}
            for other, _, logprob in token.top:
                # Two tokens may be the same text: the more likely one stands for both.
                best.setdefault(self._tokens.name(other), finite(logprob))
            best.setdefault(name, finite(token.logprob))
            lists["top_logprobs"].append(best)
            lists["text_offset"].append(self._offset)
            if token.token_id not in self._tokens.special_ids or text.startswith(
                name, self._offset
            ):
                self._offset += len(self._decoder.decode(self._tokens.of(token.token_id)))
        for field, values in lists.items():
            self.all[field] += values
        return lists


def _empty() -> dict[str, list[Any]]:
    return {"tokens": [], "token_logprobs": [], "top_logprobs": [], "text_offset": []}


def chat_logprobs(generated: Iterable[TokenLogprob], tokens: TokenBytes) -> dict[str, Any]:
    """Those of a message of `/v1/chat/completions`; the tokens that are no text are left out."""
    content = [
        {
            **_described(token.token_id, token.logprob, tokens),
            "top_logprobs": [_described(other, logprob, tokens) for other, _, logprob in token.top],
        }
        for token in generated
        if token.token_id not in tokens.special_ids
    ]
    return {"content": content, "refusal": None}


def finite(logprob: float) -> float:
    """A logarithm that JSON can hold."""
    return max(logprob, LOWEST)


def _described(token_id: int, logprob: float, tokens: TokenBytes) -> dict[str, Any]:
    return {
        "token": tokens.name(token_id),
        "logprob": finite(logprob),
        "bytes": list(tokens.of(token_id)),
    }
