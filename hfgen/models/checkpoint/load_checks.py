"""What loading told: errors of the libraries in hfgen's words, and weights that do not fit.

Transformers only warns of weights that are missing and were made up, and of layers that were left
out; here they are errors.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hfgen.errors import HfgenError, ModelDamaged, ModelUnsupported, OutOfMemory
from hfgen.mentions import mention
from hfgen.models.checkpoint.weights import FETCH_AGAIN
from hfgen.models.naming.resolve import ResolvedModel

if TYPE_CHECKING:
    import torch


def translate(error: Exception, resolved: ResolvedModel, device: torch.device) -> HfgenError:
    """Return hfgen's error for one of from_pretrained."""
    import pickle

    import torch

    text = str(error)
    is_memory = isinstance(error, (MemoryError, torch.OutOfMemoryError))
    if is_memory or "DefaultCPUAllocator: can't allocate memory" in text:
        return OutOfMemory(
            f"{resolved.name} does not fit into the memory of {device}",
            hint=f"try {mention('dtype', 'bfloat16')}, or a smaller model",
        )
    if isinstance(error, pickle.UnpicklingError):
        hint = "use a safetensors version of the model"
        # An unsupported operand is no instruction of the format: a torn file, or another pickle.
        if "Weights only load failed" in text and "Unsupported operand" not in text:
            return ModelUnsupported(
                f"the pickled weights of {resolved.name} hold more than numbers: not opened",
                hint=hint,
            )
        return ModelDamaged(f"the pickled weights of {resolved.name} cannot be read", hint=hint)
    if isinstance(error, ImportError):
        return ModelUnsupported(
            f"{resolved.name} needs a package that is not installed: {brief(error)}"
        )
    return ModelDamaged(f"cannot load {resolved.name}: {brief(error)}", hint=FETCH_AGAIN)


def check_generation_config(folder: Path) -> None:
    """Refuse generation defaults that Transformers refuses, by the name of their file."""
    from transformers import GenerationConfig

    if not (file := folder / "generation_config.json").is_file():
        return
    try:
        GenerationConfig.from_pretrained(str(folder), local_files_only=True)
    except Exception as error:
        hint = "correct the file, or remove it to use hfgen's defaults"
        raise ModelDamaged(f"{file}: {brief(error)}", hint=hint) from error


def check_weights(model: Any, info: dict[str, Any], resolved: ResolvedModel) -> None:
    """Refuse a model in which Transformers made weights up or left layers out."""
    hint = "config.json and the weights do not belong together"
    if mismatched := info["mismatched_keys"]:
        name, found, expected = min(mismatched)
        raise ModelDamaged(
            f"{resolved.name}: {len(mismatched)} weights have another shape than config.json says, "
            f"as {name}: {list(found)} instead of {list(expected)}",
            hint=hint,
        )
    if missing := info["missing_keys"]:
        raise ModelDamaged(
            f"{resolved.name}: {len(missing)} weights are missing, as {min(missing)}", hint=hint
        )
    if info["error_msgs"]:
        raise ModelDamaged(f"cannot load {resolved.name}: {info['error_msgs'][0]}", hint=hint)
    if left_out := _left_out(model, info["unexpected_keys"]):
        raise ModelDamaged(
            f"{resolved.name}: the files hold {len(left_out)} weights of layers that config.json "
            f"does not count, as {min(left_out)}",
            hint=hint,
        )


def _left_out(model: Any, unexpected: Iterable[str]) -> list[str]:
    """Return the unexpected weights that differ from expected ones in the layer's number only."""
    if not unexpected:
        return []
    prefix = f"{model.base_model_prefix}."
    shapes = {re.sub(r"\d+", "#", name) for name in model.state_dict()}
    shapes |= {shape.removeprefix(prefix) for shape in shapes}
    return [name for name in unexpected if re.sub(r"\d+", "#", name) in shapes]


def needs_trust(resolved: ResolvedModel) -> ModelUnsupported:
    """Return the error for a model that brings its own code."""
    return ModelUnsupported(
        f"{resolved.name} needs program code that comes with the model, which hfgen does not run",
        hint=f"read the code; if you trust it, add {mention('trust_remote_code', True)}",
    )


def brief(error: BaseException) -> str:
    """Return the first line of a library's message, shortened."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    text = lines[0] if lines else type(error).__name__
    return text if len(text) <= 160 else text[:159] + "…"
