"""`--template`: a row's text with placeholders, such as `{question}\\nAnswer: {answer}`.

See `hfgen.training.recognition` for what of it is learned.
"""

from __future__ import annotations

import re
import string
from collections.abc import Mapping

from hfgen.errors import InvalidOption

_ALLOWED = "a text with {column} placeholders, as '{question}\\nAnswer: {answer}'"
_ESCAPES = {r"\n": "\n", r"\t": "\t", r"\\": "\\"}


class RowTemplate:
    """A parsed template. Raises `InvalidOption` for one without placeholders or with odd braces."""

    def __init__(self, template: str) -> None:
        parts: list[tuple[str, str]] = []
        tail = ""
        try:
            for literal, name, spec, conversion in string.Formatter().parse(template):
                if name is None:
                    tail += _unescaped(literal)
                    continue
                if not name.strip() or spec or conversion:
                    raise ValueError
                parts.append((tail + _unescaped(literal), name.strip()))
                tail = ""
        except ValueError:
            raise InvalidOption("template", template, _ALLOWED) from None
        if not parts:
            raise InvalidOption("template", template, _ALLOWED)
        self._parts = parts
        self._tail = tail
        self.columns: tuple[str, ...] = tuple(dict.fromkeys(name for _, name in parts))
        """The columns named, in order, the one that begins the completion last."""
        last = parts[-1][1]
        self.columns = (*(name for name in self.columns if name != last), last)

    def fill(self, values: Mapping[str, str]) -> tuple[str, str]:
        """The prompt and the completion of a row."""
        *before, (literal, last) = self._parts
        prompt = "".join(text + values[name] for text, name in before) + literal
        kept = prompt.rstrip(" ")
        return kept, prompt[len(kept) :] + values[last] + self._tail


def _unescaped(text: str) -> str:
    return re.sub(r"\\[nt\\]", lambda match: _ESCAPES[match.group()], text)
