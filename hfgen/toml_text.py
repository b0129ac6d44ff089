"""TOML as the user wrote it: values written as TOML, and changes in tomlkit's tree.

tomlkit keeps comments, order and spaces. Two things are done here in the tree itself, since a
comment above a table belongs to that table for the user and to the one before it for tomlkit: a
new key goes behind the last one of its table, and a removed table leaves what stands behind it.
tomlkit is imported only when there is something to change.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tomlkit.container import Container
    from tomlkit.items import Item
    from tomlkit.items import Key as TomlKey

Key = tuple[str, ...]
"""Names from the top level down: `("presets", "mine", "top_p")`."""


def item_of(value: Any) -> Item:
    """Make a value of one line; raises `TypeError` for what TOML has no word for."""
    import tomlkit

    if isinstance(value, Mapping):
        table = tomlkit.inline_table()
        table.update(value)
        return table
    holder = tomlkit.array()
    holder.append(value)
    return holder.item(0)


def to_toml(value: Any) -> str:
    """Write a value as TOML, on one line; raises `TypeError` for what TOML has no word for."""
    return item_of(value).as_string()


def dotted(key: Key) -> str:
    """Write a key as TOML does: `presets.mine.top_p`."""
    if all(name.replace("-", "_").isidentifier() and name.isascii() for name in key):
        return ".".join(key)
    import tomlkit

    return tomlkit.key(key).as_string()


def tables(document: Container, path: Key) -> list[Container]:
    """The parts of a table, in order: TOML lets it be written in several places."""
    from tomlkit.items import AbstractTable

    found = [document]
    for name in path:
        found = [
            item.value
            for table in found
            for key, item in table.body
            if key is not None and key.key == name and isinstance(item, AbstractTable)
        ]
    return found


def put(parts: list[Container], name: str, item: Item) -> None:
    """Set a key of a table: in the place of its old value, or behind the table's last key."""
    from tomlkit import TOMLDocument
    from tomlkit.items import SingleKey, Whitespace

    for part in parts:
        if name in part:
            part[name] = item
            return
    body = parts[-1].body
    values = [at for at, (key, value) in enumerate(body) if key and not _is_header(key, value)]
    headers = [at for at, (key, value) in enumerate(body) if key and _is_header(key, value)]
    if values:
        at = values[-1] + 1
    elif headers:
        at = _before_comment(body, headers[0])
    else:
        at = len(body) if isinstance(parts[-1], TOMLDocument) else 0
    item.trivia.trail = "\n"
    body.insert(at, (SingleKey(name), item))
    if headers and not values:
        body.insert(at + 1, (None, Whitespace("\n")))


def drop(part: Container, name: str) -> None:
    """Remove a key or table; comments and empty lines behind a table stay."""
    from tomlkit.items import Whitespace

    for at, (key, item) in enumerate(part.body):
        if key is not None and key.key == name:
            part.body[at] = (None, Whitespace(_tail(item)))


def with_escapes(item: Any, read: Callable[[str], str]) -> Any:
    """The plain value of an item, with `read` applied to its 'literal strings', keys included."""
    from tomlkit.items import AbstractTable, Item, String

    if isinstance(item, String):
        return read(str(item)) if item.type.is_literal() else str(item)
    if isinstance(item, list):
        return [with_escapes(one, read) for one in item]
    if isinstance(item, AbstractTable):
        return {
            read(key.key) if key.as_string().startswith("'") else key.key: with_escapes(one, read)
            for key, one in item.value.body
            if key is not None
        }
    return item.unwrap() if isinstance(item, Item) else item


def _is_header(key: TomlKey, item: Item) -> bool:
    return not key.is_dotted() and (item.is_table() or item.is_aot())


def _before_comment(body: list[tuple[TomlKey | None, Item]], at: int) -> int:
    """Where the comment begins that belongs to the table there."""
    from tomlkit.items import Comment

    while at and isinstance(body[at - 1][1], Comment):
        at -= 1
    return at


def _tail(item: Item) -> str:
    """The comments and empty lines behind a table's last key."""
    if not item.is_table():
        return ""
    tail = ""
    for key, one in reversed(item.value.body):
        if key is not None:
            return _tail(one) + tail
        tail = one.as_string() + tail
    return tail
