"""Values of a row's columns, checked: texts, optional texts, lists, the turns of a conversation."""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable, Sequence

from hfgen.mentions import mention
from hfgen.training.reading.json_documents import WrittenNumber
from hfgen.training.reading.rows import RawRow

INSTANCES = "instances"
_ROLES = {
    "system": "system", "developer": "system", "user": "user", "human": "user", "prompter": "user",
    "assistant": "assistant", "gpt": "assistant", "chatgpt": "assistant", "bot": "assistant",
    "model": "assistant", "ai": "assistant",
}  # fmt: skip
_TYPES = {
    type(None): "null", bool: "true or false", list: "a list", dict: "an object", bytes: "binary",
}  # fmt: skip
_NOT_FINITE = {"nan": "NaN", "inf": "Infinity", "-inf": "-Infinity"}
_THOUGHTS = ("reasoning_content", "reasoning", "thinking")
_LOST_PARTS = (*_THOUGHTS, "tool_calls", "function_call")
_COLUMNS_SHOWN = 12
_EMPTY_CELLS = frozenset(
    ("NaN", "nan", "-nan", "None", "NA", "N/A", "n/a", "#N/A", "<NA>", "NULL", "null")
)
"""What programs write into a table's cell that has no value."""


def quoted(names: Iterable[str]) -> str:
    """The names in backquotes, printable, at most a dozen of them."""
    shown = [f"`{_printable(name)}`" for name in names]
    return ", ".join(shown[:_COLUMNS_SHOWN] + ["…"] * (len(shown) > _COLUMNS_SHOWN))


def closest(name: str, names: list[str]) -> str:
    """A hint with the nearest of the columns."""
    near = difflib.get_close_matches(name, names, n=1)
    return f"did you mean {near[0]}?" if near else "name one of these columns"


def text_of(
    row: RawRow, column: str, *, may_be_empty: bool = False, may_be_bool: bool = False
) -> str:
    """The text in a column; numbers count as text. Raises `DataError` for anything else."""
    if column not in row.values:
        raise row.error(f"no {quoted([column])}; this row has {quoted(row.values) or 'nothing'}")
    value = row.values[column]
    if may_be_bool and isinstance(value, bool):
        return str(value).lower()
    if _is_empty_cell(row, value):
        if not may_be_empty:
            written = str(value).strip()
            raise row.error(
                f"{quoted([column])} is {written}, which stands for an empty cell in a table",
                hint=f"leave such rows out with {mention('on_bad_row', 'skip')}; "
                "if it is meant as a word, write the rows as JSON Lines",
            )
        return ""
    text = _as_text(row, value, quoted([column]))
    if not text and not may_be_empty:
        raise row.error(f"{quoted([column])} is empty")
    return text


def optional_text(row: RawRow, columns: Sequence[str]) -> str:
    """The text in the first of these columns that the row has, in any case of letters; else ""."""
    for name, value in row.values.items():
        is_empty = is_missing(value) or _is_empty_cell(row, value)
        if name.casefold() in columns and not is_empty:
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


def conversation_of(row: RawRow, column: str) -> tuple[tuple[tuple[str, str], ...], frozenset[int]]:
    """The turns of a conversation as (role, content), and the places of those of weight 0.

    Such a turn of the assistant is read and not learned, as OpenAI's fine-tuning has it. Raises
    `DataError` for an unknown speaker, for content that is no text, for what a turn holds beside
    its content and no template would write (reasoning, calls of tools), and where nothing can be
    learned: no assistant's turn, or one before anybody has spoken.
    """
    turns: list[tuple[str, str]] = []
    unlearned: set[int] = set()
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
        _refuse_lost_parts(row, item, where)
        if role == "assistant" and not _is_learned(row, item, where):
            unlearned.add(len(turns))
        turns.append((role, content))
    spoken = {place for place, (role, _) in enumerate(turns) if role == "assistant"}
    if not spoken - unlearned:
        why = ": each has weight 0" * bool(unlearned)
        raise row.error(f"{quoted([column])} has no turn of the assistant to learn{why}")
    return tuple(turns), frozenset(unlearned)


def _is_learned(row: RawRow, item: dict[str, object], where: str) -> bool:
    weight = item.get("weight")
    if weight is None:
        return True
    if isinstance(weight, bool) or weight not in (0, 1):
        raise row.error(f"{where}: the weight is {weight!r}, not 0 or 1")
    return weight == 1


def _refuse_lost_parts(row: RawRow, item: dict[str, object], where: str) -> None:
    for name in _LOST_PARTS:
        if not item.get(name):
            continue
        hint = f"leave such rows out with {mention('on_bad_row', 'skip')}, or remove it"
        if name in _THOUGHTS:
            hint = 'put it into the content, as "<think>…</think>" before the answer, or remove it'
        raise row.error(f"{where}: `{name}` would not be learned", hint=hint)


def _content(row: RawRow, value: object, where: str) -> str:
    if isinstance(value, list):
        parts = [part.get("text") if isinstance(part, dict) else part for part in value]
        if not all(isinstance(part, str) for part in parts):
            raise row.error(f"{where}: the content has parts that are not text")
        value = "".join(str(part) for part in parts)
    return _as_text(row, value, where)


def _as_text(row: RawRow, value: object, where: str) -> str:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if isinstance(value, float) and not math.isfinite(value) and not _has_digits(value):
        raise row.error(f"{where} is {_NOT_FINITE[str(float(value))]}, not text")
    if not (is_number or isinstance(value, str)):
        raise row.error(f"{where} is {_type_name(value)}, not text")
    try:
        text = value.written if isinstance(value, WrittenNumber) else str(value)
        text.encode("utf-8")
    except UnicodeEncodeError:
        raise row.error(f"{where} is not valid Unicode text") from None
    except ValueError:
        raise row.error(f"{where} is a number of too many digits") from None
    return text


def is_missing(value: object) -> bool:
    """Whether it is null, or the NaN that stands for it."""
    # A table's empty cell may come as NaN, the one number that differs from itself.
    return value is None or (isinstance(value, float) and value != value)


def _is_empty_cell(row: RawRow, value: object) -> bool:
    return row.is_table and isinstance(value, str) and value.strip() in _EMPTY_CELLS


def _has_digits(value: float) -> bool:
    """Whether it is a number all the same, if too large for Python: `1e999`."""
    return isinstance(value, WrittenNumber) and any(map(str.isdigit, value.written))


def _type_name(value: object) -> str:
    return _TYPES.get(type(value), f"a {type(value).__name__}")


def _printable(name: str) -> str:
    short = name if len(name) <= 40 else name[:39] + "…"
    return short if short.isprintable() else ascii(short)[1:-1]
