"""The forms of models' names, and which of them mean a repository of the Hub."""

from __future__ import annotations

import os
import re
from pathlib import Path

from hfgen.models.checkpoint.layout import CONFIG
from hfgen.models.naming import catalogue

HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*", re.ASCII)
WEIGHTS = (".safetensors", ".bin", ".gguf", ".pt", ".pth", ".h5", ".onnx")
REVISION = re.compile(r"(?!.*(\.\.|//))[\w][\w./+-]*", re.ASCII)


def hub_name(name: str) -> tuple[str, str | None, catalogue.Entry | None] | None:
    """Return the repository, revision and catalogue entry that a name means.

    None when it means no model of the Hub: a path, the bundled model, a folder, or nothing.
    """
    repo_id, at, revision = name.partition("@")
    entry = catalogue.find(repo_id)
    if at and not REVISION.fullmatch(revision):
        return None
    if entry is not None:
        return None if entry.repo_id is None else (entry.repo_id, revision or None, entry)
    if not HUB_ID.fullmatch(repo_id) or (Path(name) / CONFIG).is_file():
        return None
    return repo_id, revision or None, catalogue.entry_of(repo_id)


def is_path(name: str) -> bool:
    """Whether a name is written as a path: `./name`, `/name`, `~/name`, `name/`."""
    separators = tuple(filter(None, ("/", os.sep, os.altsep)))
    return name.startswith((".", "~", *separators)) or name.endswith(separators) or bool(
        Path(name).drive
    )  # fmt: skip


def is_weight_file(name: str) -> bool:
    """Whether a name is that of a file, by its ending or as there is one."""
    return name.lower().endswith(WEIGHTS) or Path(name).is_file()


def shadowed(name: str, what: str = "the catalogue's model") -> tuple[str, ...]:
    """A notice when a folder has the name of an alias."""
    if not (Path(name) / CONFIG).is_file():
        return ()
    return (f"{name} is {what}; for the folder of that name write ./{name}",)
