"""Where a story or a chapter begins: lines that are headings, and the sections below them.

A heading stands by itself, blank lines on both sides, on one to three lines of at most 100
characters together:

- numbered: `CHAPTER IV. The Visit`, `Part Two`, `IV`, `12.`, `3. The Cyclone`, or marked, as
  `# Markdown` and `= WikiText =`;
- in capitals, `THE GOLDEN BIRD`, or every word with a capital but the small ones, `The Lion and the
  Mouse`. Such a line only counts where the text before it has come to an end: behind `the sign
  read:` it is no heading.

Headings one after another (book, author, chapter, title) begin one section. Of a long run, a table
of contents, the last two belong to the text below, the others are a section of their own. Nothing
is lost: the sections joined are the text.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

BLANK_LINES = 3
"""So many blank lines in a row, or more, part documents."""
_LONGEST = 100
_MOST_WORDS = 14
# A longer run of headings is a table of contents.
_LONGEST_RUN = 6
_MOST_HEADING_LINES = 3
# A block of more lines is handed on in parts.
_MOST_LINES = 1000

_ROMAN = r"[IVXLC]{1,8}"
_COUNT = rf"(?:\d{{1,3}}|{_ROMAN})"
_ORDINAL = (
    r"(?i:one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|thirteen|fourteen|fifteen|"
    r"the\s+\w+|first|second|third|last)"
)
_NUMBERED = re.compile(
    rf"(?i:chapter|part|book|story|act|scene|canto|section|volume|letter)\s+"
    rf"(?:{_COUNT}|{_ORDINAL})\b.*|{_COUNT}\.?|#{{1,6}}\s+\S.*|=\s[^=].*[^=]\s="
)
_COUNTED_TITLE = re.compile(rf"{_COUNT}(?:[.:)]|\s?[-–—]+)?\s+(?P<title>\S.*)")
_CLOSING = re.compile(r"\W*(?:the\s+end|finis|end|fin)\W*", re.IGNORECASE)
_SMALL_WORD = re.compile(
    "an?|and|as|at|but|by|de|des|du|for|from|how|i|in|into|is|la|le|nor|of|off|on|or|out|over|s|"
    "that|the|their|to|up|upon|von|was|went|what|when|where|who|why|with"
)
_WORD = re.compile(r"[^\W\d_]+")
_SENTENCE_END = frozenset(".!?…\"'”’»)]}*_-—")


@dataclass(frozen=True, slots=True)
class Part:
    """A piece of text; a document begins with it, or it goes on."""

    text: str
    begins: bool
    line: int
    """The line it begins on, from 1."""


@dataclass(frozen=True, slots=True)
class _Block:
    """Lines with no blank one among them, and the blank lines behind."""

    text: str
    line: int
    lines: int
    """How many; 0 where it does not stand by itself."""
    blank_before: int


def sections(lines: Iterable[str], *, headings: bool, blank_lines: bool) -> Iterator[Part]:
    """Cut before headings, before runs of blank lines, or before both.

    `lines` end with `"\\n"`; what does not is only a part of a line.
    """
    run: list[_Block] = []
    is_closed = True
    for block in _blocks(lines):
        text = block.text.strip()
        if headings and _is_heading(block, after_an_end=is_closed or bool(run)):
            run.append(block)
            continue
        if run:
            yield from _heads(run)
        is_cut = blank_lines and not run and block.blank_before >= BLANK_LINES
        yield Part(block.text, is_cut, block.line)
        run = []
        is_closed = text[-1:] in _SENTENCE_END
    yield from (Part(block.text, False, block.line) for block in run)


def _is_heading(block: _Block, *, after_an_end: bool) -> bool:
    if not 0 < block.lines <= _MOST_HEADING_LINES or len(block.text) > 2 * _LONGEST:
        return False
    lines = [line for line in map(str.strip, block.text.splitlines()) if line]
    # `ROMEO:` above a line is a speaker.
    if any(line[-1] in ":;" for line in lines):
        return False
    return is_heading(" ".join(lines), after_an_end=after_an_end)


def is_heading(line: str, *, after_an_end: bool = True) -> bool:
    """Whether a line by itself is a heading; `after_an_end`: the text before it has ended."""
    if not line or len(line) > _LONGEST or line[-1] in ",;:" or _CLOSING.fullmatch(line):
        return False
    if line[0].islower():
        return False
    if _NUMBERED.fullmatch(line):
        return True
    if counted := _COUNTED_TITLE.fullmatch(line):
        return _is_title(counted["title"])
    return after_an_end and _is_title(line)


def _is_title(line: str) -> bool:
    words = _WORD.findall(line)
    if not words or len(words) > _MOST_WORDS or not line[0].isalnum() or line[0].islower():
        return False
    if line == line.upper():
        return len("".join(words)) > 2
    # `The Happy Prince.` is a title; `Stamp! Stamp!` and `Listen.` are what somebody says.
    is_sentence = line[-1] in "!?\"'”’" or (line[-1] == "." and len(words) < 3)
    names = [word for word in words if word[0].isupper()]
    return not is_sentence and all(
        word[0].isupper() or (_SMALL_WORD.fullmatch(word) and len(names) > 1) for word in words
    )


def _heads(run: list[_Block]) -> Iterator[Part]:
    """The headings before a text, the first of them beginning its section."""
    begins = {0} if len(run) <= _LONGEST_RUN else {0, len(run) - 2}
    for place, block in enumerate(run):
        yield Part(block.text, place in begins, block.line)


def _blocks(lines: Iterable[str]) -> Iterator[_Block]:
    text: list[str] = []
    begin = number = 1
    filled = blank = blank_before = 0
    is_whole = True
    for line in lines:
        if is_whole and not line.strip():
            blank += 1
        else:
            # A line too long to be held is a block of its own, and so are its parts.
            if text and (blank or len(text) > _MOST_LINES or not is_whole):
                is_alone = blank > 0 and (blank_before > 0 or begin == 1)
                yield _Block("".join(text), begin, filled if is_alone else 0, blank_before)
                text, begin, filled, blank_before = [], number, 0, blank
            filled += 1
            blank = 0
        text.append(line)
        is_whole = line.endswith("\n")
        number += is_whole
    if text:
        yield _Block("".join(text), begin, 0, blank_before)
