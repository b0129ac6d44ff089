"""The one device of a training process; the Trainer, left alone, takes every GPU that it sees.

Nothing that others read is changed for it: not the environment (which counts for nothing once CUDA
has begun), and the current GPU only while the run lasts.
"""

from __future__ import annotations

import torch
from accelerate.utils import DistributedType
from transformers import TrainingArguments

from hfgen import distributed
from hfgen.errors import InvalidOption
from hfgen.models.checkpoint.devices import choose_device


def own_device(name: str) -> torch.device:
    """Return the device of this process: the one named; of torchrun's, each process has its own.

    Raises what `choose_device` raises, and `InvalidOption` for one GPU by number under torchrun.
    """
    device = choose_device(name)
    number = distributed.local_rank()
    if number is None or device.type != "cuda":
        return device
    if ":" in name:
        raise InvalidOption(
            "device", name, "auto, cuda or cpu with torchrun", hint="leave the GPU's number out"
        )
    return torch.device("cuda", number % torch.cuda.device_count())


def keep_to(device: torch.device, arguments: TrainingArguments) -> None:
    """Have the Trainer of these arguments compute on this GPU alone."""
    state = arguments.distributed_state
    if device.type != "cuda" or state.distributed_type != DistributedType.NO:
        return
    # Making the arguments has chosen the first one.
    torch.cuda.set_device(device)
    arguments._n_gpu = 1
    arguments.__dict__["_setup_devices"] = state.device = device
