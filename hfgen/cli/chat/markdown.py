"""Markdown on a terminal as it is written: nothing that was printed is ever printed again.

Paragraphs and lists stream word by word, with their bold, italic and code spans, and code line by
line. Headings, tables and quotes are printed by Rich when they are finished; until then a passing
line shows their end. (`rich.Live`, which redraws, repeats lines beyond the screen's height.)
"""

from __future__ import annotations

import re
import shutil
from typing import Literal

from hfgen.cli.chat.rendering import code_lines, rendered
from hfgen.cli.io.colours import Style
from hfgen.cli.program.console import Console

# What the first word of a line says of the block that it begins; all else is a paragraph.
_FENCE = re.compile(r" {0,3}(```+|~~~+)")
_ITEM = re.compile(r"( *)([-*+]|\d{1,9}[.)])\s")
_BLOCK = re.compile(r"(#{1,6}$|\||>|</?[a-zA-Z!]|[-*_]{3,}$|\$\$|\\\[)")
_SPAN = re.compile(
    r"\*\*(?=[^\s*])(?P<strong>.+?)(?<=\S)\*\*|\*(?=[^\s*])(?P<emphasis>[^*]+?)(?<=\S)\*(?!\*)"
    r"|(?P<ticks>`+)(?P<code>[^`]+)(?P=ticks)(?!`)"
)
_STYLES = {"strong": Style.STRONG, "emphasis": Style.EMPHASIS, "code": Style.CODE}
_OPENS = re.compile(r"\*{1,2}(?=[^\s*]|$)|`+")
_WORD = re.compile(r"[^\s*`]+|[*`]+")
_LONGEST_SPAN = 200
_DEEPEST_INDENT = 12


class MarkdownText:
    """One answer on the way to the terminal."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._width = shutil.get_terminal_size().columns
        self._held = ""
        """What has not been printed, from the beginning of a word, a line of code or a block."""
        self._kind: Literal["words", "code", "block"] | None = None
        """What the present line is part of; None where one begins that may be anything."""
        self._column = 0
        self._indent = 0
        """Where the lines of a list's item begin."""
        self._has_gap = False
        """Whether a space is due before the next word."""
        self._fence = re.compile("")
        """What closes the code."""
        self._language = ""
        self._code: list[str] = []

    def add(self, text: str) -> None:
        """Take more of the answer."""
        self._held += text
        self._advance(is_end=False)

    def end(self) -> None:
        """Print what is left."""
        self._advance(is_end=True)
        self._end_line()

    def _advance(self, *, is_end: bool) -> None:
        take = {None: self._decide, "words": self._flow, "code": self._add_code,
                "block": self._finish_block}  # fmt: skip
        while self._held:
            before = self._held, self._kind
            take[self._kind](is_end)
            if (self._held, self._kind) == before:
                return

    def _decide(self, is_end: bool) -> None:
        """See what the line that begins is; its first word has to be complete."""
        line = self._held.lstrip("\n")
        for _ in range(len(self._held) - len(line)):
            self._end_line()
            self._console.write("\n")
            self._indent = 0
        self._held = line
        word = re.match(r"\s*(\S+)(\s?)", line)
        if word is None or not (word[2] or is_end):
            return
        self._end_line()
        if fence := _FENCE.match(line):
            if "\n" in line or is_end:
                self._begin_code(fence)
        elif item := _ITEM.match(line):
            self._begin_item(item)
        elif _BLOCK.match(word[1]):
            self._kind = "block"
        else:
            self._kind = "words"
            is_continuation = line.startswith("  ") and self._indent > 0
            self._indent = self._indent if is_continuation else 0
            self._held = line.lstrip(" ")

    # Paragraphs and lists ---------------------------------------------------------------------

    def _begin_item(self, item: re.Match[str]) -> None:
        depth = min(len(item[1]), _DEEPEST_INDENT)
        mark = item[2] if item[2][0].isdigit() else "•"
        self._console.write(" " * (depth + 1))
        self._console.write(mark, style=Style.STRONG)
        self._indent = self._column = depth + 1 + len(mark)
        self._has_gap = True
        self._kind, self._held = "words", self._held[item.end() - 1 :]

    def _flow(self, is_end: bool) -> None:
        """Print the words that are complete."""
        while self._held and self._kind == "words":
            first = self._held[0]
            if first == "\n":
                self._end_line()
                self._held, self._kind = self._held[1:], None
            elif first.isspace():
                self._has_gap = True
                self._held = self._held[1:]
            elif not self._word(is_end):
                return

    def _word(self, is_end: bool) -> bool:
        """Print the word or span that is held first; False while it is not complete."""
        if span := _SPAN.match(self._held):
            if span.end() == len(self._held) and not is_end and span["code"] is None:
                return False  # more asterisks may follow
            for number, word in enumerate(span[str(span.lastgroup)].split()):
                self._has_gap = self._has_gap or number > 0
                self._write(word, _STYLES[str(span.lastgroup)])
            self._held = self._held[span.end() :]
            return True
        rest = self._held.partition("\n")
        may_close = not rest[1] and not is_end and len(rest[0]) < _LONGEST_SPAN
        if may_close and _OPENS.match(self._held):
            return False
        found = _WORD.match(self._held)
        assert found is not None
        if found.end() == len(self._held) and not is_end:
            return False
        self._write(found[0], Style.PLAIN)
        self._held = self._held[found.end() :]
        return True

    def _write(self, word: str, style: Style) -> None:
        """Print a word, on the next line where this one has no room."""
        from rich.cells import cell_len

        size = cell_len(word)
        if self._has_gap and self._column:
            if self._column + 1 + size > self._width:
                self._end_line()
            else:
                self._console.write(" ")
                self._column += 1
        if not self._column and self._indent:
            self._console.write(" " * (self._indent + 1))
            self._column = self._indent + 1
        self._has_gap = False
        self._console.write(word, style=style)
        # A full line is one until the next word: the terminal's cursor waits at its end.
        self._column = (self._column + size - 1) % self._width + 1

    def _end_line(self) -> None:
        if self._column:
            self._console.write("\n")
        self._column, self._has_gap = 0, False

    # Code -------------------------------------------------------------------------------------

    def _begin_code(self, fence: re.Match[str]) -> None:
        first, _, self._held = self._held.partition("\n")
        self._language = first[fence.end() :].strip().partition(" ")[0]
        self._fence = re.compile(rf" {{0,3}}{re.escape(fence[1])}[`~]*[ \t]*$")
        self._kind, self._code = "code", []

    def _add_code(self, is_end: bool) -> None:
        """Print the lines that are complete."""
        line, newline, rest = self._held.partition("\n")
        if not newline and not is_end:
            self._console.status(line[: self._width // 2])
            return
        self._held = rest
        if self._fence.match(line):
            self._kind = None
            return
        self._code.append(line)
        self._console.show(code_lines("\n".join(self._code), self._language)[-1] + "\n")

    # Other blocks -----------------------------------------------------------------------------

    def _finish_block(self, is_end: bool) -> None:
        """Print the block when it is complete; until then show its end in passing."""
        heading = re.match(r"#{1,6}\s[^\n]*\n", self._held)
        found = heading or re.search(r"\n[ \t]*(?=\n)", self._held)
        if found is None and not is_end:
            tail = " ".join(self._held.split())[-max(1, self._width // 2 - 2) :]
            self._console.status(f"… {tail}")
            return
        end = len(self._held) if found is None else found.end()
        block, self._held = self._held[:end], self._held[end:]
        self._kind = None
        self._console.show(rendered(block, self._width))
