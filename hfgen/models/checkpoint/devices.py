"""Names of devices and dtypes: their spelling, and what they mean on this machine.

The two `check_…` functions look at the spelling only and import nothing, so that a typing error
is refused before torch is loaded. The two `choose_…` functions need torch.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from hfgen.errors import DeviceUnavailable, InvalidOption
from hfgen.mentions import mention

if TYPE_CHECKING:
    import torch

DEVICES = "auto, cpu, cuda, cuda:N or mps"
DTYPES = "auto, float32, bfloat16 or float16"

_DEVICE = re.compile(r"auto|cpu|mps|cuda(:(0|[1-9][0-9]{0,2}))?", re.ASCII)
SHORT_NAMES = {"float32": "fp32", "bfloat16": "bf16", "float16": "fp16"}
"""Every number format by its long name, with its short one: users may write either everywhere."""
_LONG_NAMES = {short: long for long, short in SHORT_NAMES.items()}


def check_device_name(name: str) -> str:
    """Return the device's name, or raise `InvalidOption` when it is none."""
    if not _DEVICE.fullmatch(name):
        hint = "write cuda:0 for the first GPU" if name in ("gpu", "gpu:0", "0") else None
        raise InvalidOption("device", name, DEVICES, hint=hint)
    return name


def check_dtype_name(name: str) -> str:
    """Return the dtype's long name (`bf16` becomes `bfloat16`), or raise `InvalidOption`."""
    long = _LONG_NAMES.get(name, name)
    if long != "auto" and long not in SHORT_NAMES:
        raise InvalidOption("dtype", name, DTYPES)
    return long


def choose_device(name: str) -> torch.device:
    """Return the device: the one named, or for `auto` a CUDA GPU where there is one.

    An Apple GPU is never chosen unasked: nobody has compared its texts with those of a CPU.
    Raises `DeviceUnavailable` when the named one is not there.
    """
    import torch

    kind, _, number = check_device_name(name).partition(":")
    if kind == "cpu":
        return torch.device("cpu")
    gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if kind == "auto":
        return torch.device("cuda:0" if gpus else "cpu")
    if kind == "mps":
        if not torch.backends.mps.is_available():
            raise DeviceUnavailable(
                "there is no Apple GPU (mps) that torch can use here",
                hint=f"leave {mention('device')} out, or write {mention('device', 'cpu')}",
            )
        return torch.device("mps")
    if not gpus:
        is_built = torch.version.cuda is not None or torch.version.hip is not None
        raise DeviceUnavailable(
            "there is no CUDA GPU that torch can use here"
            + ("" if is_built else ": the installed torch is built for the CPU only"),
            hint=f"leave {mention('device')} out, or write {mention('device', 'cpu')}",
        )
    index = int(number or 0)
    if index >= gpus:
        raise DeviceUnavailable(
            f"there is no device cuda:{index}: this machine has {gpus} CUDA "
            + ("GPU" if gpus == 1 else "GPUs"),
            hint=f"write {mention('device', f'cuda:{gpus - 1}')}, or leave {mention('device')} out",
        )
    return torch.device("cuda", index)


@contextlib.contextmanager
def as_current(device: torch.device) -> Iterator[None]:
    """Make a CUDA GPU the one that libraries use unasked, for as long as the block lasts."""
    import torch

    with torch.cuda.device(device) if device.type == "cuda" else contextlib.nullcontext():
        yield


def choose_dtype(name: str, device: torch.device) -> torch.dtype:
    """Return the dtype: the one named, or for `auto` float32 on a CPU and half of it on a GPU."""
    import torch

    name = check_dtype_name(name)
    if name != "auto":
        dtype = getattr(torch, name)
        assert isinstance(dtype, torch.dtype)
        return dtype
    if device.type == "cpu":
        return torch.float32
    if device.type == "cuda":
        with torch.cuda.device(device):
            has_bfloat16 = torch.cuda.is_bf16_supported(including_emulation=False)
        return torch.bfloat16 if has_bfloat16 else torch.float16
    try:
        torch.zeros(1, dtype=torch.bfloat16, device=device)
    except (TypeError, RuntimeError):  # an older macOS
        return torch.float16
    return torch.bfloat16
