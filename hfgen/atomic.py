"""Files that are written whole or not at all: aside, synced, renamed.

Knows nothing of what is in them. A failure leaves what was there before and nothing else.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
from pathlib import Path


def write_whole(path: Path, data: bytes, *, mode: int = 0o666) -> None:
    """Write a file under another name and rename it, through a symbolic link to what it names.

    A file that was there keeps its permissions, a new one has `mode` less the umask. Raises
    `OSError`.
    """
    target = Path(os.path.realpath(path))
    aside = target.with_name(f".hfgen-{secrets.token_hex(4)}.tmp")
    try:
        with open(aside, "xb", opener=lambda name, flags: os.open(name, flags, mode)) as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        if target.exists():
            shutil.copymode(target, aside)
        aside.replace(target)
    except BaseException:
        with contextlib.suppress(OSError):
            aside.unlink()
        raise


def rename_new(aside: Path, target: Path) -> None:
    """Give a file a name that nothing has by then. Raises `FileExistsError` where something has."""
    try:
        os.link(aside, target)
    except FileExistsError:
        raise
    except OSError:  # no hard links there
        os.close(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL))
        aside.replace(target)
    else:
        aside.unlink()
