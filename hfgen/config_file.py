"""The user's config file: where it is, its values with their lines, and careful changes to it.

Knows no setting (`hfgen.settings` does). A change replaces, adds or removes the lines of one
statement and leaves every other line as the user wrote it; it is made only if the new text parses
to the old values with that one difference. Files are written aside and renamed: a full disk leaves
the old one. Standard library and platformdirs only.
"""

from __future__ import annotations

import contextlib
import copy
import os
import re
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from hfgen.atomic import write_whole
from hfgen.errors import ConfigError, DataError, OutputError
from hfgen.toml_text import Key, Statement, dotted, statements, to_toml, with_escapes, with_value

FOLDER_VARIABLE = "HFGEN_CONFIG_DIR"
"""Environment variable that replaces the folder of the config file."""
FILE_VARIABLE = "HFGEN_CONFIG"
"""Environment variable that names another file."""

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_BY_HAND = "change it with hfgen config edit"


def config_folder() -> Path:
    """Return the folder of the user's configuration (`HFGEN_CONFIG_DIR`, or the system's)."""
    if named := os.environ.get(FOLDER_VARIABLE):
        return Path(named).expanduser()
    import platformdirs

    return Path(platformdirs.user_config_dir("hfgen", appauthor=False))


def config_path() -> Path:
    """Return the path of the config file (`HFGEN_CONFIG`, or config.toml in the folder)."""
    if named := os.environ.get(FILE_VARIABLE):
        return Path(named).expanduser()
    return config_folder() / "config.toml"


@dataclass(frozen=True)
class Document:
    """The text of a config file that is valid TOML."""

    path: Path
    text: str = ""
    prefix: bytes = b""
    """The byte order mark of a file that has one."""

    @cached_property
    def values(self) -> dict[str, Any]:
        """The file's contents."""
        return tomllib.loads(self.text)

    @cached_property
    def lines(self) -> list[str]:
        """The lines, without their ends."""
        return [line.removesuffix("\r") for line in self.text.split("\n")]

    @cached_property
    def statements(self) -> list[Statement]:
        """The statements, in order."""
        return list(statements(self.lines))

    def typed(self, key: Key, read: Callable[[str], str]) -> Any:
        """The value of a key, with `read` applied to its 'literal strings'."""
        value: Any = self.values
        for name in key:
            value = value[name]
        owner = next((s for s in self.statements if s.key == key), None)
        if owner is None:
            return value
        return with_escapes("\n".join(self.lines[owner.first : owner.end]), read)

    def place(self, key: Key) -> str:
        """`file:line` of a key or table, as near as it can be found."""
        for length in range(len(key), 0, -1):
            for statement in self.statements:
                if statement.name[:length] == key[:length]:
                    return f"{self.path}:{statement.first + 1}"
        return str(self.path)

    def replaced(self, key: Key, value: Any) -> Document:
        """Return the document with another value of `key`, in place of the old or added."""
        expected = copy.deepcopy(self.values)
        table = expected
        for name in key[:-1]:
            table = table.setdefault(name, {})
            if not isinstance(table, dict):
                raise ConfigError(
                    f"{self.place(key)}: {dotted(key[:-1])} is no table", hint=_BY_HAND
                )
        written = to_toml(value)
        table[key[-1]] = tomllib.loads(f"value = {written}")["value"]
        lines = list(self.lines)
        owner = next((s for s in self.statements if s.key == key), None)
        if owner is not None:
            old = "\n".join(lines[owner.first : owner.end])
            lines[owner.first : owner.end] = with_value(old, written).split("\n")
        else:
            at, new = self._addition(key, written)
            lines[at:at] = new
        return self._changed(lines, expected, key)

    def removed(self, key: Key) -> Document | None:
        """Return the document without a key or table; None when it is not there."""
        expected = copy.deepcopy(self.values)
        table: Any = expected
        for name in key[:-1]:
            table = table.get(name) if isinstance(table, dict) else None
        if not isinstance(table, dict) or key[-1] not in table:
            return None
        del table[key[-1]]
        lines: list[str | None] = list(self.lines)
        for statement in self.statements:
            if statement.name[: len(key)] == key:
                lines[statement.first : statement.end] = [None] * (statement.end - statement.first)
        return self._changed([line for line in lines if line is not None], expected, key)

    def write(self) -> None:
        """Put the document in the file's place.

        Raises `OutputError` when it cannot be written; the old file is there then, unchanged.
        """
        write_file(self.path, self.prefix + self.text.encode())

    def _addition(self, key: Key, value: str) -> tuple[int, list[str]]:
        """Where a new key goes, and its lines."""
        parent = key[:-1]
        near = [s for s in self.statements if (s.key[:-1] if s.key else s.table) == parent]
        if near:
            return near[-1].end, [f"{dotted(key[len(near[-1].table) :])} = {value}"]
        if parent:
            end = len(self.lines) - (not self.lines[-1].strip())
            gap = [""] if end and self.lines[end - 1].strip() else []
            return end, [*gap, f"[{dotted(parent)}]", f"{dotted(key[-1:])} = {value}"]
        if not self.statements:
            end = len(self.lines) - (not self.lines[-1].strip())
            return end, [f"{dotted(key)} = {value}"]
        # Before the first table, and before the comment that belongs to it.
        at = self.statements[0].first
        while at and self.lines[at - 1].lstrip().startswith("#"):
            at -= 1
        return at, [f"{dotted(key)} = {value}", ""]

    def _changed(self, lines: list[str], expected: dict[str, Any], key: Key) -> Document:
        line_end = "\r\n" if "\r\n" in self.text else "\n"
        text = line_end.join(lines)
        if text and not text.endswith("\n"):
            text += line_end
        with contextlib.suppress(ValueError, UnicodeError):
            text.encode()
            if _without_empty_tables(tomllib.loads(text)) == _without_empty_tables(expected):
                return Document(self.path, text, self.prefix)
        raise ConfigError(
            f"{self.place(key)}: {dotted(key)} cannot be changed without rewriting what "
            "stands around it",
            hint=_BY_HAND,
        )


