"""Blocks of Markdown as Rich writes them: lines with their styles, without spaces at their ends."""

from __future__ import annotations

import io
import re
from typing import TYPE_CHECKING

from hfgen.cli.program.printable import printable

if TYPE_CHECKING:
    from rich.console import RenderableType

_TRAILING = re.compile(r" +((?:\x1b\[[0-9;]*m)*)$")
_ESCAPES = re.compile(r"\x1b\[[0-9;]*m")
# The colours of the terminal's own palette.
_THEME = "ansi_dark"
_UNCUT = 10_000


def rendered(block: str, width: int) -> str:
    """A block, without blank lines around it."""
    from rich.markdown import Markdown

    lines = _lines(Markdown(printable(block), code_theme=_THEME, hyperlinks=False), width)
    while lines and not _ESCAPES.sub("", lines[0]):
        lines.pop(0)
    while lines and not _ESCAPES.sub("", lines[-1]):
        lines.pop()
    return "".join(f"{line}\n" for line in lines)


def code_lines(code: str, language: str) -> list[str]:
    """Code in colours, every line as long as it is, so that it can be copied."""
    from rich.syntax import Syntax

    shown = Syntax(printable(code), language or "text", theme=_THEME, background_color="default")
    lines = _lines(shown, _UNCUT)
    # Rich leaves out empty lines at the end.
    return lines + [""] * (code.count("\n") + 1 - len(lines))


def _lines(shown: RenderableType, width: int) -> list[str]:
    from rich.console import Console

    file = io.StringIO()
    Console(file=file, force_terminal=True, width=width, legacy_windows=False).print(shown)
    return [_TRAILING.sub(r"\1", line) for line in file.getvalue().splitlines()]
