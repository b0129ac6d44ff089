"""How many texts at once the memory allows."""

from __future__ import annotations

from typing import Any

from hfgen.errors import ModelUnsupported
from hfgen.models.sizing.estimate import need_of
from hfgen.models.sizing.memory import gpu_memory, main_memory
from hfgen.models.sizing.shape import shape_of

_MOST = {"cpu": 64, "cuda": 256}
_USUAL = 16
_SHARE = 0.6
"""Of the free memory; the cache is copied while it grows."""
_ASSUMED_WINDOW = 2048


def fitting_slots(lm: Any, *, processes: int = 1) -> int:
    """Choose the slots for a loaded model: a power of two that fits at full windows."""
    device = lm.model.device.type
    memory = gpu_memory(lm.model.device.index) if device == "cuda" else main_memory()
    if device not in _MOST or memory is None:
        return _USUAL
    try:
        shape = shape_of(lm.model.config.to_dict())
    except ModelUnsupported:
        return _USUAL
    dtype = "float32" if "32" in str(lm.model.dtype) else "bfloat16"
    room = _SHARE * memory.available_bytes / (processes if device == "cpu" else 1)
    slots = _MOST[device]
    while slots > 1:
        need = need_of(shape, dtype, None, lm.window or _ASSUMED_WINDOW, slots)
        if need.kv_bytes + need.working_bytes <= room:
            break
        slots //= 2
    return slots
