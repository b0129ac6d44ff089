"""Texts that were typed (a flag, a variable): escapes, lists with commas, names of files.

What comes as JSON or as a Python object is taken as it is, and is not read here.
"""

from __future__ import annotations

import contextlib
import json
import re
from pathlib import Path
from typing import Any

from hfgen.text_io import BYTE_ORDER_MARK, decoded, reading

ESCAPES = r"\n, \t and \\ are escapes"
"""The one rule for texts that are typed, in words."""
_ESCAPED = {"n": "\n", "t": "\t", "\\": "\\"}
_FILE_NAME = re.compile(r"[^\s{}]+\.(json|lark|txt)")


def unescaped(text: str) -> str:
    """Read the escapes of a text that was typed; any other backslash is itself."""
    return re.sub(r"\\([nt\\])", lambda match: _ESCAPED[match[1]], text)


def separated(value: Any) -> list[Any]:
    """The texts that one text or a list of them holds, each a JSON list or with commas between."""
    found: list[Any] = []
    for text in value if isinstance(value, list) else [value]:
        if not isinstance(text, str):
            found.append(text)
            continue
        parts: Any = None
        if text.lstrip().startswith("["):
            with contextlib.suppress(ValueError):
                parts = json.loads(text)
        if not isinstance(parts, list):
            parts = [part.strip() for part in text.split(",") if part.strip()]
        found += parts
    return found


def content_of(text: str) -> str:
    """The content of the file of that name; a text that names none is itself."""
    is_file = _FILE_NAME.fullmatch(text) is not None
    with contextlib.suppress(OSError, ValueError):
        is_file = is_file or Path(text).is_file()
    if not is_file:
        return text
    with reading(text):
        data = Path(text).read_bytes()
    return decoded(data.removeprefix(BYTE_ORDER_MARK), text, 1)
