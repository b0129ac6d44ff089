"""A tokenizer's tokens as bytes, for llguidance and for writing closings."""

from __future__ import annotations

from copy import copy
from functools import lru_cache
from typing import Any

from hfgen.errors import ModelUnsupported


class TokenTable:
    """The tokens of one model; made once, in some tenths of a second."""

    def __init__(self, tokenizer: Any, vocabulary_size: int) -> None:
        """`vocabulary_size` is how many scores the model gives, one a token."""
        from llguidance import LLTokenizer

        backend = getattr(tokenizer, "backend_tokenizer", None)
        if backend is None:
            raise ModelUnsupported(
                "this model's tokenizer has no fast version, which structured output needs",
                hint="choose another model, or leave the constraint out",
            )
        backend = copy(backend)
        backend.no_padding()
        backend.no_truncation()
        size = max(vocabulary_size, len(tokenizer))
        self.matching = LLTokenizer(
            backend.to_str(), n_vocab=size, eos_token=getattr(tokenizer, "eos_token_id", None)
        )
        """llguidance's own view of the tokenizer."""
        special = set(tokenizer.all_special_ids) | {self.matching.eos_token}
        self._bytes = {
            token_id: text
            for token_id in range(min(size, vocabulary_size))
            if token_id not in special
            and not self.matching.is_special_token(token_id)
            and (text := self.matching.decode_bytes([token_id]))
        }
        self._ids: dict[bytes, int] = {}
        for token_id, text in self._bytes.items():
            self._ids.setdefault(text, token_id)
        self._longest = min(24, max(map(len, self._ids), default=0))
        self.usable = frozenset(byte for text in self._ids for byte in text)
        """The bytes that some token has."""
        self.vocabulary_size = vocabulary_size
        self.shortest = lru_cache(maxsize=1024)(self._shortest)
        """The fewest tokens that write given bytes; None where none do."""

    def bytes_of(self, token_id: int) -> bytes:
        """What a token writes; nothing for a special one."""
        return self._bytes.get(token_id, b"")

    def _shortest(self, text: bytes) -> tuple[int, ...] | None:
        best: list[tuple[int, ...] | None] = [()]
        for end in range(1, len(text) + 1):
            found: tuple[int, ...] | None = None
            for start in range(max(0, end - self._longest), end):
                before, token_id = best[start], self._ids.get(text[start:end])
                if before is None or token_id is None:
                    continue
                if found is None or len(before) + 1 < len(found):
                    found = (*before, token_id)
            best.append(found)
        return best[-1]
