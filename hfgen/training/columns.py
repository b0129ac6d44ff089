"""Values of a row's columns, checked: texts, optional texts, lists, the turns of a conversation."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence

from hfgen.training.rows import RawRow

INSTANCES = "instances"
_ROLES = {
    "system": "system", "developer": "system", "user": "user", "human": "user", "prompter": "user",
    "assistant": "assistant", "gpt": "assistant", "chatgpt": "assistant", "bot": "assistant",
    "model": "assistant", "ai": "assistant",
}  # fmt: skip
_TYPES = {
    type(None): "null", bool: "true or false", list: "a list", dict: "an object", bytes: "binary",
}  # fmt: skip
_COLUMNS_SHOWN = 12


def quoted(names: Iterable[str]) -> str:
    """The names in backquotes, printable, at most a dozen of them."""
    shown = [f"`{_printable(name)}`" for name in names]
    return ", ".join(shown[:_COLUMNS_SHOWN] + ["…"] * (len(shown) > _COLUMNS_SHOWN))


def closest(name: str, names: list[str]) -> str:
    """A hint with the nearest of the columns."""
    near = difflib.get_close_matches(name, names, n=1)
    return f"did you mean {near[0]}?" if near else "name one of these columns"


def text_of(row: RawRow, column: str, *, may_be_empty: bool = False) -> str:
    """The text in a column; numbers count as text. Raises `DataError` for anything else."""
    if column not in row.values:
        raise row.error(f"no {quoted([column])}; this row has {quoted(row.values) or 'nothing'}")
    text = _as_text(row, row.values[column], quoted([column]))
    if not text and not may_be_empty:
        raise row.error(f"{quoted([column])} is empty")
    return text


def optional_text(row: RawRow, columns: Sequence[str]) -> str:
    """The text in the first of these columns that the row has, in any case of letters; else ""."""
    for name, value in row.values.items():
        if name.casefold() in columns and not _is_missing(value):
            return _as_text(row, value, quoted([name]))
    return ""


def items_of(row: RawRow, column: str) -> list[dict[str, object]]:
    """The objects in a column's list. Raises `DataError` where it is none, or empty."""
    value = row.values.get(column)
    if not isinstance(value, list) or not value:
        what = "an empty list" if value == [] else _type_name(value)
        raise row.error(f"{quoted([column])} is {what}, not a list of objects")
    for number, item in enumerate(value, 1):
        if not isinstance(item, dict):
            raise row.error(f"{quoted([column])}, item {number}: {_type_name(item)}, not an object")
    return value


def conversation_of(row: RawRow, column: str) -> tuple[tuple[str, str], ...]:
    """The turns of a conversation as (role, content).

    Raises `DataError` for an unknown speaker, for content that is no text, and where nothing can
    be learned: no assistant's turn, or one before anybody has spoken.
    """
    turns: list[tuple[str, str]] = []
    for number, item in enumerate(items_of(row, column), 1):
        where = f"{quoted([column])}, turn {number}"
        speaker = item.get("role", item.get("from"))
        role = _ROLES.get(speaker.casefold()) if isinstance(speaker, str) else None
        if role is None:
            shown = f"`{_printable(speaker)}`" if isinstance(speaker, str) else _type_name(speaker)
            raise row.error(f"{where}: the speaker is {shown}, not system, user or assistant")
        content = _content(row, item.get("content", item.get("value")), where)
        if role == "assistant" and not content:
            raise row.error(f"{where}: the assistant's turn is empty")
        if role == "assistant" and not turns:
            raise row.error(f"{where}: the assistant speaks first; there is nothing to answer")
        turns.append((role, content))
    if not any(role == "assistant" for role, _ in turns):
        raise row.error(f"{quoted([column])} has no turn of the assistant to learn")
    return tuple(turns)


def _content(row: RawRow, value: object, where: str) -> str:
    if isinstance(value, list):
        parts = [part.get("text") if isinstance(part, dict) else part for part in value]
        if not all(isinstance(part, str) for part in parts):
            raise row.error(f"{where}: the content has parts that are not text")
        value = "".join(str(part) for part in parts)
    return _as_text(row, value, where)


def _as_text(row: RawRow, value: object, where: str) -> str:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if _is_missing(value) or not (is_number or isinstance(value, str)):
        what = "null" if _is_missing(value) else _type_name(value)
        raise row.error(f"{where} is {what}, not text")
    try:
        text = str(value)
        text.encode("utf-8")
    except UnicodeEncodeError:
        raise row.error(f"{where} is not valid Unicode text") from None
    except ValueError:
        raise row.error(f"{where} is a number of too many digits") from None
    return text


def _is_missing(value: object) -> bool:
    # A table's empty cell may come as NaN, the one number that differs from itself.
    return value is None or (isinstance(value, float) and value != value)


def _type_name(value: object) -> str:
    return _TYPES.get(type(value), f"a {type(value).__name__}")


def _printable(name: str) -> str:
    short = name if len(name) <= 40 else name[:39] + "…"
    return short if short.isprintable() else ascii(short)[1:-1]
