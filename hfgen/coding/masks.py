"""Code with its strings and comments masked, so that brackets and line ends can be counted.

pygments' lexers read from left to right; what they make of an unfinished text may change with more
of it (a string that is not closed yet), so that callers decide at the ends of lines only.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from pygments.token import Comment, Error, Name, String

from hfgen.coding.languages import Family, Language

STRING, COMMENT = "\0", "\1"
"""What stands in the place of each character of them."""
PAIRS = {")": "(", "]": "[", "}": "{"}
BRACKETS = "([{"
_BRACKET = re.compile(r"[(\[{}\])]")
_QUOTES = ("'", '"', "`")
# How much of a text before the cursor is read.
_LONGEST = 1 << 16
_ANCHORS = 4
_TOP_LINE = re.compile(r"^(?=[^\s)}\]])", re.MULTILINE)
_LINE_END = re.compile(r"\r\n?")


def masked(language: Language, text: str) -> str:
    """The text, as long as before: strings and comments masked, line ends of code as `\\n`."""
    text = _LINE_END.sub(lambda found: " \n" if len(found[0]) == 2 else "\n", text)
    has_brackets = language.family in (Family.BRACED, Family.BRACKETED)
    parts: list[str] = []
    position = 0
    for start, kind, value in language.lexer.get_tokens_unprocessed(text):
        if start < position or not value:
            continue
        parts.append(text[position:start])
        position = start + len(value)
        if has_brackets and kind is Error and value.startswith(_QUOTES):
            # A string that is not closed yet: the rest belongs to it.
            parts.append(STRING * (len(text) - start))
            position = len(text)
            break
        if kind in Comment:
            is_long = kind in Comment.Multiline
            parts.append("".join("\n" if c == "\n" and not is_long else COMMENT for c in value))
        elif kind in String or (kind in Name and value.startswith(_QUOTES)):
            parts.append(STRING * len(value))
        else:
            parts.append(value)
    mask = "".join(parts) + text[position:]
    if language.family is Family.BRACED and (at := mask.find("/*")) >= 0:
        mask = mask[:at] + COMMENT * (len(mask) - at)
    return mask


@dataclass(frozen=True)
class Bracket:
    """A bracket that is open."""

    char: str
    line: str
    """The masked line that it stands in, up to it; the line before where it begins one."""
    row: int = -1
    """Where that line begins."""


def advance(stack: list[Bracket], mask: str, at: int, brackets: str = BRACKETS) -> Bracket | None:
    """Open or close the bracket at a place; returns the one that was closed.

    A stray closing one changes nothing; one that skips others closes them with it.
    """
    char = mask[at]
    if char in brackets:
        row = mask.rfind("\n", 0, at) + 1
        stack.append(Bracket(char, _header(mask, row, at), row))
        return None
    wanted = PAIRS.get(char, " ")
    if not any(one.char == wanted for one in stack):
        return None
    while True:
        closed = stack.pop()
        if closed.char == wanted:
            return closed


def open_brackets(mask: str, brackets: str = BRACKETS) -> list[Bracket]:
    """The brackets that are open at the end of masked code."""
    stack: list[Bracket] = []
    for found in _BRACKET.finditer(mask):
        advance(stack, mask, found.start(), brackets)
    return stack


def closed_brackets(mask: str, brackets: str = BRACKETS) -> int:
    """How many brackets masked code closes that were opened before it."""
    depth = lowest = 0
    for char in mask:
        if char in brackets:
            depth += 1
        elif PAIRS.get(char, " ") in brackets:
            depth -= 1
            lowest = min(lowest, depth)
    return -lowest


def _header(mask: str, start: int, at: int) -> str:
    """The line up to a bracket; of a bracket that begins its line, the line before."""
    line = mask[start:at]
    if line.strip() or not start:
        return line
    before = mask[:start].rstrip()
    return before[before.rfind("\n") + 1 :]


class Context:
    """The text before a cursor, masked once, and a short part of it to read what follows with."""

    def __init__(self, language: Language, before: str) -> None:
        if len(before) > _LONGEST:
            tail = before[-_LONGEST:]
            begin = _TOP_LINE.search(tail, 1)
            before = tail[begin.start() :] if begin else tail
        self._language = language
        self.mask = masked(language, before)
        """All of the text, masked."""
        self._head = self._short(before)

    def read(self, text: str) -> str:
        """`text`, which follows, masked."""
        return masked(self._language, self._head + text)[len(self._head) :]

    def _short(self, before: str) -> str:
        """The end of the text from which the lexer reads as it does from the beginning."""
        anchors = [found.start() for found in _TOP_LINE.finditer(before)]
        anchors = [start for start in anchors if self.mask[start - 1 : start] == "\n"]
        for start in reversed(anchors[-_ANCHORS:]):
            is_alike = masked(self._language, before[start:]) == self.mask[start:]
            if is_alike and not open_brackets(self.mask[:start]):
                return before[start:]
        return before
