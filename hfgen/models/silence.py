"""Keeping the libraries underneath silent while they work.

The library never prints, and neither may what it calls: failures reach the user as exceptions, and
what is worth saying is said by hfgen. Verbosity is put back afterwards, because the process may be
somebody else's program.
"""

from __future__ import annotations

import gc
import logging
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

_LOGGERS = ("transformers", "huggingface_hub", "torch", "accelerate", "peft", "safetensors")

_MANY_MODULES = 500

is_own_process = False
"""Set by the program: nothing in this process belongs to anybody else."""


@contextmanager
def quiet() -> Iterator[None]:
    """Suppress warnings, log lines and progress bars of the libraries that are imported by now.

    A library sets its own log level when it is imported: import first, then enter.
    """
    loggers = [logging.getLogger(name) for name in _LOGGERS]
    levels = [logger.level for logger in loggers]
    # Looked up, not imported: who has not loaded Transformers has no bar of it to hide.
    bars: Any = sys.modules.get("transformers.utils.logging")
    had_bars = bars is not None and bars.is_progress_bar_enabled()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            for logger in loggers:
                logger.setLevel(logging.CRITICAL + 1)
            if had_bars:
                bars.disable_progress_bar()
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)
            if had_bars:
                bars.enable_progress_bar()


@contextmanager
def quick_imports() -> Iterator[None]:
    """Import without the garbage collector, which would walk all modules again and again.

    Modules stay for good. In hfgen's own process they are moved out of the collector's sight in
    the end, after one collection, since garbage must not stay with them: that shortens later
    collections. In a process of somebody else's, whose garbage would stay, too, in one that
    imported little (a second model), and in one that had the collector switched off, nothing is
    moved.
    """
    was_enabled = gc.isenabled()
    imported = len(sys.modules)
    gc.disable()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            yield
        finally:
            if was_enabled:
                if is_own_process and len(sys.modules) - imported > _MANY_MODULES:
                    gc.collect()
                    gc.freeze()
                gc.enable()
