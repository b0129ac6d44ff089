"""`finetune`: from a data file and a model's name to a folder with a trained model.

    resolve the model → read the data → plan → check memory and disk
      → validate → train → validate → write, read back, compare → report

`dry_run` goes as far as the plan. Both report through a `Listener` and print nothing. With several
processes (torchrun, accelerate) each runs all of it; the first one reports and writes.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from hfgen.errors import OutOfMemory
from hfgen.models.adapter_library import import_bitsandbytes
from hfgen.models.devices import check_device_name
from hfgen.models.quiet import quick_imports
from hfgen.models.resolve import ResolvedModel, resolve
from hfgen.training.cost import Cost
from hfgen.training.options import Method, TrainingOptions
from hfgen.training.plan import Plan
from hfgen.training.progress import Evaluation, Listener
from hfgen.training.run_folder import RunFolder, default_output
from hfgen.training.sources import find_sources
from hfgen.training.summary import Summary

DEFAULT_MODEL = "gpt2"

Data = str | Path | Sequence[str | Path]


class StopRequest:
    """Asks a running training to end after the running step, with a checkpoint."""

    def __init__(self) -> None:
        self.is_made = False

    def make(self) -> None:
        """Ask (safe in a signal handler)."""
        self.is_made = True


@dataclass(frozen=True)
class Finetuned:
    """What came out of a run."""

    folder: Path
    """With the model or the adapter; when the run was stopped, with its checkpoints alone."""
    method: Method
    plan: Plan
    steps: int
    """Optimizer steps done, those before a resume included."""
    was_stopped: bool
    """Whether it was asked to stop before its end: nothing but checkpoints is written then."""
    seed: int
    seconds: float
    tokens: int
    """Tokens trained on, padding not counted."""
    peak_bytes: int
    before: Evaluation
    after: Evaluation
    """Of the model that was written: the best by validation loss, else the last."""
    files: tuple[Path, ...]
    is_raw: bool = False
    """Whether `hfgen generate` goes on as the data did with `--raw` only."""


@dataclass(frozen=True)
class DryRun:
    """What a run would do."""

    model: str
    parameters: int
    trainable_parameters: int
    output: Path
    summary: Summary
    plan: Plan
    cost: Cost
    examples: list[list[tuple[str, bool]]]
    """A few rows as runs of (text, is_learned)."""
    notices: tuple[str, ...]


def finetune(
    data: Data,
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
    **settings: Any,
) -> Finetuned:
    """Train a model on examples and write it to a folder.

    `data` is one or more files or folders (or `-`, read from `stdin`); `settings` are fields of
    `TrainingOptions` and override `options`. The folder is `output`, else `./<model>-finetuned`;
    with `resume` an interrupted run goes on there, with `overwrite` an earlier one is replaced.
    `command` is what the report says repeats the run.

    Raises `UsageError` for wrong options, `DataError` for rows, a `ModelError`, `OutputExists`,
    `OutputError`, `OutOfMemory`, and `LossDiverged`.
    """
    chosen = _merged(options, settings)
    asked = _check(data, chosen, device)
    named = default_output(model or DEFAULT_MODEL) if output is None else Path(output)
    folder = RunFolder(named)
    folder.check(resume=resume, overwrite=overwrite)
    hear = listener if listener is not None and is_first_process() else Listener()
    resolved = _resolve(model, chosen, device, offline, hear)
    run = _run_class()(
        asked, resolved, chosen, folder, hear, device=device, trust=trust_remote_code
    )
    with _explained(chosen):
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
    options: TrainingOptions | None = None,
    device: str = "auto",
    offline: bool = False,
    trust_remote_code: bool = False,
    stdin: BinaryIO | None = None,
    listener: Listener | None = None,
    **settings: Any,
) -> DryRun:
    """Tell what `finetune` would do with the same arguments; nothing is trained or written.

    The time is that of a few batches, computed forward and backward.
    """
    chosen = _merged(options, settings)
    asked = _check(data, chosen, device)
    named = default_output(model or DEFAULT_MODEL) if output is None else Path(output)
    hear = listener or Listener()
    resolved = _resolve(model, chosen, device, offline, hear)
    run = _run_class()(
        asked, resolved, chosen, RunFolder(named), hear, device=device, trust=trust_remote_code
    )
    with _explained(chosen):
        return run.rehearse(stdin=stdin)


def is_first_process() -> bool:
    """Whether this process is the one that reports and writes."""
    return os.environ.get("RANK", "0") == "0"


def _merged(options: TrainingOptions | None, settings: Mapping[str, Any]) -> TrainingOptions:
    over = TrainingOptions.from_mapping(settings)
    return over if options is None else over.over(options)


def _check(data: Data, options: TrainingOptions, device: str) -> list[str]:
    """Refuse what can be refused before anything is imported or downloaded."""
    check_device_name(device)
    paths = [str(data)] if isinstance(data, str | Path) else [str(path) for path in data]
    find_sources(paths)
    if options.val_data is not None:
        find_sources([options.val_data])
    if options.method != "full":
        from hfgen.training.adapters import check_installed

        check_installed(options)
    return paths


def _resolve(
    model: str | None, options: TrainingOptions, device: str, offline: bool, hear: Listener
) -> ResolvedModel:
    """Find the model, fetching it where need be."""
    hear.stage(f"looking for {model or DEFAULT_MODEL} …")
    resolved = resolve(model, offline=offline, progress=hear.stage)
    for notice in resolved.notices:
        hear.notice(notice)
    return resolved


def _run_class() -> Any:
    """Import what trains. Transformers' Trainer brings peft along, and that must stay silent."""
    import_bitsandbytes()
    with quick_imports():
        from hfgen.training.run import Run
    return Run


@contextlib.contextmanager
def _explained(options: TrainingOptions) -> Iterator[None]:
    """Have a lack of memory name the flags that help."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        text = str(error)
        is_memory = isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError"
        if not (is_memory or "out of memory" in text or "can't allocate memory" in text):
            raise
        raise OutOfMemory("not enough memory to train", hint=memory_hint(options)) from error


def memory_hint(options: TrainingOptions) -> str:
    """What to type when memory runs out: what is not in use yet."""
    helps = [
        ("--batch-size auto", options.batch_size != "auto"),
        ("--gradient-checkpointing", not options.gradient_checkpointing),
        ("--lora", options.method == "full"),
        ("a smaller --max-length", True),
    ]
    return "try " + ", ".join(text for text, is_new in helps if is_new)
