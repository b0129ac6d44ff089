"""Folders with a LoRA adapter: what they hold, and which model they belong to.

Reads the files' names and beginnings only, without torch or peft; `hfgen.models.adapters.load`
loads.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hfgen.errors import HfgenError, ModelDamaged, ModelNotFound, ModelUnsupported
from hfgen.models.cache_dir import gguf_folder
from hfgen.models.checkpoint.layout import ADAPTER_CONFIG, CONFIG
from hfgen.models.checkpoint.weights import FETCH_AGAIN, check_weight_file, read_json
from hfgen.models.naming import catalogue
from hfgen.models.naming.names import HUB_ID, is_path

if TYPE_CHECKING:
    from hfgen.models.naming.resolve import ResolvedModel

ADAPTER_WEIGHTS = ("adapter_model.safetensors", "adapter_model.bin")

_KIND = "LORA"
# How the bundled model's path ends, on any machine.
_BUNDLED = ("hfgen", "models", "bundled", catalogue.BUNDLED_ALIAS)
_COMMIT = re.compile(r"[0-9a-f]{40}")


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

    A path counts from the current folder, as peft reads it, else from the adapter's own. An alias
    of the catalogue and a Hub id with its commit mean what they say, whatever folders there are;
    the bundled model's folder of another installation means that of this one.
    """
    config = read_adapter_config(folder)
    name = config.get("base_model_name_or_path")
    if not isinstance(name, str) or not name:
        raise ModelNotFound(
            f"{folder / ADAPTER_CONFIG} does not name the adapter's base model",
            hint='add it, as "base_model_name_or_path": "gpt2"',
        )
    if Path(name).parts[-len(_BUNDLED) :] == _BUNDLED:
        name = catalogue.BUNDLED_ALIAS
    revision = config.get("revision")
    at = f"{name}@{revision}" if isinstance(revision, str) and revision else name
    if not _is_unmistakable(name, revision):
        beside = folder / name
        if Path(name).exists():
            at = name
        elif (beside / CONFIG).is_file() or beside.is_file():
            at = str(beside.resolve())
        if (Path(at) / ADAPTER_CONFIG).is_file():
            raise ModelUnsupported(
                f"{folder} is an adapter on top of another adapter, {name}",
                hint=f"merge that one into its base model first: hfgen merge {name} -o DIR",
            )
    try:
        return resolve(at)
    except HfgenError as error:
        error.add_context(f"the base model of {folder}: ")
        if isinstance(error, ModelNotFound) and is_path(at):
            error.hint = f"if it was moved, write its path into {folder / ADAPTER_CONFIG}"
            if Path(at).parent == gguf_folder():
                error.hint = "convert the GGUF file again: hfgen generate -m FILE.gguf"
        raise


def _is_unmistakable(name: str, revision: object) -> bool:
    if catalogue.find(name) is not None:
        return True
    has_commit = isinstance(revision, str) and _COMMIT.fullmatch(revision) is not None
    return has_commit and HUB_ID.fullmatch(name) is not None
