"""Options as messages mention them: marked, and spelled where the reader's language is known.

A message of the library says `mention("overflow", "truncate")`; a Python program reads
`overflow="truncate"`, a command line `--overflow truncate`, a config file `overflow = "truncate"`.
The marks are two noncharacters, which Unicode reserves for a program's own use. Imports only the
standard library.
"""

from __future__ import annotations

import json
import re
from typing import Protocol

_OPEN, _CLOSE = "\ufdd0", "\ufdd1"
_MENTION = re.compile(f"{_OPEN}([^={_CLOSE}]+)(?:=([^{_CLOSE}]*))?{_CLOSE}")


class Spelling(Protocol):
    """How options are written where a message is read."""

    def option(self, name: str) -> str:
        """An option without a value."""

    def setting(self, name: str, value: str | float | bool) -> str:
        """An option with a value to give it."""

    def given(self, name: str, value: str) -> str:
        """An option as the user gave it; `value` is its value as Python shows it."""


class PythonSpelling:
    """Keyword arguments."""

    def option(self, name: str) -> str:
        """The name."""
        return name

    def setting(self, name: str, value: str | float | bool) -> str:
        """As in a call."""
        shown = json.dumps(value, ensure_ascii=False) if isinstance(value, str) else repr(value)
        return f"{name}={shown}"

    def given(self, name: str, value: str) -> str:
        """The name and its value."""
        return f"{name} = {value}"


PYTHON = PythonSpelling()


def mention(name: str, value: object = None) -> str:
    """An option in a message or hint, with a value to give it where one is named."""
    if value is None:
        return f"{_OPEN}{name}{_CLOSE}"
    known = value if isinstance(value, bool | int | float) else str(value)
    return f"{_OPEN}{name}={json.dumps(known)}{_CLOSE}"


def spelled(text: str, spelling: Spelling = PYTHON) -> str:
    """The text with its mentions spelled."""

    def spell(match: re.Match[str]) -> str:
        name, value = match.groups()
        if value is None:
            return spelling.option(name)
        return spelling.setting(name, json.loads(value))

    return _MENTION.sub(spell, text)


def mentioned(text: str) -> tuple[str, ...]:
    """The options that a text mentions, in order."""
    return tuple(match[1] for match in _MENTION.finditer(text))
