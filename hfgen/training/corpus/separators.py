r"""Where one document of a text ends and the next begins: `--document-separator`.

| given | documents |
| --- | --- |
| `auto` | where the text has `<\|endoftext\|>` in its first part, what stands between two; else cut before headings and at three blank lines or more |
| `headings` | cut before headings (`hfgen.training.headings`) |
| `blank-lines` | cut at three blank lines or more |
| `none` | the file is one document, unchanged |
| `/regex/` | cut at what it matches, which is left out; `/^(?=CHAPTER )/` leaves nothing out |
| other text | cut at that text, which is left out; `\n`, `\t` and `\\` are escapes |

Documents lose blank lines at their beginning and white space at their end. Under `auto` and
`headings` less than 200 characters are no document and join the next: a title page, a signature.
"""  # noqa: E501

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal, cast

from hfgen.errors import InvalidOption
from hfgen.generation.options.specs import unescaped
from hfgen.mentions import mention
from hfgen.training.headings import Part, sections

END_OF_TEXT = "<|endoftext|>"
LEAST_CHARACTERS = 200
"""A section below a heading that is shorter joins the next."""
# How much of a match may depend on what follows it.
_MARGIN = 1024
_LONGEST_LINE = 1 << 20
_WORDS = ("auto", "headings", "blank-lines", "none")

Kind = Literal["auto", "headings", "blank-lines", "none", "pattern"]


@dataclass(frozen=True)
class Separator:
    """How text is cut into documents."""

    kind: Kind = "auto"
    pattern: re.Pattern[str] | None = None
    """For `pattern` alone."""

    @property
    def least_characters(self) -> int:
        """Shorter documents join the next."""
        return LEAST_CHARACTERS if self.kind in ("auto", "headings") else 1

    def for_text(self, first: str) -> Separator:
        """`auto` decided by the first part of a text; the others are what they are."""
        if self.kind == "auto" and END_OF_TEXT in first:
            return Separator("pattern", re.compile(re.escape(END_OF_TEXT)))
        return self

    def parts(self, chunks: Iterable[str]) -> Iterator[Part]:
        """The text in pieces, each marked where a document begins with it."""
        if self.pattern is not None:
            return _between(chunks, self.pattern)
        if self.kind == "none":
            return _unchanged(chunks)
        return sections(
            lines_of(chunks),
            headings=self.kind != "blank-lines",
            blank_lines=self.kind != "headings",
        )


def parse_separator(text: str) -> Separator:
    """Read `--document-separator`. Raises `InvalidOption`."""
    if text in _WORDS:
        return Separator(cast(Kind, text))
    if len(text) > 2 and text[0] == text[-1] == "/":
        try:
            pattern = re.compile(text[1:-1], re.MULTILINE)
        except (re.error, RecursionError, OverflowError) as error:
            raise _invalid(text, hint=f"the expression is not valid: {error}") from error
        if pattern.match(""):
            raise _invalid(text, hint="the expression matches everywhere")
        return Separator("pattern", pattern)
    literal = unescaped(text)
    if not literal:
        raise _invalid(
            text, hint=f"{mention('document_separator', 'none')} makes each file one document"
        )
    return Separator("pattern", re.compile(re.escape(literal)))


def _invalid(text: str, *, hint: str) -> InvalidOption:
    return InvalidOption(
        "document_separator", text, f"{', '.join(_WORDS)}, a text, or /a regular expression/",
        hint=hint,
    )  # fmt: skip


def lines_of(chunks: Iterable[str]) -> Iterator[str]:
    """The lines with their ends; one of more than a million characters in several parts."""
    rest = ""
    for chunk in chunks:
        *lines, rest = (rest + chunk).split("\n")
        yield from (line + "\n" for line in lines)
        while len(rest) > _LONGEST_LINE:
            yield rest[:_LONGEST_LINE]
            rest = rest[_LONGEST_LINE:]
    if rest:
        yield rest


def _unchanged(chunks: Iterable[str]) -> Iterator[Part]:
    line = 1
    for place, chunk in enumerate(chunks):
        yield Part(chunk, place == 0, line)
        line += chunk.count("\n")


def _between(chunks: Iterable[str], pattern: re.Pattern[str]) -> Iterator[Part]:
    """What stands between the matches; little more than a chunk is held."""
    cutter = _Cutter(pattern)
    for chunk in chunks:
        yield from cutter.cut(chunk, is_last=False)
    yield from cutter.cut("", is_last=True)


class _Cutter:
    """Finds matches in a text that comes in chunks."""

    def __init__(self, pattern: re.Pattern[str]) -> None:
        self._pattern = pattern
        self._margin = max(_MARGIN, 2 * len(pattern.pattern))
        self._held = ""
        self._seen = 0
        """Characters of `_held` that are handed on already; kept so that `\\b` and `(?<=` work."""
        self._line = 1
        self._begins = True

    def cut(self, chunk: str, *, is_last: bool) -> Iterator[Part]:
        """The parts that are certain by now."""
        text = self._held + chunk
        done = self._seen
        limit = len(text) if is_last else max(done, len(text) - self._margin)
        for match in self._pattern.finditer(text, done):
            # What ends in the margin could go on in the next chunk.
            if match.start() > limit or (match.end() > limit and not is_last):
                limit = min(limit, match.start())
                break
            yield from self._part(text[done : match.start()])
            self._line += match[0].count("\n")
            self._begins = True
            done = match.end()
        limit = max(limit, done)
        yield from self._part(text[done:limit])
        kept = max(0, limit - self._margin)
        self._held, self._seen = text[kept:], limit - kept

    def _part(self, text: str) -> Iterator[Part]:
        if text:
            yield Part(text, self._begins, self._line)
            self._line += text.count("\n")
            self._begins = False
