"""`pretrain`: from raw text to a folder with a new model, or one that learned further.

    cut the text into documents → train a tokenizer → encode → make the model → plan, by the clock
      where there is a budget → validate → train → validate → write, read back, compare → report

From the plan on it is the same as `finetune`. `dry_run` goes as far as the plan. Both report
through a `Listener` and print nothing. With several processes (torchrun, accelerate) the first one
encodes, reports and writes.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Unpack

from hfgen.errors import OptionConflict, UsageError
from hfgen.mentions import mention
from hfgen.models.adapters.library import import_bitsandbytes
from hfgen.models.checkpoint.devices import as_current
from hfgen.models.naming.resolve import ResolvedModel
from hfgen.models.silence import quick_imports
from hfgen.models.sizing.memory import gpu_memory
from hfgen.training.checkpoints.run_dir import RunFolder, default_output
from hfgen.training.events import Listener
from hfgen.training.model.new_gpt2 import DEFAULT_SIZE, check_memory
from hfgen.training.options.keywords import PretrainKeywords
from hfgen.training.options.pretrain import ContinuedOptions, PretrainOptions
from hfgen.training.runs.entry import (
    Data,
    checked_paths,
    explaining_failures,
    find_model,
    is_first_process,
    merged,
)
from hfgen.training.runs.outcome import Pretrained, Rehearsal, StopRequest

if TYPE_CHECKING:
    from hfgen.training.runs.pretrain_run import PretrainRun

__all__ = ["Pretrained", "Rehearsal", "StopRequest", "dry_run", "pretrain"]


def pretrain(
    data: Data,
    *,
    model: str | None = None,
    output: str | Path | None = None,
    options: PretrainOptions | None = None,
    resume: bool = False,
    overwrite: bool = False,
    device: str = "auto",
    offline: bool = False,
    trust_remote_code: bool = False,
    stdin: BinaryIO | None = None,
    listener: Listener | None = None,
    stop: StopRequest | None = None,
    command: str | None = None,
    **settings: Unpack[PretrainKeywords],
) -> Pretrained:
    """Train a language model on raw text and write it to a folder.

    `data` is one or more files or folders of text (or `-`, read from `stdin`); `settings` are
    fields of `PretrainOptions` and override `options`. Without a `model` a new GPT-2 is made. The
    folder is `output`, else `./<size or model>-pretrained`; with `resume` an interrupted run goes
    on there, with `overwrite` an earlier one is replaced. `command` is what the report says
    repeats the run.

    Raises `UsageError` for wrong options, `DataError` for the text, a `ModelError`,
    `OutputExists`, `OutputError`, `OutOfMemory`, and `LossDiverged`.
    """
    chosen = _options(model, options, settings)
    asked = _check(data, model, chosen, device)
    folder = RunFolder(_folder(model, chosen, output))
    hear = listener if listener is not None and is_first_process() else Listener()
    with folder.claimed(resume=resume, overwrite=overwrite, is_first=is_first_process()):
        run = _run(asked, model, chosen, folder, hear, device, offline, trust_remote_code)
        with as_current(run.device), explaining_failures(chosen):
            return run.execute(
                stdin=stdin,
                stop=stop or StopRequest(),
                command=command,
                is_resumed=resume,
            )


def dry_run(
    data: Data,
    *,
    model: str | None = None,
    output: str | Path | None = None,
    options: PretrainOptions | None = None,
    device: str = "auto",
    offline: bool = False,
    trust_remote_code: bool = False,
    stdin: BinaryIO | None = None,
    listener: Listener | None = None,
    **settings: Unpack[PretrainKeywords],
) -> Rehearsal:
    """Tell what `pretrain` would do with the same arguments; no model is trained or written.

    The text is read and encoded whole, in a folder that is removed afterwards.
    """
    chosen = _options(model, options, settings)
    asked = _check(data, model, chosen, device)
    folder = RunFolder(_folder(model, chosen, output))
    hear = listener or Listener()
    run = _run(asked, model, chosen, folder, hear, device, offline, trust_remote_code)
    with as_current(run.device), explaining_failures(chosen):
        return run.rehearse(stdin=stdin)


def _options(
    model: str | None, options: PretrainOptions | None, settings: Mapping[str, Any]
) -> PretrainOptions:
    """The options, with the defaults of a new model or of one that is trained further."""
    chosen = merged(PretrainOptions, options, settings)
    return chosen if model is None else ContinuedOptions.from_mapping(chosen.given())


def _check(data: Data, model: str | None, options: PretrainOptions, device: str) -> list[str]:
    """Refuse what can be refused before anything is imported or downloaded."""
    paths = checked_paths(data, options, device)
    if [*paths, options.val_data].count("-") > 1:
        raise UsageError(
            "standard input (-) can be read once only", hint="name a file in one of the places"
        )
    if model is None:
        check_memory(options.new_size, None if device == "cpu" else gpu_memory())
    elif names := options.about_new_model:
        raise OptionConflict(
            f"{mention(names[0])} is for a new model, and one is named: {model}",
            hint="leave one of them out",
        )
    return paths


def _folder(model: str | None, options: PretrainOptions, output: str | Path | None) -> Path:
    if output is not None:
        return Path(output)
    return default_output(model or f"gpt2-{options.size or DEFAULT_SIZE}", suffix="pretrained")


def _run(
    paths: list[str],
    model: str | None,
    options: PretrainOptions,
    folder: RunFolder,
    listener: Listener,
    device: str,
    offline: bool,
    trust: bool,
) -> PretrainRun:
    """Find the model and import what trains."""
    resolved: ResolvedModel | None = None
    if model is not None:
        resolved = find_model(model, model, offline, listener)
    import_bitsandbytes()
    with quick_imports():
        from hfgen.training.runs.pretrain_run import PretrainRun
    return PretrainRun(
        paths, resolved, options, folder, listener, device=device, trust=trust, offline=offline
    )
