"""One line of warning before a model is loaded that will hardly fit into the memory.

Looks at the configuration and at what is free, before torch is imported where no GPU will be used.
It never stops a load: the system may have more to give (compressed memory, swap) than it tells.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from hfgen.errors import HfgenError, ModelDamaged
from hfgen.models.checkpoint.layout import read_config
from hfgen.models.checkpoint.weights import find_weights
from hfgen.models.naming.resolve import Progress, ResolvedModel
from hfgen.models.sizing.estimate import in_gigabytes, local_shape, need_of
from hfgen.models.sizing.memory import Memory, has_nvidia_driver, main_memory
from hfgen.models.sizing.shape import shape_of

if TYPE_CHECKING:
    import torch

_CONTEXT = 512


def warn_of_main_memory(
    resolved: ResolvedModel, device: str, dtype: str, notify: Progress | None
) -> None:
    """Warn when the model will run on the CPU and does not fit; names as the user gave them."""
    is_gpu = device not in ("auto", "cpu") or (device == "auto" and has_nvidia_driver())
    if notify is None or is_gpu:
        return
    if dtype == "auto":
        dtype = "float32"
    if text := warning(resolved, dtype, main_memory()):
        notify(text)


def check_size(folder: Path) -> None:
    """Refuse a configuration that is of a far larger model than the weights beside it.

    Transformers would build that model first, and make up what is missing; gigabytes go before
    anything is found to be wrong.
    """
    try:
        shape = shape_of(read_config(folder))
    except (HfgenError, ArithmeticError):
        return
    weights = find_weights(folder)
    if weights.is_pickled:  # the unpickler has the first word
        return
    size = sum(file.stat().st_size for file in weights.files)
    # Even two bits a weight would take more.
    if shape.weights > 4 * size:
        raise ModelDamaged(
            f"{folder / 'config.json'} describes a model of {shape.weights:,} weights, but the "
            f"weight files have only {size:,} bytes",
            hint="the files belong to different models; fetch the model's files again",
        )


def warn_of_gpu_memory(
    resolved: ResolvedModel, device: torch.device, dtype: torch.dtype, notify: Progress | None
) -> None:
    """Warn when the GPU that was chosen has too little memory left."""
    if notify is None or device.type != "cuda":
        return
    import torch

    available, total = torch.cuda.mem_get_info(device)
    name = str(dtype).removeprefix("torch.")
    if text := warning(resolved, name, Memory("GPU", total, available)):
        notify(text)


def warning(resolved: ResolvedModel, dtype: str, memory: Memory | None) -> str | None:
    """Tell in one line when a model that is about to be loaded does not fit; None when it does.

    Cheap, and never an error: what cannot be read here is reported by the loading itself.
    """
    if memory is None:
        return None
    try:
        shape, saved_as = local_shape(resolved)
    except (HfgenError, ArithmeticError):
        return None
    context = min(_CONTEXT, shape.window or _CONTEXT)
    need = need_of(shape, dtype, saved_as, context, 1)
    if need.peak_bytes <= memory.available_bytes:
        return None
    where = "GPU memory" if memory.device == "GPU" else "memory"
    return (
        f"{resolved.name} needs about {in_gigabytes(need.peak_bytes)} in {dtype}, but only "
        f"{in_gigabytes(memory.available_bytes)} of {where} are free (hfgen estimate tells more)"
    )