def read_document(*, is_new: bool = False) -> Document:
    """Read the config file; an absent one is empty, unless `HFGEN_CONFIG` names it.

    With `is_new` that one may be absent, too.
    Raises `ConfigError` with `file:line` when it is not valid TOML and `DataError` when it cannot
    be read.
    """
    path = config_path()
    try:
        data = path.read_bytes()
    except FileNotFoundError as error:
        if is_new or not os.environ.get(FILE_VARIABLE):
            return Document(path)
        raise DataError(
            f"there is no config file {path}, which {FILE_VARIABLE} names",
            hint=f"unset {FILE_VARIABLE}, or make the file with hfgen config edit",
        ) from error
    except OSError as error:
        raise DataError(
            f"cannot read the config file {path}: {error.strerror}",
            hint=f"check who may read it, or name another file in {FILE_VARIABLE}",
        ) from error
    return parse(path, data)


def parse(path: Path, data: bytes) -> Document:
    """Make a document of a file's bytes; raises `ConfigError` with `file:line`."""
    prefix = _BYTE_ORDER_MARK if data.startswith(_BYTE_ORDER_MARK) else b""
    try:
        text = data[len(prefix) :].decode("utf-8")
        tomllib.loads(text)
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, len(prefix) + error.start) + 1
        raise ConfigError(f"{path}:{line}: not valid UTF-8", hint=_BY_HAND) from error
    except (ValueError, RecursionError) as error:
        found = re.search(r" \(at line (\d+), column \d+\)$", str(error))
        line = int(found[1]) if found else len(text.rstrip().split("\n"))
        reason = "too deep" if isinstance(error, RecursionError) else str(error)
        reason = re.sub(r" \(at [^()]*\)$", "", reason)
        raise ConfigError(f"{path}:{line}: not valid TOML: {reason}", hint=_BY_HAND) from error
    return Document(path, text, prefix)


def write_file(path: Path, data: bytes) -> None:
    """Write a file aside and rename it into place, through a symbolic link to what it names."""
    target = Path(os.path.realpath(path))
    try:
        if target.exists() and not target.is_file():
            raise OutputError(f"{path} is no regular file", hint="name another config file")
        target.parent.mkdir(parents=True, exist_ok=True)
        write_whole(target, data, mode=0o600)
    except OSError as error:
        raise OutputError(
            f"cannot write the config file {path}: {error.strerror}",
            hint="it is as it was; check the free space and who may write there",
        ) from error


def _without_empty_tables(values: Mapping[str, Any]) -> dict[str, Any]:
    """The values without tables that hold none: removing a last key may leave its header."""
    cleaned = {
        name: _without_empty_tables(value) if isinstance(value, dict) else value
        for name, value in values.items()
    }
    return {name: value for name, value in cleaned.items() if value != {}}
