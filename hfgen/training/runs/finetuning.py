"""`finetune`: from a data file and a model's name to a folder with a trained model.

    resolve the model → read the data → plan → check memory and disk
      → validate → train → validate → write, read back, compare → report

`dry_run` goes as far as the plan. Both report through a `Listener` and print nothing. With several
processes (torchrun, accelerate) each runs all of it; the first one reports and writes.
"""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Unpack, cast

from hfgen.models.adapters.library import import_bitsandbytes
from hfgen.models.checkpoint.devices import as_current
from hfgen.models.naming.resolve import ResolvedModel
from hfgen.models.silence import quick_imports
from hfgen.training.checkpoints.run_dir import RunFolder, default_output
from hfgen.training.events import Listener
from hfgen.training.options.finetune import TrainingOptions
from hfgen.training.options.keywords import FinetuneKeywords
from hfgen.training.reading.given_rows import Rows, given_rows
from hfgen.training.runs.entry import (
    Data,
    checked_paths,
    explaining_failures,
    find_model,
    is_first_process,
    merged,
)
from hfgen.training.runs.outcome import DryRun, Finetuned, StopRequest

if TYPE_CHECKING:
    from hfgen.training.runs.run import Run

__all__ = ["DEFAULT_MODEL", "DryRun", "Finetuned", "StopRequest", "dry_run", "finetune"]

DEFAULT_MODEL = "gpt2"
_PROGRAM = "hfgen finetune"


def finetune(
    data: Data | Rows,
    *,
    model: str | None = None,
    output: str | Path | None = None,
    options: TrainingOptions | None = None,
    resume: bool = False,
    overwrite: bool = False,
    device: str = "auto",
    offline: bool = False,
    trust_remote_code: bool = False,
    stdin: BinaryIO | None = None,
    listener: Listener | None = None,
    stop: StopRequest | None = None,
    command: str | None = None,
    **settings: Unpack[FinetuneKeywords],
) -> Finetuned:
    """Train a model on examples and write it to a folder.

    `data` is one or more files or folders (or `-`, read from `stdin`), or the rows themselves, a
    list of dicts with a file's columns; `settings` are fields of
    `TrainingOptions` and override `options`. The folder is `output`, else `./<model>-finetuned`;
    with `resume` an interrupted run goes on there, with `overwrite` an earlier one is replaced.
    `command` is what the report says repeats the run.

    Raises `UsageError` for wrong options, `DataError` for rows, a `ModelError`, `OutputExists`,
    `OutputError`, `OutOfMemory`, and `LossDiverged`.
    """
    chosen = merged(TrainingOptions, options, settings)
    rows = given_rows(data)
    asked = _check(data if rows is None else "-", chosen, device)
    hear = listener if listener is not None and is_first_process() else Listener()
    # Where nobody named a model, only finding one tells the folder's name.
    resolved = find_model(None, DEFAULT_MODEL, offline, hear) if model is None else None
    folder = _folder(model, resolved, output)
    with folder.claimed(resume=resume, overwrite=overwrite, is_first=is_first_process()):
        resolved = resolved or find_model(model, DEFAULT_MODEL, offline, hear)
        if model is None and command is not None:
            command = command.replace(_PROGRAM, f"{_PROGRAM} -m {shlex.quote(resolved.name)}", 1)
        run = _run_class()(
            asked, resolved, chosen, folder, hear, device=device, trust=trust_remote_code
        )
        with as_current(run.device), explaining_failures(chosen):
            return run.execute(
                stdin=rows or stdin,
                stop=stop or StopRequest(),
                command=command,
                is_resumed=resume,
            )


def dry_run(
    data: Data | Rows,
    *,
    model: str | None = None,
    output: str | Path | None = None,
    options: TrainingOptions | None = None,
    device: str = "auto",
    offline: bool = False,
    trust_remote_code: bool = False,
    stdin: BinaryIO | None = None,
    listener: Listener | None = None,
    **settings: Unpack[FinetuneKeywords],
) -> DryRun:
    """Tell what `finetune` would do with the same arguments; nothing is trained or written.

    The time is that of a few batches, computed forward and backward.
    """
    chosen = merged(TrainingOptions, options, settings)
    rows = given_rows(data)
    asked = _check(data if rows is None else "-", chosen, device)
    hear = listener or Listener()
    resolved = find_model(model, DEFAULT_MODEL, offline, hear)
    run = _run_class()(
        asked,
        resolved,
        chosen,
        _folder(model, resolved, output),
        hear,
        device=device,
        trust=trust_remote_code,
    )
    with as_current(run.device), explaining_failures(chosen):
        return run.rehearse(stdin=rows or stdin)


def _folder(
    model: str | None, resolved: ResolvedModel | None, output: str | Path | None
) -> RunFolder:
    """The folder that is named, or one named after the model, as the user typed it."""
    if output is not None:
        return RunFolder(Path(output))
    return RunFolder(default_output(model or (resolved.name if resolved else DEFAULT_MODEL)))


def _check(data: Data | Rows, options: TrainingOptions, device: str) -> list[str]:
    """Refuse what can be refused before anything is imported or downloaded."""
    paths = checked_paths(cast(Data, data), options, device)
    if options.method != "full":
        from hfgen.training.model.lora import check_installed

        check_installed(options)
    return paths


def _run_class() -> type[Run]:
    """Import what trains. Transformers' Trainer brings peft along, and that must stay silent."""
    import_bitsandbytes()
    with quick_imports():
        from hfgen.training.runs.run import Run
    return Run
