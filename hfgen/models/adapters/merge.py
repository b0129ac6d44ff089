"""`merge`: an adapter and its base become one ordinary checkpoint.

Contract
    - The written folder is loaded again, and its logits are compared with those of the base with
      the adapter on it, not merged: they agree to 1e-5 of the largest logit, or the merge is
      refused and nothing is left. Both are computed in float32, and where that is too coarse to
      tell, once more in float64.
    - The folder appears whole or not at all (`hfgen.models.atomic_folder`).
    - Tokenizer and chat template are the adapter's where it has them, else the base's. What the
      base's configuration says stays, but for the dtype.

Merged weights are float32, whatever the base is stored in: in half precision the adapter's small
changes would be rounded away in part. `dtype` asks for that all the same, and the difference is
measured and told. Everything is computed on the CPU, in float32.
"""

from __future__ import annotations

import dataclasses
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hfgen.errors import HfgenError, ModelError, ModelNotFound, ModelUnsupported
from hfgen.mentions import mention
from hfgen.models.adapters.load import (
    ROUNDING,
    attached,
    check_loadable,
    difference_of,
    folded,
    probe,
)
from hfgen.models.atomic_folder import check_space, check_target, written_aside
from hfgen.models.checkpoint.devices import check_dtype_name
from hfgen.models.checkpoint.layout import ADAPTER_CONFIG, CONFIG, has_tokenizer
from hfgen.models.checkpoint.load import LoadedModel, load
from hfgen.models.checkpoint.load_options import LoadOptions
from hfgen.models.checkpoint.save import write_checkpoint
from hfgen.models.checkpoint.tokenizer import check_vocabulary, load_tokenizer
from hfgen.models.naming.aliases import find_alias
from hfgen.models.naming.names import is_path
from hfgen.models.naming.resolve import Progress, ResolvedModel, resolve
from hfgen.models.silence import quiet
from hfgen.models.sizing.estimate import local_shape

DEFAULT_DTYPE = "float32"

# Largest difference of logits, as a part of the largest logit, in float32.
_EXACT = 1e-5
_PROBE_TOKENS = 64
_SPARE_BYTES = 64 * 2**20
_ITEM_BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}
_CHECKPOINT = re.compile(r"checkpoint-([0-9]+)", re.ASCII)


@dataclass(frozen=True)
class Merged:
    """What a merge wrote."""

    folder: Path
    adapter: str
    base: str
    """The base's name, as the adapter has it."""
    dtype: str
    parameters: int
    size_bytes: int
    """Of all files together."""
    difference: float
    """Largest difference of logits from the adapter's own, as a part of the largest logit."""
    notices: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """The fields as JSON has them."""
        return dataclasses.asdict(self) | {"folder": str(self.folder)}


def merge(
    adapter: str | Path,
    output: str | Path,
    *,
    dtype: str = DEFAULT_DTYPE,
    overwrite: bool = False,
    offline: bool = False,
    trust_remote_code: bool = False,
    progress: Progress | None = None,
    notify: Progress | None = None,
) -> Merged:
    """Merge an adapter's folder into its base and write an ordinary checkpoint.

    Raises `ModelNotFound` or `ModelUnsupported` for what is no adapter or cannot be merged
    exactly, `OutputExists` for an output that already exists (with `overwrite` a model there is
    replaced), `OutputError` when the disk is full, and the errors of loading the base.
    """
    dtype = check_dtype_name(dtype)
    dtype = DEFAULT_DTYPE if dtype == "auto" else dtype
    tell = progress or (lambda line: None)
    resolved = _resolve_adapter(str(adapter), offline, progress)
    assert resolved.base is not None
    check_loadable(resolved)
    target = check_target(output, overwrite=overwrite, sources=[resolved.path, resolved.base.path])
    check_space(target, _expected_bytes(resolved, dtype))
    base = _as_folder(resolved.base, progress)
    how = LoadOptions(device="cpu", dtype="float32", trust_remote_code=trust_remote_code)
    tell(f"loading {base.name} …")
    model, before = _merged(load(base, dataclasses.replace(how, notify=notify)), resolved)
    source = _tokenizer_folder(model, base, resolved, trust_remote_code)
    model = _in_dtype(model, dtype)
    parameters = sum(parameter.numel() for parameter in model.parameters())
    with written_aside(target, overwrite=overwrite) as aside:
        tell(f"writing {target.name} …")
        write_checkpoint(model, aside, tokenizer_from=source, code=trust_remote_code)
        del model  # one model at a time in memory
        tell("comparing …")
        again = load(ResolvedModel(str(target), aside, "folder"), how)
        difference = difference_of(before, probe(again.model, len(before)))
        if dtype == DEFAULT_DTYPE and not difference <= _EXACT:
            difference = _difference_in_double(base, resolved, again.model, len(before), how)
        _check_difference(difference, dtype, resolved)
        size = sum(file.stat().st_size for file in aside.iterdir())
    return Merged(
        target, str(adapter), resolved.base.name, dtype, parameters, size, difference,
        resolved.notices,
    )  # fmt: skip


