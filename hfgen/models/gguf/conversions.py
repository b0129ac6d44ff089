"""The converted GGUF files in hfgen's cache: which there are, and removing one.

`hfgen.models.gguf.cached` makes them; here they are read by the note that each has of its source.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path

from hfgen.errors import UsageError
from hfgen.models.cache_dir import gguf_folder

NOTE = "hfgen.json"
"""The file in a conversion that says what it was made of."""


@dataclass(frozen=True)
class Conversion:
    """A converted GGUF file."""

    name: str
    """The file's name when it was converted."""
    key: str
    """The folder's name, which follows from the file's contents."""
    path: Path
    size_bytes: int


def conversions() -> list[Conversion]:
    """Return the converted files, by name."""
    try:
        folders = [path for path in gguf_folder().iterdir() if (path / NOTE).is_file()]
    except OSError:
        return []
    found = [_described(folder) for folder in folders if folder.suffix != ".partial"]
    return sorted(found, key=lambda one: (one.name, one.key))


def find_conversion(name: str) -> Conversion | None:
    """Return the conversion of that file name, path or key.

    Raises `UsageError` where several files had the name.
    """
    wanted = Path(name).name
    found = [one for one in conversions() if name == one.key or wanted == one.name]
    if len(found) > 1:
        keys = ", ".join(one.key for one in found)
        raise UsageError(
            f"{len(found)} different files named {wanted} were converted: {keys}",
            hint=f"name one by its key: hfgen models rm {found[0].key}",
        )
    return found[0] if found else None


def remove(conversion: Conversion) -> None:
    """Remove a conversion, with the stamps that lead to it; the GGUF file stays."""
    for stamp in (gguf_folder() / "stamps").glob("*"):
        try:
            if stamp.read_text("ascii") == conversion.key:
                stamp.unlink()
        except (OSError, ValueError):
            continue
    shutil.rmtree(conversion.path, ignore_errors=True)


def _described(folder: Path) -> Conversion:
    try:
        name = str(json.loads((folder / NOTE).read_text("utf-8"))["source"])
    except (OSError, ValueError, KeyError, TypeError):
        name = folder.name
    size = sum(file.stat().st_size for file in folder.iterdir() if file.is_file())
    return Conversion(name, folder.name, folder, size)
