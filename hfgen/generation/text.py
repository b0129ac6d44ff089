"""From token ids to text, a token at a time: `TextDecoder` and `StopMatcher`.

`TextDecoder` never hands out a part of a character, and its joined pieces equal the decoding of
the whole sequence, invalid UTF-8 included. `StopMatcher` finds stop strings in streamed text
wherever the pieces are cut. Neither knows of models or of torch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any

from hfgen.generation.thinking import needs_markers

_REPLACEMENT = "\ufffd"
# Tokens of the prompt that a decoder needs before it, to tell a leading space from none.
_CONTEXT_TOKENS = 4

Decode = Callable[[Sequence[int]], str]


class Vocabulary:
    """What text decoding needs of a tokenizer: ids to text, without special tokens.

    Models that mark their reasoning by special tokens keep them, until it is told apart.
    """

    def __init__(self, tokenizer: Any) -> None:
        backend = getattr(tokenizer, "backend_tokenizer", None)
        skips = not needs_markers(tokenizer)
        if backend is not None:
            self.decode: Decode = partial(backend.decode, skip_special_tokens=skips)
        else:
            self.decode = partial(
                tokenizer.decode, skip_special_tokens=skips, clean_up_tokenization_spaces=False
            )
        byte_ids = _byte_fallback_ids(tokenizer)
        self.open_ids = byte_ids | frozenset(tokenizer.all_special_ids) if byte_ids else byte_ids
        """Tokens after which text may still change: a run of bytes is decoded as a whole."""

    def token_text(self, token_id: int) -> str:
        """The text of one token alone (U+FFFD where it is part of a character)."""
        return self.decode([token_id])


def _byte_fallback_ids(tokenizer: Any) -> frozenset[int]:
    """Ids of `<0x00>` … `<0xFF>` where the vocabulary has them (SentencePiece models)."""
    vocabulary: dict[str, int] = tokenizer.get_vocab()
    names = (f"<0x{byte:02X}>" for byte in range(256))
    return frozenset(vocabulary[name] for name in names if name in vocabulary)


class TextDecoder:
    """Decodes one sequence incrementally.

    Text is held back while it ends in U+FFFD, which may be the beginning of a character, and
    while it ends in byte-fallback tokens, which are decoded as one run. Only a short tail of the
    sequence is decoded for each token: from the last boundary between tokens that was safe.
    """

    def __init__(self, vocabulary: Vocabulary, context_ids: Sequence[int] = ()) -> None:
        self._vocabulary = vocabulary
        start = max(0, len(context_ids) - _CONTEXT_TOKENS)
        while start and context_ids[start] in vocabulary.open_ids:
            start -= 1
        self._tail = list(context_ids[start:])
        self._seen_tokens = len(self._tail)
        self._seen_text = vocabulary.decode(self._tail) if self._tail else ""

    def add(self, token_id: int) -> str:
        """Take the next token; return the text that is certain now (often one word, or "")."""
        self._tail.append(token_id)
        if token_id in self._vocabulary.open_ids:
            return ""
        text = self._vocabulary.decode(self._tail)
        if text.endswith(_REPLACEMENT) or len(text) <= len(self._seen_text):
            return ""
        piece = text[len(self._seen_text) :]
        # The tokens just handed out become the context of the next ones.
        del self._tail[: self._seen_tokens]
        self._seen_tokens = len(self._tail)
        self._seen_text = self._vocabulary.decode(self._tail)
        return piece

    def flush(self) -> str:
        """Return what was held back; nothing may be added afterwards."""
        text = self._vocabulary.decode(self._tail)
        piece = text[len(self._seen_text) :]
        self._seen_text = text
        return piece


class StopMatcher:
    """Finds the first stop string in streamed text.

    First means: the one that ends first, and of those the longest, so that the result does not
    depend on how the text is cut into pieces.
    """

    def __init__(self, stops: Iterable[str]) -> None:
        self._stops = tuple(stops)
        self._longest = max(map(len, self._stops), default=0)
        self._held = ""

    def add(self, text: str) -> tuple[str, bool]:
        """Take more text; return (text that is certain to precede any stop, whether stopped)."""
        if not self._stops:
            return text, False
        buffer = self._held + text
        matches = [
            (start + len(stop), start)
            for stop in self._stops
            if (start := buffer.find(stop)) >= 0
        ]  # fmt: skip
        if matches:
            self._held = ""
            return buffer[: min(matches)[1]], True
        keep = self._possible_beginning(buffer)
        self._held = buffer[len(buffer) - keep :]
        return buffer[: len(buffer) - keep], False

    def flush(self) -> str:
        """Return the text that was held back as the possible beginning of a stop."""
        held, self._held = self._held, ""
        return held

    def _possible_beginning(self, text: str) -> int:
        """Length of the longest end of `text` with which some stop string begins."""
        for length in range(min(self._longest - 1, len(text)), 0, -1):
            end = text[-length:]
            if any(stop.startswith(end) for stop in self._stops):
                return length
        return 0
