"""peft and bitsandbytes, imported so that nothing of it reaches the user or the network.

peft imports bitsandbytes wherever that is installed. On some processors bitsandbytes then looks
for a kernel on the Hub, by the package `kernels`, and writes to standard error that it has none.
"""

from __future__ import annotations

import importlib.util
import logging
import sys
from types import ModuleType
from typing import Any

from hfgen.models.silence import quick_imports

_MISSING = object()


def import_peft() -> Any:
    """Import and return peft."""
    with quick_imports():
        import_bitsandbytes()
        import peft
    return peft


def import_bitsandbytes() -> Any:
    """Import and return bitsandbytes; None where it is not installed, or cannot be imported."""
    if "bitsandbytes" in sys.modules:
        return sys.modules["bitsandbytes"]
    if importlib.util.find_spec("bitsandbytes") is None:
        return None
    logger = logging.getLogger("bitsandbytes")
    level = logger.level
    kernels: Any = sys.modules.get("kernels", _MISSING)
    logger.setLevel(logging.CRITICAL + 1)
    modules: dict[str, ModuleType | None] = dict.fromkeys(["kernels"])
    sys.modules.update(modules)  # type: ignore[arg-type]  # None: importing it fails
    try:
        return importlib.import_module("bitsandbytes")
    except ImportError:
        return None
    finally:
        logger.setLevel(level)
        del sys.modules["kernels"]
        if kernels is not _MISSING:
            sys.modules["kernels"] = kernels
