"""Weights of a checkpoint, put back into the model that is being trained.

Files may name weights otherwise than memory does: the experts of a Mixtral are one tensor here and
many there. So they are read by what reads models, `from_pretrained` and peft's loader, and copied
in place: optimizer and wrappers go on holding the same tensors. Nothing is known of training here.
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from transformers.trainer_utils import unwrap_peft_model

from hfgen.errors import ModelDamaged
from hfgen.mentions import mention


@torch.no_grad()
def restore(model: Any, checkpoint: Path) -> None:
    """Give a model, or peft's around one, the weights of a checkpoint, all of them.

    Random numbers go on as if nothing had been loaded. Raises `ModelDamaged` where weights are
    missing or the files cannot be read.
    """
    try:
        with torch.random.fork_rng():
            read = _read_adapter if unwrap_peft_model(model) is not model else _read_model
            missing = read(model, checkpoint)
    except (OSError, ValueError, KeyError, SafetensorError) as error:
        raise _damaged(checkpoint, str(error).partition("\n")[0]) from error
    if missing:
        raise _damaged(checkpoint, f"{len(missing)} weights are missing, as {min(missing)}")


@torch.no_grad()
def reset(model: Any, fresh: Any) -> None:
    """Give a model the learned weights of one made in the same way that has learned nothing."""
    found = dict(fresh.named_parameters())
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            parameter.copy_(found[name])


def _read_adapter(model: Any, checkpoint: Path) -> set[str]:
    name = model.active_adapters[0]
    with warnings.catch_warnings(action="ignore"):  # of missing weights: that becomes an error
        result = model.load_adapter(
            str(checkpoint), name, is_trainable=True, torch_device=str(model.device)
        )
    return set(result.missing_keys)


def _read_model(model: Any, checkpoint: Path) -> set[str]:
    read, facts = type(model).from_pretrained(
        str(checkpoint), dtype=model.dtype, local_files_only=True, output_loading_info=True
    )
    found, wanted = read.state_dict(), model.state_dict()
    missing: set[str] = set(facts["missing_keys"]) | (wanted.keys() - found.keys())
    if not missing:
        for name, tensor in wanted.items():
            tensor.copy_(found[name])
    return missing


def _damaged(checkpoint: Path, reason: str) -> ModelDamaged:
    return ModelDamaged(
        f"{checkpoint} cannot be read back: {reason}",
        hint=f"begin the run again with {mention('overwrite', True)}",
    )
