"""Folders with a LoRA adapter: what they hold, and which model they belong to.

Reads the files' names and beginnings only, without torch or peft; `hfgen.models.adapter` loads.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hfgen.errors import HfgenError, ModelDamaged, ModelNotFound, ModelUnsupported
from hfgen.models.folder import ADAPTER_CONFIG, CONFIG
from hfgen.models.weights import FETCH_AGAIN, check_weight_file, read_json

if TYPE_CHECKING:
    from hfgen.models.resolve import ResolvedModel

ADAPTER_WEIGHTS = ("adapter_model.safetensors", "adapter_model.bin")

_KIND = "LORA"


def read_adapter_config(folder: Path) -> dict[str, Any]:
    """Return `adapter_config.json`; raises for an adapter that hfgen cannot merge."""
    config = read_json(folder / ADAPTER_CONFIG)
    kind = config.get("peft_type")
    if not isinstance(kind, str):
        raise ModelDamaged(f"{folder / ADAPTER_CONFIG} names no peft_type", hint=FETCH_AGAIN)
    if kind.upper() != _KIND:
        raise ModelUnsupported(
            f"{folder} is an adapter of the kind {kind}, hfgen loads LoRA, rsLoRA and DoRA",
            hint="merge it into its base model with peft, and name the result",
        )
    return config


def check_adapter(folder: Path) -> Path:
    """Check the adapter's files, and return the one with its weights."""
    read_adapter_config(folder)
    for name in ADAPTER_WEIGHTS:
        if (folder / name).is_file():
            check_weight_file(folder / name)
            return folder / name
    raise ModelDamaged(f"{folder} has no weights ({ADAPTER_WEIGHTS[0]})", hint=FETCH_AGAIN)


def find_base(folder: Path, resolve: Callable[[str], ResolvedModel]) -> ResolvedModel:
    """Find the model that the adapter was trained on.

    A path counts from the current folder, as peft reads it, else from the adapter's own.
    """
    config = read_adapter_config(folder)
    name = config.get("base_model_name_or_path")
    if not isinstance(name, str) or not name:
        raise ModelNotFound(
            f"{folder / ADAPTER_CONFIG} does not name the adapter's base model",
            hint='add it, as "base_model_name_or_path": "gpt2"',
        )
    revision = config.get("revision")
    at = f"{name}@{revision}" if isinstance(revision, str) and revision else name
    beside = folder / name
    if not Path(name).exists() and ((beside / CONFIG).is_file() or beside.is_file()):
        at = str(beside.resolve())
    elif Path(name).exists():
        at = name
    if (Path(at) / ADAPTER_CONFIG).is_file():
        raise ModelUnsupported(
            f"{folder} is an adapter on top of another adapter, {name}",
            hint="merge that one into its base model first",
        )
    try:
        return resolve(at)
    except HfgenError as error:
        error.message = f"the base model of {folder}: {error.message}"
        error.args = (error.message,)
        raise
