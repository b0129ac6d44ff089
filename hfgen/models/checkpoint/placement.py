"""Where a model's weights lie and which attention kernel runs: names, checks, and arguments.

One device is the rule. `device_map` `auto` has accelerate spread a model over all GPUs, then the
memory, then the disk. Weights in safetensors files are read from there as they are needed; others
are written to a folder of hfgen's cache first, which goes when the model goes, at the latest with
the process (what a killed one left goes with the next one).
"""

from __future__ import annotations

import atexit
import contextlib
import importlib.util
import os
import shutil
import weakref
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hfgen.errors import (
    DeviceUnavailable,
    InvalidOption,
    MissingExtra,
    OptionConflict,
    OutOfMemory,
)
from hfgen.mentions import mention
from hfgen.models.cache_dir import own_cache_folder

if TYPE_CHECKING:
    import torch

DEVICE_MAPS = ("auto",)
QUANTIZATIONS = ("int8",)
ATTENTIONS = ("eager", "sdpa", "flash_attention_2")
FLASH = "flash_attention_2"

_OFFLOADED: list[Path] = []
"""Folders for the weights of this process's models."""


def check_device_map(name: str | None, device: str = "auto") -> str | None:
    """Return the name of a device map, or raise; `device` must be left to it."""
    if name is not None and name not in DEVICE_MAPS:
        raise InvalidOption("device_map", name, " or ".join(DEVICE_MAPS))
    if name is not None and device != "auto":
        raise OptionConflict(
            f"{mention('device_map')} {name} chooses the devices itself, "
            f"{mention('device')} {device} names one",
            hint="leave one of them out",
        )
    return name


def check_attention(name: str | None) -> str | None:
    """Return the name of an attention kernel, or raise when it is none or not installed."""
    if name is not None and name not in ATTENTIONS:
        raise InvalidOption("attn", name, ", ".join(ATTENTIONS))
    if name == FLASH and importlib.util.find_spec("flash_attn") is None:
        error = MissingExtra(f"attention by {FLASH}", "")
        error.hint = "pip install flash-attn (for a CUDA GPU), or use sdpa"
        raise error
    return name


def check_quantization(name: str | None) -> str | None:
    """Return the name of a precision to decode in, or raise."""
    if name is not None and name not in QUANTIZATIONS:
        raise InvalidOption("quantize", name, " or ".join(QUANTIZATIONS))
    return name


def check_flash(name: str | None, device: torch.device, dtype: torch.dtype) -> None:
    """Refuse flash attention where its kernels do not run."""
    if name != FLASH:
        return
    if device.type != "cuda":
        raise DeviceUnavailable(
            f"{FLASH} runs on a CUDA GPU only, not on {device}", hint="use sdpa"
        )
    if dtype.itemsize != 2:
        raise OptionConflict(
            f"{FLASH} computes in half precision only, not in {str(dtype).removeprefix('torch.')}",
            hint=f"use {mention('dtype', 'bfloat16')}, or {mention('attn', 'sdpa')}",
        )


def placement(device_map: str | None, device: torch.device) -> dict[str, Any]:
    """Return the arguments of `from_pretrained` that place the weights."""
    if device_map is None:
        return {"device_map": None if device.type == "cpu" else {"": device}}
    return {"device_map": device_map, "offload_folder": str(_offload_folder())}


def check_dispatched(model: Any, name: str, arguments: dict[str, Any]) -> None:
    """Refuse a spread model whose embeddings found no memory, and have its files removed.

    `arguments` are those of `placement`.
    """
    if getattr(model, "hf_device_map", None) is None or "offload_folder" not in arguments:
        return
    weakref.finalize(model, shutil.rmtree, arguments["offload_folder"], True)
    if model.get_input_embeddings().weight.device.type == "meta":
        raise OutOfMemory(
            f"no memory is left for the embeddings of {name}", hint="take a smaller model"
        )


def remove_offloaded() -> None:
    """Remove what this process wrote of its models; for the end of the process."""
    for folder in _OFFLOADED:
        shutil.rmtree(folder, ignore_errors=True)
        for parent in (folder.parent, folder.parent.parent):
            with contextlib.suppress(OSError):  # another model's, another process's
                parent.rmdir()


def _offload_folder() -> Path:
    """A folder for one model; what ended processes left is removed."""
    home = own_cache_folder() / "offload"
    with contextlib.suppress(OSError):
        for folder in home.iterdir():
            if not _is_running(folder.name):
                shutil.rmtree(folder, ignore_errors=True)
    if not _OFFLOADED:
        atexit.register(remove_offloaded)
    _OFFLOADED.append(home / str(os.getpid()) / str(len(_OFFLOADED)))
    return _OFFLOADED[-1]


def _is_running(process: str) -> bool:
    if not process.isdecimal() or not hasattr(os, "getpgid"):
        return True
    try:
        os.getpgid(int(process))
    except OSError:
        return False
    return True
