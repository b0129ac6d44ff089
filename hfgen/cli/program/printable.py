"""Text that is fit for a terminal: control characters become pictures."""

from __future__ import annotations

LONGEST_MESSAGE = 600

_PICTURES = (
    {code: 0x2400 + code for code in range(0x20)}
    | {0x7F: 0x2421}
    | {code: f"\\x{code:02x}" for code in range(0x80, 0xA0)}
)
_IN_TEXT = {code: picture for code, picture in _PICTURES.items() if chr(code) not in "\n\t"}
# What str.splitlines takes for a line end would break "one line" for whoever reads it so.
_IN_ONE_LINE = _PICTURES | {0x0A: " ", 0x0D: None, 0x09: " ", 0x2028: " ", 0x2029: " "}


def printable(text: str) -> str:
    """The text with pictures in the place of control characters; lines and tabs stay."""
    return text.replace("\r\n", "\n").translate(_IN_TEXT)


def one_line(text: str) -> str:
    """Make `text` fit one line of a terminal's scrollback: no control characters, not endless."""
    if len(text) > LONGEST_MESSAGE:
        text = text[: LONGEST_MESSAGE - 1] + "…"
    return text.translate(_IN_ONE_LINE).strip()
