"""The result of a run: written aside, read back and compared, and only then given its names."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from hfgen.errors import HfgenError, OutputExists
from hfgen.mentions import mention
from hfgen.models.atomic_folder import explained
from hfgen.models.checkpoint.layout import ADAPTER_CONFIG, CONFIG
from hfgen.models.checkpoint.load import load
from hfgen.models.checkpoint.load_options import LoadOptions
from hfgen.models.checkpoint.save import valid_generation_config
from hfgen.models.naming.resolve import resolve
from hfgen.models.silence import quiet
from hfgen.training.corpus.tokenizer import save_tokenizer
from hfgen.training.data.encode import EncodedExample
from hfgen.training.layout import (
    CHECKPOINTS,
    REPORT_FILES,
    list_replaceable,
    replaceable_files,
)
from hfgen.training.loop.samples import evaluating

_ASIDE = ".result"
_PROBES = 4
_PROBE_TOKENS = 64
_TOLERANCE = {"full": 1e-5, "lora": 1e-4, "dora": 1e-4}
"""Largest difference of logits, as a part of the largest logit.

An adapter that was trained on a base in 4 bits differs on the base itself; it is reported.
"""


class ResultDiffers(HfgenError):
    """What was written is not what was trained."""


def publish(
    model: Any,
    tokenizer: Any,
    folder: Path,
    *,
    method: str,
    probes: Sequence[EncodedExample],
) -> float:
    """Write model and tokenizer into `folder`; returns how far its logits are from the trained.

    The difference is the largest, as a part of the largest logit, on the first tokens of a few
    rows. Raises `ResultDiffers` where it is more than rounding, `OutputExists` where a file that is
    not an earlier result's would be replaced, `OutputError` where the folder cannot be written;
    each leaves an earlier result alone.
    """
    aside = folder / _ASIDE
    with explained(folder):
        shutil.rmtree(aside, ignore_errors=True)
        aside.mkdir(parents=True)
        model.generation_config = valid_generation_config(model.generation_config)
        with quiet():
            model.save_pretrained(str(aside))
            save_tokenizer(tokenizer, aside)
        difference = compare(model, aside, probes)
        limit = _TOLERANCE.get(method)
        if limit is not None and not difference <= limit:
            raise ResultDiffers(
                f"the model as it was written to {aside} computes something else than the trained "
                f"one (by {difference:.1e} of the largest logit)",
                hint="the checkpoints are whole; report this with the model's name",
            )
        _replace(aside, folder)
    return difference


def compare(model: Any, folder: Path, probes: Sequence[EncodedExample]) -> float:
    """Largest difference between the model's logits and those of the folder, read back."""
    written = load(resolve(str(folder.resolve())), LoadOptions(device="cpu", dtype="float32")).model
    worst = 0.0
    with evaluating(model):
        for probe in probes[:_PROBES]:
            ids = torch.tensor([list(probe.ids[:_PROBE_TOKENS])])
            trained = model(input_ids=ids.to(model.device), use_cache=False).logits.float().cpu()
            again = written(input_ids=ids, use_cache=False).logits.float()
            scale = float(trained.abs().max().clamp(min=1e-6))
            difference = float((trained - again).abs().max()) / scale
            worst = max(worst, difference if difference == difference else float("inf"))
    return worst


def _check_free(files: Sequence[str], folder: Path, earlier: set[str]) -> None:
    """Refuse to replace what is not an earlier result's: it appeared since the run was begun."""
    for name in files:
        if name not in earlier and os.path.lexists(folder / name):
            raise OutputExists(
                f"{folder / name} is no earlier result's and would be replaced",
                hint=f"move it away, and run it again with {mention('resume', True)}",
            )


def _replace(aside: Path, folder: Path) -> None:
    """Give the files their names, that which makes the folder a model last; then drop old ones.

    No file goes before the new ones are there, and the list names every file of either result.
    """
    written = [str(path.relative_to(aside)) for path in aside.rglob("*") if path.is_file()]
    written.sort(key=lambda name: name in (CONFIG, ADAPTER_CONFIG))
    earlier = replaceable_files(folder)
    result = {*written, *REPORT_FILES}
    _check_free(sorted(result), folder, earlier)
    (folder / CHECKPOINTS).mkdir(exist_ok=True)
    list_replaceable(folder, earlier | result)
    mask = os.umask(0)
    os.umask(mask)
    for name in written:
        (aside / name).chmod(0o666 & ~mask)  # weights are written as nobody else's
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (aside / name).replace(folder / name)
    for name in earlier - set(written):  # a report that is left would be the earlier model's
        (folder / name).unlink(missing_ok=True)
    list_replaceable(folder, result)
    shutil.rmtree(aside, ignore_errors=True)
