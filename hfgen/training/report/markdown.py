"""Text of any content as Markdown that shows it and does nothing else (CommonMark, with tables).

Control characters and those that turn the direction of writing become visible; what has no UTF-8
becomes the replacement character.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence

_PUNCTUATION = re.compile(r"[\\`*_\[\]<>&#~$]")
_CONTROL_PICTURES = 0x2400
_INVISIBLE = ("Cc", "Cf", "Zl", "Zp")
_JOINERS = "\u200c\u200d"  # of emoji and of Indian scripts


def visible(text: str) -> str:
    r"""The text with line ends as \n, tabs as they are and nothing else that cannot be seen."""
    text = text.replace("\r\n", "\n")
    return text if text.isprintable() else "".join(map(_visible, text))


def _visible(character: str) -> str:
    if character in "\n\t" or character in _JOINERS or character.isprintable():
        return character
    if (number := ord(character)) < 0x20:
        return chr(_CONTROL_PICTURES + number)
    category = unicodedata.category(character)
    if category == "Cs":
        return "\ufffd"
    return f"\\u{number:04x}" if category in _INVISIBLE else character


def one_line(text: str) -> str:
    """The text on one line, without space at its ends."""
    return " ".join(visible(text).split()) or "(empty)"


def plain(text: str) -> str:
    """The text on one line, to stand in a heading, a table or (not first) in a paragraph."""
    escaped = _PUNCTUATION.sub(r"\\\g<0>", one_line(text))
    # Readers of tables disagree about bars behind backslashes.
    return escaped.replace("|", "&#124;")


def code(text: str) -> str:
    """The text on one line, as code, to stand in a paragraph."""
    text = one_line(text)
    ticks = "`" * (_longest_run(text) + 1)
    room = " " if text.startswith("`") or text.endswith("`") else ""
    return f"{ticks}{room}{text}{room}{ticks}"


def fenced(text: str, language: str = "") -> str:
    """The text as a block that no line of it can end."""
    text = visible(text)
    ticks = "`" * max(3, _longest_run(text) + 1)
    return f"{ticks}{language}\n{text}\n{ticks}"


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table; its cells are Markdown already."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _longest_run(text: str) -> int:
    return max((len(run) for run in re.findall("`+", text)), default=0)
