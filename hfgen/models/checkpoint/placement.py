"""Where a model's weights lie and which attention kernel runs: checks, and arguments.

One device is the rule. `device_map` `auto` has accelerate spread a model over all GPUs, then the
memory, then the disk. Weights in safetensors files are read from there as they are needed; others
are written to a folder of hfgen's cache first, which goes when the model goes, at the latest with
the process (what a killed one left goes with the next one).
"""

from __future__ import annotations

import atexit
import contextlib
import os
import shutil
import weakref
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hfgen.errors import DeviceUnavailable, OptionConflict, OutOfMemory
from hfgen.mentions import mention
from hfgen.models.cache_dir import own_cache_folder
from hfgen.models.checkpoint.load_options import FLASH

if TYPE_CHECKING:
    import torch

_OFFLOADED: list[Path] = []
"""Folders for the weights of this process's models."""


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


def placement(
    device_map: str | None, device: torch.device, quantization: Any = None
) -> dict[str, Any]:
    """Return the arguments of `from_pretrained` that place the weights."""
    if quantization is not None:
        # Left open, a quantizer takes a GPU wherever there is one.
        return {"quantization_config": quantization, "device_map": {"": device}}
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
