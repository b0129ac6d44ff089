"""The user's editor, on files and on texts."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path

from hfgen.errors import HfgenError


def run_editor(path: Path) -> int:
    """Have the user edit a file; return the editor's exit status.

    Raises `HfgenError` where the editor cannot be started.
    """
    fallback = "notepad" if sys.platform == "win32" else "vi"
    name = os.environ.get("VISUAL") or os.environ.get("EDITOR") or fallback
    try:
        command = shlex.split(name, posix=sys.platform != "win32")
        return subprocess.call([*command, str(path)])
    except (OSError, ValueError) as error:
        reason = (error.strerror if isinstance(error, OSError) else None) or str(error)
        raise HfgenError(
            f"cannot start the editor {name!r}: {reason}", hint="name another in EDITOR"
        ) from error


def edited_text(text: str) -> str | None:
    """Have the user edit a text; None where the editor failed. Raises what `run_editor` does."""
    with tempfile.TemporaryDirectory(prefix="hfgen-") as folder:
        path = Path(folder, "message.md")
        path.write_text(text + "\n", encoding="utf-8")
        if run_editor(path) != 0:
            return None
        return path.read_text(encoding="utf-8", errors="replace").rstrip("\n")
