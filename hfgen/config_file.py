"""The user's config file: where it is, its values with their lines, and careful changes to it.

Knows no setting (`hfgen.settings` does). The standard library reads, tomlkit changes: one
statement, and every other line stays as the user wrote it. A change is made only if the new text
parses to the old values with that one difference. Files are written aside and renamed: a full disk
leaves the old one. tomlkit is imported only for a change and for texts that may be 'literal'.
"""

from __future__ import annotations

import codecs
import contextlib
import copy
import os
import re
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hfgen.atomic import write_whole
from hfgen.errors import ConfigError, DataError, OutputError
from hfgen.toml_text import Key, dotted, drop, item_of, put, tables, to_toml, with_escapes

if TYPE_CHECKING:
    from tomlkit import TOMLDocument

FOLDER_VARIABLE = "HFGEN_CONFIG_DIR"
"""Environment variable that replaces the folder of the config file."""
FILE_VARIABLE = "HFGEN_CONFIG"
"""Environment variable that names another file."""

_BY_HAND = "change it with hfgen config edit"
_TEXT_BLOCK = re.compile(r'"""(?:\\.|[^\\])*?"""|\'\'\'.*?\'\'\'', re.DOTALL)
_PART = re.compile(r"""[\w-]+|"[^"]*"|'[^']*'""")
_NAME = re.compile(
    rf"\s*(\[{{0,2}})\s*((?:{_PART.pattern})(?:\s*\.\s*(?:{_PART.pattern}))*)"
    r"\s*(?:=|\]{1,2}\s*(?:#.*)?$)"
)


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

    def typed(self, key: Key, read: Callable[[str], str]) -> Any:
        """The value of a key, with `read` applied to its 'literal strings'.

        TOML reads the escapes of "basic" strings itself, and leaves those of 'literal' ones alone.
        """
        for table in tables(self._parsed(self.text, key), key[:-1]):
            if key[-1] in table:
                return with_escapes(table.item(key[-1]), read)
        raise KeyError(key)

    def place(self, key: Key) -> str:
        """`file:line` of a key or table, as near as it can be found."""
        table: Key = ()
        found: dict[Key, int] = {}
        text = _TEXT_BLOCK.sub(lambda block: "''" + "\n" * block[0].count("\n"), self.text)
        for line, words in enumerate(text.split("\n"), 1):
            if not (name := _NAME.match(words)):
                continue
            key_here = tuple(part.strip("\"'") for part in _PART.findall(name[2]))
            table = key_here if name[1] else table
            whole = table if name[1] else table + key_here
            for length in range(1, len(whole) + 1):
                found.setdefault(whole[:length], line)
        near = next((key[:n] for n in range(len(key), 0, -1) if key[:n] in found), None)
        return f"{self.path}:{found[near]}" if near else str(self.path)

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
        table[key[-1]] = tomllib.loads(f"value = {to_toml(value)}")["value"]
        text = self.text + "\n" * (self.text != "" and not self.text.endswith("\n"))
        document = self._parsed(text, key)
        if not tables(document, key[:-1]):
            gap = "\n" * (text.strip() != "" and not text.endswith("\n\n"))
            document = self._parsed(f"{text}{gap}[{dotted(key[:-1])}]\n", key)
        put(tables(document, key[:-1]), key[-1], item_of(value))
        return self._changed(document.as_string(), expected, key)

    def removed(self, key: Key) -> Document | None:
        """Return the document without a key or table; None when it is not there."""
        expected = copy.deepcopy(self.values)
        table: Any = expected
        for name in key[:-1]:
            table = table.get(name) if isinstance(table, dict) else None
        if not isinstance(table, dict) or key[-1] not in table:
            return None
        del table[key[-1]]
        document = self._parsed(self.text, key)
        for part in tables(document, key[:-1]):
            drop(part, key[-1])
        return self._changed(document.as_string(), expected, key)

    def write(self) -> None:
        """Put the document in the file's place.

        Raises `OutputError` when it cannot be written; the old file is there then, unchanged.
        """
        write_file(self.path, self.prefix + self.text.encode())

    def _parsed(self, text: str, key: Key) -> TOMLDocument:
        import tomlkit
        from tomlkit.exceptions import TOMLKitError

        try:
            return tomlkit.parse(text)
        except TOMLKitError as error:
            raise ConfigError(
                f"{self.place(key)}: cannot be read: {error}", hint=_BY_HAND
            ) from error

    def _changed(self, text: str, expected: dict[str, Any], key: Key) -> Document:
        """The document of a changed text, if that says what it should."""
        if "\r\n" in self.text:
            text = re.sub(r"(?<!\r)\n", "\r\n", text)
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
    prefix = codecs.BOM_UTF8 if data.startswith(codecs.BOM_UTF8) else b""
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
