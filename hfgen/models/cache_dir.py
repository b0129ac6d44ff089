"""Where hfgen keeps files of its own on this machine."""

from __future__ import annotations

import os
from pathlib import Path

CACHE_VARIABLE = "HFGEN_CACHE_DIR"


def own_cache_folder() -> Path:
    """Return hfgen's cache folder (`HFGEN_CACHE_DIR`, or the system's place for caches)."""
    chosen = os.environ.get(CACHE_VARIABLE)
    if chosen:
        return Path(os.path.expanduser(chosen))  # noqa: PTH111  # never raises
    import platformdirs

    return Path(platformdirs.user_cache_dir("hfgen", appauthor=False))


def gguf_folder() -> Path:
    """Return the folder of converted GGUF files."""
    return own_cache_folder() / "gguf"
