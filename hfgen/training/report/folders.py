"""Paths and commands as a model card may show them: without the folders of the machine."""

from __future__ import annotations

import re
import shlex
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hfgen.training.report.record import RunReport

_OUTSIDE = re.compile(r"([/\\~]|\.\.(?=[/\\]|$)|[A-Za-z]:[/\\])")
"""How a path begins that leads out of the current folder."""
_BEFORE_PATH = re.compile(r"-[A-Za-z](?=[/\\~])|[\w-]+=")
TEXT_OPTIONS = ("--template", "template")
"""Options whose value is a text, which may look like a path."""


def base_name(path: str) -> str:
    """The last part of a path or of a Hub id, in the manner of any system."""
    return re.split(r"[/\\]", path.rstrip("/\\"))[-1]


def without_folders(word: str, *, private: frozenset[str] = frozenset()) -> str:
    """A word of a command line without the folders of a path that leads out of the current one.

    Words in `private` are such paths too, however they are written.
    """
    found = _BEFORE_PATH.match(word)
    option, path = (found[0], word[found.end() :]) if found else ("", word)
    if path in private or _OUTSIDE.match(path):
        return option + (base_name(path) or ".")
    return word


def command(report: RunReport) -> str | None:
    """The command that repeats a run; None where none is known."""
    try:
        words = shlex.split(report.command or "")
    except ValueError:
        return None
    files = (*report.data.files, *report.data.validation_files)
    private = frozenset({report.output, *(file.name for file in files)})
    if report.base.repo_id is None:
        private |= {report.base.name}
    shown = [
        word
        if before in TEXT_OPTIONS or word.startswith("--template=")
        else without_folders(word, private=private)
        for before, word in zip(["", *words], words, strict=False)
    ]
    return shlex.join(shown) or None