def _tokenizer_folder(
    model: Any, base: ResolvedModel, resolved: ResolvedModel, trust: bool
) -> Path:
    """Where the result's tokenizer comes from; the adapter's must fit the merged model."""
    if not has_tokenizer(resolved.path):
        return base.path
    from transformers import AutoTokenizer

    with quiet():
        tokenizer = load_tokenizer(AutoTokenizer, resolved, model.config, trust)
    check_vocabulary(model, tokenizer, resolved)
    return resolved.path


def _merged(loaded: LoadedModel, resolved: ResolvedModel) -> tuple[Any, Any]:
    """The merged model, and the logits that the adapter gives before it is merged."""
    adapted = attached(loaded.model, resolved)
    before = probe(adapted, min(_PROBE_TOKENS, loaded.window or _PROBE_TOKENS))
    return folded(adapted), before


def _difference_in_double(
    base: ResolvedModel, resolved: ResolvedModel, written: Any, tokens: int, how: LoadOptions
) -> float:
    """Measure again in float64: the rounding of a large model's own float32 passes for a change."""
    after = probe(written.double(), tokens)
    adapted = attached(load(base, how).model, resolved)
    return difference_of(probe(adapted.double(), tokens), after)


def _resolve_adapter(name: str, offline: bool, progress: Progress | None) -> ResolvedModel:
    """Find an adapter's folder and its base; the Hub is asked for the base alone."""
    meant = find_alias(name) or name
    folder = Path(os.path.expanduser(meant))  # noqa: PTH111  # never raises
    if not meant or not folder.is_dir():
        raise ModelNotFound(
            f"there is no folder {name!r} with an adapter",
            hint="name the folder that hfgen finetune --lora wrote",
        )
    if not (folder / ADAPTER_CONFIG).is_file():
        raise _is_no_adapter(name, folder)
    found = resolve(meant if is_path(meant) else f"./{meant}", offline=offline, progress=progress)
    return dataclasses.replace(found, name=name)


def _is_no_adapter(name: str, folder: Path) -> ModelError:
    if (folder / CONFIG).is_file():
        return ModelUnsupported(
            f"{name} is a whole model, not an adapter: there is nothing to merge",
            hint=f"hfgen generate -m {name} runs it as it is",
        )
    for place in (folder, folder / "checkpoints"):
        steps = [int(m[1]) for path in place.glob("*") if (m := _CHECKPOINT.fullmatch(path.name))]
        if steps:
            hint = f"name one of its checkpoints: {place / f'checkpoint-{max(steps)}'}"
            break
    else:
        hint = "name the folder that hfgen finetune --lora wrote"
    return ModelNotFound(f"{name} holds no adapter: it has no {ADAPTER_CONFIG}", hint=hint)


def _as_folder(base: ResolvedModel, progress: Progress | None) -> ResolvedModel:
    if base.source != "gguf":
        return base
    from hfgen.models.gguf.cached import as_folder

    return as_folder(base, progress)


def _expected_bytes(resolved: ResolvedModel, dtype: str) -> int:
    """What the merged model will take; of an unknown architecture nothing can be said before."""
    try:
        shape, _ = local_shape(resolved)
    except (HfgenError, ArithmeticError):
        return _SPARE_BYTES
    return shape.weights * _ITEM_BYTES[dtype] + _SPARE_BYTES


def _in_dtype(model: Any, dtype: str) -> Any:
    import torch

    return model.to(getattr(torch, dtype))


def _check_difference(difference: float, dtype: str, resolved: ResolvedModel) -> None:
    limit = _EXACT if dtype == "float32" else ROUNDING[_ITEM_BYTES[dtype]]
    if dtype != "float32":
        hint = f"leave {mention('dtype')} out"
    elif difference <= ROUNDING[_ITEM_BYTES[dtype]]:  # what loading an adapter allows
        hint = f"use the adapter as it is: {mention('model', resolved.name)}"
    else:
        hint = "hfgen runs adapters merged; use peft for this one"
    if not difference <= limit:  # no number is no equality either
        raise ModelUnsupported(
            f"merging {resolved.name} would change its output: logits differ by {difference:.1e} "
            f"of the largest, at most {limit:.0e} in {dtype}",
            hint=hint,
        )
