"""Short ways to finish a text that a grammar has begun, found byte by byte.

The search runs on a matcher over a vocabulary of the 256 bytes, where a step costs 5 µs, so it
needs no model and no tokenizer. First a greedy walk that prefers what closes (`}`, `]`, `"`, then
digits); for JSON it nearly always ends, and ends short. Where it does not, deeper and deeper
searches; where time allows, alternatives to what the walk found. What is found is a whole text,
and mostly the shortest, which nobody promises.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from functools import lru_cache
from typing import Any

_END = 256
_FIRST = b'}]",@:./0123456789-'
_QUOTE = ord('"')
_LAST = b" \\\t\n\r"
_FEW = 24
"""Where more bytes are allowed, the text is free, and only some of them are tried."""
_LONGEST_WALK = 2048
_DEPTHS = (4, 8, 16, 32, 64, 128, 256)
_NODES = 3000


class _Bytes:
    """What llguidance asks of a tokenizer, for one of single bytes."""

    def __init__(self) -> None:
        self.eos_token_id, self.bos_token_id = _END, None
        self.tokens = [*(bytes([byte]) for byte in range(256)), b"<end>"]
        self.special_token_ids = [_END]

    def __call__(self, text: str | bytes) -> list[int]:
        return list(text if isinstance(text, bytes) else text.encode())


@lru_cache(maxsize=1)
def _byte_tokenizer() -> Any:
    from llguidance import LLTokenizer, TokenizerWrapper

    return LLTokenizer(TokenizerWrapper(_Bytes()), eos_token=_END)


def byte_matcher(grammar: str) -> Any:
    """A matcher of llguidance over single bytes, at the beginning of a text."""
    from llguidance import LLMatcher

    return LLMatcher(_byte_tokenizer(), grammar, log_level=0)


def finishes(matcher: Any, text: bytes) -> bool:
    """Whether `text` finishes what the matcher has seen; the matcher stays where it is."""
    taken = matcher.try_consume_tokens(list(text))
    is_whole: bool = taken == len(text) and matcher.is_accepting()
    matcher.rollback(taken)
    return is_whole


class Closer:
    """Finds endings in one grammar.

    `source` is its text, whose letters are worth trying where the text is free; `usable` are the
    bytes that the vocabulary can write.
    """

    def __init__(self, source: str, usable: Collection[int] = range(256)) -> None:
        self._usable = frozenset(usable)
        likely = dict.fromkeys((*_FIRST, *b"a", *b" ", *source.encode(errors="replace")[:200]))
        self._likely = frozenset(likely)
        self._left = 0
        first = {byte: rank for rank, byte in enumerate(_FIRST)}
        last = {byte: 512 + rank for rank, byte in enumerate(_LAST)}
        self._rank = [first.get(byte, last.get(byte, 128 + byte)) for byte in range(256)]

    def quick(self, matcher: Any) -> bytes | None:
        """An ending by the greedy walk, else by search; None where none was found."""
        walked = self._walk(matcher)
        return self._search(matcher) if walked is None else walked

    def short(self, matcher: Any, nodes: int = 3_000) -> bytes | None:
        """The shortest ending that a search of so many more steps finds."""
        found = self.quick(matcher)
        self._left = nodes
        while found and (shorter := self._within(matcher, len(found) - 1)) is not None:
            found = shorter
        return found

    def _walk(self, matcher: Any) -> bytes | None:
        path = bytearray()
        is_whole = matcher.is_accepting()
        while not is_whole and len(path) < _LONGEST_WALK:
            byte = next(self._allowed(matcher), None)
            if byte is None or not matcher.consume_token(byte):
                break
            path.append(byte)
            is_whole = matcher.is_accepting()
        matcher.rollback(len(path))
        return bytes(path) if is_whole else None

    def _search(self, matcher: Any) -> bytes | None:
        for depth in _DEPTHS:
            self._left = _NODES
            if (found := self._within(matcher, depth)) is not None:
                return found
        return None

    def _within(self, matcher: Any, depth: int) -> bytes | None:
        """Depth first, at most `depth` bytes deep, and as many steps as are left."""
        if matcher.is_accepting():
            return b""
        path: list[int] = []
        waiting = [self._allowed(matcher)]
        found = None
        while waiting and self._left:
            byte = next(waiting[-1], None) if len(path) < depth else None
            if byte is None:
                waiting.pop()
                if path:
                    path.pop()
                    matcher.rollback(1)
                continue
            self._left -= 1
            matcher.consume_token(byte)
            path.append(byte)
            if matcher.is_accepting():
                found = bytes(path)
                break
            waiting.append(self._allowed(matcher))
        matcher.rollback(len(path))
        return found

    def _allowed(self, matcher: Any) -> Iterator[int]:
        mask = matcher.compute_bitmask()
        allowed = [
            byte for byte in self._usable if mask[byte >> 3] >> (byte & 7) & 1
        ]  # fmt: skip
        if len(allowed) <= _FEW:
            return iter(sorted(allowed, key=self._rank.__getitem__))
        # Inside a string, where the other closers are mere text.
        likely = [byte for byte in allowed if byte in self._likely] or allowed[:_FEW]
        return iter(sorted(likely, key=lambda byte: (byte != _QUOTE, self._rank[byte])))
