"""An explanation as one self-contained page: data and code in it, nothing fetched."""

from __future__ import annotations

import json
from importlib.resources import files
from typing import Any

_PLACE = "/*DATA*/"
_MATRICES = ("similarity", "sinusoidal_similarity")
_MOST_ROWS = 256


def page(document: dict[str, Any]) -> str:
    """The page of a document that `hfgen explain --json` would write."""
    for name in _MATRICES:
        if name in document:
            step = 1 + len(document[name]) // _MOST_ROWS
            thinned = [row[::step] for row in document[name][::step]]
            document = document | {name: thinned}
    template = files("hfgen.cli.explaining").joinpath("page.html").read_text(encoding="utf-8")
    data = json.dumps(_rounded(document), ensure_ascii=False, separators=(",", ":"))
    # A text may hold what would end the script.
    return template.replace(_PLACE, data.replace("<", r"\u003c"))


def _rounded(value: Any) -> Any:
    """Numbers to four digits: a page of 1,024 tokens would be too big otherwise."""
    if isinstance(value, float):
        return float(f"{value:.4g}")
    if isinstance(value, dict):
        return {key: _rounded(one) for key, one in value.items()}
    if isinstance(value, list):
        return [_rounded(one) for one in value]
    return value
