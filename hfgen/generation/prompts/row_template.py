"""`--template`: a row's text with placeholders, such as `{question}\\nAnswer: {answer}`.

The last placeholder begins what follows the prompt: what training learns, and the label or answer
whose probability is asked for later.
"""

from __future__ import annotations

import string
from collections.abc import Mapping

from hfgen.errors import InvalidOption
from hfgen.generation.options.specs import unescaped

_ALLOWED = "a text with {column} placeholders, as '{question}\\nAnswer: {answer}'"
_SPELLINGS = str.maketrans({"\\": "\\\\", "\n": "\\n", "\t": "\\t", "{": "{{", "}": "}}"})


class RowTemplate:
    """A parsed template. Raises `InvalidOption` for one without placeholders or with odd braces."""

    def __init__(self, template: str) -> None:
        parts: list[tuple[str, str]] = []
        tail = ""
        try:
            for literal, name, spec, conversion in string.Formatter().parse(template):
                if name is None:
                    tail += unescaped(literal)
                    continue
                if not name.strip() or spec or conversion:
                    raise ValueError
                parts.append((tail + unescaped(literal), name.strip()))
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

    @property
    def prompt_form(self) -> str:
        """The template of the prompts: what stands before the last placeholder, as it is typed."""
        *before, (literal, _) = self._parts
        written = "".join(f"{spelled(text)}{{{name}}}" for text, name in before)
        return (written + spelled(literal)).rstrip(" ")

    def fill(self, values: Mapping[str, str]) -> tuple[str, str]:
        """The prompt and the completion of a row."""
        *before, (literal, last) = self._parts
        prompt = "".join(text + values[name] for text, name in before) + literal
        kept = prompt.rstrip(" ")
        return kept, prompt[len(kept) :] + values[last] + self._tail


def spelled(text: str) -> str:
    """Text as it is typed in a template."""
    return text.translate(_SPELLINGS)
