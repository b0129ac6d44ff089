"""What each token is as bytes: text of tokens that are no whole characters.

A byte-level vocabulary writes bytes as printable characters (GPT-2's table), SentencePiece's has
`▁` for a space and `<0x0A>` for a byte. Special and added tokens are what they are called.
"""

from __future__ import annotations

import re
from typing import Any

_BYTE = re.compile(r"<0x([0-9A-F]{2})>")


class TokenBytes:
    """The bytes of every token of a tokenizer, which is not used any more once this is made."""

    def __init__(self, tokenizer: Any) -> None:
        added = getattr(tokenizer, "added_tokens_decoder", {})
        self._added = {id: token.content for id, token in added.items()}
        self.special_ids = frozenset(tokenizer.all_special_ids)
        self._tokens: list[str | None] = tokenizer.convert_ids_to_tokens(range(len(tokenizer)))
        self.size = len(self._tokens)
        """How many tokens there are."""
        decoder = getattr(getattr(tokenizer, "backend_tokenizer", None), "decoder", None)
        self._table = _byte_table() if "ByteLevel" in repr(decoder) else None

    def of(self, token_id: int) -> bytes:
        """The bytes of a token; none for an id that the tokenizer does not have."""
        if token_id in self._added:
            return str(self._added[token_id]).encode()
        token = self._tokens[token_id] if token_id < len(self._tokens) else None
        if token is None:
            return b""
        if self._table is not None and all(character in self._table for character in token):
            return bytes(self._table[character] for character in token)
        if match := _BYTE.fullmatch(token):
            return bytes.fromhex(match[1])
        return token.replace("▁", " ").encode("utf-8", "replace")

    def name(self, token_id: int) -> str:
        """A token as a string, or `bytes:\\xe2\\x80` where it is a part of a character."""
        data = self.of(token_id)
        try:
            return data.decode()
        except UnicodeDecodeError:
            return "bytes:" + "".join(f"\\x{byte:02x}" for byte in data)


def _byte_table() -> dict[str, int]:
    """Which byte each character of a byte-level vocabulary stands for.

    Printable Latin-1 characters are themselves, the others take the characters from U+0100 on.
    """
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printable]
    table = {chr(byte): byte for byte in printable}
    return table | {chr(0x100 + position): byte for position, byte in enumerate(others)}
