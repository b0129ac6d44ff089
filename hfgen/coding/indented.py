"""The end of a block by indentation, and by the word that closes it where a language has one.

A line belongs to the block while it is indented more than the line that begins the block. Lines
within brackets or strings, and behind a backslash, have no indentation of their own.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from hfgen.coding.languages import Family
from hfgen.coding.masks import BRACKETS, Bracket, Context, advance, closed_brackets
from hfgen.coding.words import (
    CLOSERS,
    CONTINUES,
    first_word,
    is_container,
    is_control,
    is_definition,
    may_become,
)

_OPENING = (":", "do", "then", "{")
_DECORATOR = "@"


@dataclass(frozen=True)
class _Line:
    indent: int
    text: str
    """Masked, without blanks around it."""


@dataclass
class _Block:
    """The block that is being completed."""

    limit: int
    """Lines that are indented so much or less do not belong to it."""
    needs_body: bool = False
    """Whether it ends only after a line that is indented more."""
    is_closed: bool = False


class Indented:
    """Finds the end by indentation; see `hfgen.coding.blocks.Finder`."""

    def __init__(
        self, context: Context, suffix: str, family: Family, *, is_innermost: bool
    ) -> None:
        """`suffix` is the masked text that follows, where the cursor is within a text."""
        self._context = context
        self._has_closers = family is Family.WORDED
        # Curly brackets are blocks in these languages, and their lines are indented.
        self._brackets = "([" if self._has_closers else BRACKETS
        self._is_innermost = is_innermost
        self._open: list[Bracket] = []
        *before, (self._tail, _) = self._logical_lines(context.mask, self._open)
        self._lines = [_line(text) for text, _ in before if text.strip()]
        self._floor = min(closed_brackets(suffix, self._brackets), len(self._open))

    def look(self, text: str, *, is_whole: bool) -> tuple[int, int | None]:
        """Up to the first line that is not indented enough."""
        mask = self._context.read(text)
        block = self._block_of_tail() if self._tail.strip() else None
        stack, previous = list(self._open), self._tail.strip()
        is_joined = self._tail.endswith("\\")
        sure = start = 0
        is_first = True
        while True:
            stop = mask.find("\n", start)
            is_complete = stop >= 0
            stop = stop if is_complete else len(mask)
            line = self._tail + mask[:stop] if is_first else mask[start:stop]
            is_own = not (stack or is_joined or (is_first and block))
            if is_own and line.strip():
                found = _line(line)
                if block is None:
                    block = self._block_of_first(found)
                elif self._is_undecided(found, block, is_complete=is_complete or is_whole):
                    return sure, None
                elif not self._belongs(found, block, previous):
                    return sure, sure
            if (cut := self._cut(mask, start, stop, stack)) is not None:
                cut = len(mask[:cut].rstrip())
                return cut, cut if is_complete or is_whole else None
            if mask[start:stop].strip():
                sure = len(mask[:stop].rstrip())
                previous = line.strip() if is_own else previous
            if not is_complete:
                return sure, None
            if block is not None and block.is_closed:
                return sure, sure
            is_joined = mask[start:stop].endswith("\\")
            start, is_first = stop + 1, False

    def _logical_lines(self, mask: str, stack: list[Bracket]) -> Iterator[tuple[str, int]]:
        """Lines with those that go on with them, and where they begin; the last has no end yet."""
        begin = start = 0
        while (stop := mask.find("\n", start)) >= 0:
            for at in range(start, stop):
                if mask[at] in "([{}])":
                    advance(stack, mask, at, self._brackets)
            start = stop + 1
            if not stack and not mask[:stop].endswith("\\"):
                yield mask[begin:stop], begin
                begin = start
        for at in range(start, len(mask)):
            if mask[at] in "([{}])":
                advance(stack, mask, at, self._brackets)
        yield mask[begin:], begin

    def _cut(self, mask: str, start: int, stop: int, stack: list[Bracket]) -> int | None:
        """Count the brackets of a line; where one is closed that the suffix closes."""
        for at in range(start, stop):
            if mask[at] in "([{}])":
                depth = len(stack)
                if advance(stack, mask, at, self._brackets) and len(stack) < self._floor <= depth:
                    return at
        return None

    def _block_of_tail(self) -> _Block:
        """The block, where the cursor's line has begun."""
        line = _line(self._tail)
        opens = line.text.endswith(_OPENING) or is_control(line.text)
        if is_definition(line.text) or self._is_decorator(line.text):
            return _Block(line.indent)
        if opens and self._is_innermost:
            return _Block(line.indent)
        around = self._around(line.indent)
        return _Block(line.indent if around is None else around.indent)

    def _block_of_first(self, line: _Line) -> _Block:
        """The block, where the cursor's line is blank, and this is the first one behind it."""
        around = self._around(line.indent)
        begins = is_definition(line.text) or self._is_decorator(line.text)
        if begins and (around is None or is_container(around.text)):
            return _Block(line.indent)
        if around is None:
            return _Block(line.indent, needs_body=True)
        return _Block(around.indent)

    def _around(self, indent: int) -> _Line | None:
        """The line that begins the block around lines that are indented so much."""
        headers: list[_Line] = []
        for line in reversed(self._lines):
            if line.indent < (headers[-1].indent if headers else indent):
                headers.append(line)
        if not headers or self._is_innermost:
            return headers[0] if headers else None
        return next((line for line in headers if is_definition(line.text)), headers[-1])

    def _is_decorator(self, text: str) -> bool:
        return text.startswith(_DECORATOR) and not self._has_closers

    def _is_undecided(self, line: _Line, block: _Block, *, is_complete: bool) -> bool:
        if is_complete or line.indent > block.limit:
            return False
        return may_become(line.text, CONTINUES | CLOSERS)

    def _belongs(self, line: _Line, block: _Block, previous: str) -> bool:
        """Whether a line belongs to the block."""
        if line.indent > block.limit:
            block.needs_body = False
            return True
        if block.needs_body or self._is_decorator(previous):
            return True
        if line.indent < block.limit:
            return False
        if self._has_closers and (line.text[:1] in CLOSERS or first_word(line.text) in CLOSERS):
            block.is_closed = True
            return True
        return first_word(line.text) in CONTINUES


def _line(text: str) -> _Line:
    wide = text.expandtabs(8)
    return _Line(len(wide) - len(wide.lstrip()), text.strip())
