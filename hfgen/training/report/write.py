"""A run's report as JSON, written so that people can read it.

Any tree of dataclasses of plain values. A number that is not finite has no JSON: it is null, and
a note says where. Knows nothing of what the values mean, but that an evaluation has a perplexity.
"""

from __future__ import annotations

import dataclasses
import json
import math
import re
from collections.abc import Iterable, Mapping
from typing import Any

from hfgen.training.events import Evaluation

_PLACES_NAMED = 5
_SURROGATE = re.compile("[\ud800-\udfff]")


def plain(report: Any) -> tuple[dict[str, Any], str | None]:
    """A dataclass as JSON can hold it, and a note on what it could not."""
    not_finite: list[str] = []
    values = _plain(report, "", not_finite)
    if not not_finite:
        return values, None
    named = ", ".join(not_finite[:_PLACES_NAMED]) + ", …" * (len(not_finite) > _PLACES_NAMED)
    return values, f"null for a number that was not finite, {len(not_finite)}×: {named}"


def text(values: Mapping[str, Any], *, line_by_line: Iterable[str]) -> str:
    """An object as JSON; the items of the lists of these names have a line each."""
    rows = json.JSONEncoder(ensure_ascii=False)
    parts = []
    for name, value in values.items():
        if name in line_by_line and value:
            shown = "[\n    " + ",\n    ".join(map(rows.encode, value)) + "\n  ]"
        else:
            shown = json.dumps(value, ensure_ascii=False, indent=2).replace("\n", "\n  ")
        parts.append(f"  {json.dumps(name)}: {shown}")
    written = "{\n" + ",\n".join(parts) + "\n}\n"
    # Names of files may hold bytes that are no text, and those have no UTF-8.
    return _SURROGATE.sub(lambda found: f"\\u{ord(found[0]):04x}", written)


def _plain(value: Any, place: str, not_finite: list[str]) -> Any:
    """A value as JSON can hold it; where it cannot, None, and the place is noted."""
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, float):
        if math.isfinite(value):
            return value
        not_finite.append(place.removeprefix("."))
        return None
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        names = [field.name for field in dataclasses.fields(value)]
        found = {n: _plain(getattr(value, n), f"{place}.{n}", not_finite) for n in names}
        if isinstance(value, Evaluation):
            found["perplexity"] = None if found["loss"] is None else value.perplexity
        return found
    if isinstance(value, Mapping):
        return {str(k): _plain(v, f"{place}.{k}", not_finite) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(v, f"{place}[{i}]", not_finite) for i, v in enumerate(value)]
    return str(value)
