"""Markdown on a terminal as it is written: nothing that was printed is ever printed again.

Paragraphs stream word by word, with their bold, italic and code spans; headings, lists, tables,
quotes and code are printed by Rich when they are finished, and until then a passing line shows
their end. (`rich.Live`, which redraws, repeats lines beyond the screen's height.)
"""

from __future__ import annotations

import io
import re
import shutil

from hfgen.cli.io.colours import Style
from hfgen.cli.program.console import Console
from hfgen.cli.program.printable import printable

# What the first word of a block says of it: everything else is a paragraph.
_BLOCK = re.compile(r"(```|~~~|#{1,6}$|\||>|[-*+]$|\d{1,9}[.)]$|</?[a-zA-Z!]|[-*_]{3,}$|\$\$|\\\[)")
_FENCE = re.compile(r" {0,3}(```+|~~~+)")
_SPAN = re.compile(
    r"\*\*(?=[^\s*])(?P<strong>.+?)(?<=\S)\*\*|\*(?=[^\s*])(?P<emphasis>[^*]+?)(?<=\S)\*(?!\*)"
    r"|(?P<ticks>`+)(?P<code>[^`]+)(?P=ticks)(?!`)"
)
_STYLES = {"strong": Style.STRONG, "emphasis": Style.EMPHASIS, "code": Style.CODE}
_OPENS = re.compile(r"\*{1,2}(?=[^\s*]|$)|`+")
_WORD = re.compile(r"[^\s*`]+|[*`]+")
_LONGEST_SPAN = 200
_TRAILING = re.compile(r" +((?:\x1b\[[0-9;]*m)*)$", re.MULTILINE)
_ESCAPES = re.compile(r"\x1b\[[0-9;]*m")
# The colours of the terminal's own palette.
_THEME = "ansi_dark"
_UNCUT = 10_000


class MarkdownText:
    """One answer on the way to the terminal."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._width = shutil.get_terminal_size().columns
        self._held = ""
        """What has not been printed, from the beginning of a word or of a block."""
        self._kind: str | None = None
        """"paragraph" or "block"; None where a line begins that may begin either."""
        self._column = 0
        self._has_gap = False
        """Whether a space is due before the next word."""

    def add(self, text: str) -> None:
        """Take more of the answer."""
        self._held += text
        self._advance(is_end=False)

    def end(self) -> None:
        """Print what is left."""
        self._advance(is_end=True)
        self._end_line()

    def _advance(self, *, is_end: bool) -> None:
        while self._held:
            before = len(self._held)
            if self._kind is None:
                self._decide(is_end)
            elif self._kind == "block":
                self._finish_block(is_end)
            else:
                self._flow(is_end)
            if len(self._held) == before:
                return

    def _decide(self, is_end: bool) -> None:
        """See what the line that begins is; its first word has to be complete."""
        line = self._held.lstrip("\n")
        for _ in range(len(self._held) - len(line)):
            self._end_line()
            self._console.write("\n")
        self._held = line
        word = re.match(r"\s*(\S+)(\s?)", line)
        if word is None or not (word[2] or is_end):
            return
        is_code = line.startswith(("    ", "\t"))
        self._kind = "block" if is_code or _BLOCK.match(word[1]) else "paragraph"
        if self._kind == "paragraph":
            self._held = line.lstrip(" ")
            self._flow(is_end)
        else:
            self._end_line()
            self._finish_block(is_end)

    # Paragraphs -------------------------------------------------------------------------------

    def _flow(self, is_end: bool) -> None:
        """Print the words that are complete."""
        while self._held and self._kind == "paragraph":
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
        self._has_gap = False
        self._console.write(word, style=style)
        # A full line is one until the next word: the terminal's cursor waits at its end.
        self._column = (self._column + size - 1) % self._width + 1

    def _end_line(self) -> None:
        if self._column:
            self._console.write("\n")
        self._column, self._has_gap = 0, False

    # Blocks -----------------------------------------------------------------------------------

    def _finish_block(self, is_end: bool) -> None:
        """Print the block when it is complete; until then show its end in passing."""
        end = len(self._held) if is_end else self._block_end()
        if end is None:
            tail = " ".join(self._held.split())[-max(1, self._width // 2 - 2) :]
            self._console.status(f"… {tail}")
            return
        block, self._held = self._held[:end], self._held[end:]
        self._kind = None
        self._console.show(rendered(block, self._width))

    def _block_end(self) -> int | None:
        """Where the block that is held ends; None while it goes on."""
        if fence := _FENCE.match(self._held):
            closing = re.compile(rf"\n {{0,3}}{re.escape(fence[1])}[ \t]*\n")
            found = closing.search(self._held, fence.end() - 1)
            return found.end() if found else None
        if re.match(r"#{1,6}\s", self._held):
            return self._held.find("\n") + 1 or None
        found = re.search(r"\n[ \t]*(?=\n)", self._held)
        return found.end() if found else None


def rendered(block: str, width: int) -> str:
    """A block as Rich writes it, without spaces at the ends of lines and blank lines around it.

    Code keeps its columns, so that it can be copied.
    """
    from rich.console import Console as RichConsole
    from rich.markdown import Markdown
    from rich.syntax import Syntax

    block = printable(block)
    shown: Syntax | Markdown = Markdown(block, code_theme=_THEME, hyperlinks=False)
    if fence := _FENCE.match(block):
        first, _, code = block.partition("\n")
        code = re.sub(rf"(^|\n) {{0,3}}{re.escape(fence[1])}[ \t]*\n?$", "", code)
        language = first[fence.end() :].strip().split(" ")[0] or "text"
        shown = Syntax(code, language, theme=_THEME, background_color="default")
        width = _UNCUT
    file = io.StringIO()
    console = RichConsole(file=file, force_terminal=True, width=width, legacy_windows=False)
    console.print(shown)
    lines = _TRAILING.sub(r"\1", file.getvalue()).splitlines()
    while lines and not _ESCAPES.sub("", lines[0]):
        lines.pop(0)
    while lines and not _ESCAPES.sub("", lines[-1]):
        lines.pop()
    return "".join(f"{line}\n" for line in lines)
