"""TOML as text: its statements with their lines, and values written as TOML.

The standard library reads TOML without line numbers and writes none. Here the text is cut into
statements, each parsed alone: the shortest run of lines that is valid TOML is one statement.
Standard library only.
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

Key = tuple[str, ...]
"""Names from the top level down: `("presets", "mine", "top_p")`."""

_BARE = re.compile(r"[A-Za-z0-9_-]+", re.ASCII)
# Strings and comments; a quote in one of them opens nothing.
_STRING = re.compile(
    r'"""(?:\\.|[^\\])*?"""+|\'\'\'.*?\'\'\'+|"(?:\\.|[^"\\])*"|\'[^\']*\'|#[^\n]*', re.DOTALL
)


@dataclass(frozen=True)
class Statement:
    """A table's header, or a key with its value: some lines of the text."""

    first: int
    """Index of its first line, from 0."""
    end: int
    """Index of the line after its last."""
    table: Key
    """The table it stands in; for a header, the one it opens."""
    key: Key | None
    """What it sets, counted from the top level; None for a header."""

    @property
    def name(self) -> Key:
        """The key, or the header's table."""
        return self.table if self.key is None else self.key


def statements(lines: list[str]) -> Iterator[Statement]:
    """Yield the statements of a valid text, given as lines without their ends."""
    table: Key = ()
    index = 0
    while index < len(lines):
        first, start = index, lines[index].lstrip()[:1]
        index += 1
        if start in ("", "#"):
            continue
        if start == "[":
            table = _only_key(tomllib.loads(lines[first]))
            yield Statement(first, index, table, None)
            continue
        while not _is_whole(lines[first:index]):
            index += 1
        text = "\n".join(lines[first:index])
        key = _only_key(tomllib.loads(text[: _equals(text)] + "0"))
        yield Statement(first, index, table, table + key)


def with_value(statement: str, value: str) -> str:
    """Return a statement with another value; its key, spaces and comment stay."""
    content = tomllib.loads(statement)
    begin = _equals(statement)
    comments = (i for i in _positions(statement, "#") if _parse(statement[:i]) == content)
    end = next(comments, len(statement))
    old = statement[begin:end]
    before = old[: len(old) - len(old.lstrip())]
    after = old[len(old.rstrip()) :] if end < len(statement) else ""
    return statement[:begin] + before + value + after + statement[end:]


def with_escapes(statement: str, read: Callable[[str], str]) -> Any:
    """The value of a statement, with `read` applied to its literal strings.

    TOML reads the escapes of "basic" strings itself, and leaves those of 'literal' ones alone.
    """
    content: Any = tomllib.loads(_STRING.sub(lambda found: _as_basic(found[0], read), statement))
    for name in _only_key(tomllib.loads(statement[: _equals(statement)] + "0")):
        content = content[name]
    return content


def to_toml(value: Any) -> str:
    """Write a value as TOML, on one line; raises `TypeError` for what TOML has no word for."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(to_toml, value)) + "]"
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{dotted((k,))} = {to_toml(v)}" for k, v in value.items()) + "}"
    raise TypeError(f"TOML has no {type(value).__name__}")


def dotted(key: Key) -> str:
    """Write a key as TOML does: `presets.mine.top_p`."""
    return ".".join(name if _BARE.fullmatch(name) else to_toml(name) for name in key)


def _is_whole(lines: list[str]) -> bool:
    """Whether the lines are a statement, and not the beginning of one."""
    # Only these close a value of several lines; asking for them keeps long lists cheap.
    if len(lines) > 1 and not re.search(r"\]|\}|'''|\"\"\"", lines[-1]):
        return False
    return _parse("\n".join(lines)) is not None


def _parse(text: str) -> dict[str, Any] | None:
    try:
        return tomllib.loads(text)
    except ValueError:
        return None


def _as_basic(string: str, read: Callable[[str], str]) -> str:
    if not string.startswith("'"):
        return string
    return to_toml(read(tomllib.loads(f"x = {string}")["x"]))


def _equals(statement: str) -> int:
    """Index behind the sign between key and value."""
    return next(i + 1 for i in _positions(statement, "=") if _parse(statement[:i] + "= 0"))


def _positions(text: str, character: str) -> Iterator[int]:
    return (index for index, found in enumerate(text) if found == character)


def _only_key(content: Any) -> Key:
    """The path to what a text with one key or one header says."""
    names = []
    while isinstance(content, dict) and content:
        ((name, content),) = content.items()
        names.append(name)
    return tuple(names)
