"""Rows that a program gives, in the place of data files."""

from __future__ import annotations

import io
import json
from collections.abc import Iterable, Mapping
from pathlib import Path

from hfgen.errors import UsageError

Rows = Iterable[Mapping[str, object]]


class GivenRows(io.BytesIO):
    """Rows as JSON Lines, read where standard input would be."""

    label = "rows"
    """What errors call them: `rows:3: …` is about the third one."""


def given_rows(data: object) -> GivenRows | None:
    """The rows that `data` holds; None where it names files.

    Raises `UsageError` for what is neither, and for values that JSON does not have.
    """
    if isinstance(data, str | Path) or not isinstance(data, Iterable):
        return None
    items = list(data)
    if not items or all(isinstance(item, str | Path) for item in items):
        return None
    lines = []
    for number, item in enumerate(items, 1):
        if not isinstance(item, Mapping):
            raise UsageError(
                f"rows:{number}: a row must be a dict, not a {type(item).__name__}",
                hint="give names of files, or rows as dicts",
            )
        try:
            lines.append(json.dumps(dict(item), ensure_ascii=False))
        except (TypeError, ValueError) as error:
            raise UsageError(
                f"rows:{number}: {error}", hint="give texts, numbers, lists and dicts"
            ) from error
    return GivenRows("\n".join(lines).encode("utf-8", "surrogatepass"))
