"""Where a completion ends: the end of the function or block that the cursor is in, as text streams.

    function    of the function or class around the cursor, or of the first one that begins
    block       of the innermost block
    line        of the line
    eof         where the model ends

The text that is handed out is always a beginning of the text that was generated. Nothing that may
lie beyond the end is handed out, and nothing is decided on a line that may still change its
meaning.
"""

from __future__ import annotations

import re
from typing import Literal, Protocol, get_args

from hfgen.coding.languages import Family, Language
from hfgen.coding.masks import Context

Until = Literal["function", "block", "line", "eof"]
UNTILS: tuple[Until, ...] = get_args(Until)
_DECISIVE = re.compile(r"[\n(){}\[\];\"'`]")


class Finder(Protocol):
    """Finds the end of a block."""

    def look(self, text: str, *, is_whole: bool) -> tuple[int, int | None]:
        """How much of a text certainly belongs to the block, and where it ends if that is known.

        `is_whole` says that no more text will come.
        """


class BlockEnd:
    """Cuts a streamed text at the end of a block."""

    def __init__(self, finder: Finder) -> None:
        self._finder = finder
        self._text = ""
        self._shown = 0

    def add(self, text: str) -> tuple[str, bool]:
        """Take more text; return what certainly belongs to the block, and whether it ends there."""
        self._text += text
        return self._hand_out(*self._finder.look(self._text, is_whole=False))

    def flush(self) -> tuple[str, bool]:
        """The same when no more text comes: what was held back, without blanks at its end."""
        return self._hand_out(*self._finder.look(self._text, is_whole=True))

    def _hand_out(self, sure: int, end: int | None) -> tuple[str, bool]:
        piece = self._text[self._shown : sure if end is None else end]
        self._shown += len(piece)
        return piece, end is not None


def block_end(language: Language, before: str, after: str, until: Until) -> BlockEnd:
    """What cuts a completion between two texts; `after` is empty where it is continued."""
    return BlockEnd(_finder(language, before, after, until))


def _finder(language: Language, before: str, after: str, until: Until) -> Finder:
    from hfgen.coding.bracketed import Bracketed
    from hfgen.coding.indented import Indented

    if until == "eof":
        return Everything()
    if until == "line":
        return Line()
    context = Context(language, before)
    suffix = Context(language, after[:10_000]).mask if after.strip() else ""
    if language.family in (Family.INDENTED, Family.WORDED):
        return Indented(context, suffix, language.family, is_innermost=until == "block")
    if language.family is Family.PLAIN:
        return Paragraph(context)
    return Bracketed(context, suffix, language.family, is_innermost=until == "block")


class Everything:
    """No end but the model's."""

    def look(self, text: str, *, is_whole: bool) -> tuple[int, int | None]:
        """All of it."""
        return len(text), None


class Line:
    """The rest of the line; where nothing is left of it, the next one."""

    def look(self, text: str, *, is_whole: bool) -> tuple[int, int | None]:
        """Up to the first line end behind something."""
        begin = len(text) - len(text.lstrip())
        end = text.find("\n", begin)
        return (len(text.rstrip()), None) if end < 0 else (end, len(text[:end].rstrip()))


class Paragraph:
    """Up to a blank line that is followed by a line without indentation."""

    def __init__(self, context: Context) -> None:
        self._context = context
        mask = context.mask
        self._has_begun = bool(mask[mask.rfind("\n") + 1 :].strip())

    def look(self, text: str, *, is_whole: bool) -> tuple[int, int | None]:
        """Up to the gap between two paragraphs."""
        mask = self._context.read(text)
        begin = 0 if self._has_begun else len(mask) - len(mask.lstrip())
        gap = re.compile(r"\n[ \t]*\n\s*(?<=\n)(?=\S)").search(mask, begin)
        if gap is not None:
            end = len(mask[: gap.start()].rstrip())
            return end, end
        return len(text.rstrip()), None
