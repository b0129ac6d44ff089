"""`finetune`: from data files and a model's name to a folder with a trained model."""

from __future__ import annotations

import shlex
import tempfile
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Unpack

from hfgen.errors import UsageError
from hfgen.models.naming.resolve import ResolvedModel
from hfgen.training.checkpoints.run_dir import default_output
from hfgen.training.distributed import processes
from hfgen.training.events import Listener
from hfgen.training.options.finetune import TrainingOptions
from hfgen.training.options.keywords import FinetuneKeywords
from hfgen.training.planning import cost
from hfgen.training.planning.plan import Plan, make_plan
from hfgen.training.reading.given_rows import GivenRows, Rows, given_rows
from hfgen.training.request import Data, StopRequest, TrainingRequest
from hfgen.training.runs.outcome import DryRun, Finetuned
from hfgen.training.runs.run import TrainingRun

if TYPE_CHECKING:
    from hfgen.training.runs.prepared import PreparedRun

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
    chosen = TrainingOptions.from_mapping(settings).over(options or TrainingOptions())
    request = TrainingRequest(
        data, chosen, model=model, output=output, device=device, offline=offline,
        trust_remote_code=trust_remote_code, resume=resume, overwrite=overwrite, stdin=stdin,
        listener=listener or Listener(), stop=stop or StopRequest(), command=command,
    )  # fmt: skip
    return FinetuneRun(request).execute()


class FinetuneRun(TrainingRun[TrainingOptions, Finetuned]):
    """One run of `finetune`."""

    outcome = Finetuned

    def __init__(self, request: TrainingRequest[TrainingOptions]) -> None:
        if (rows := given_rows(request.data)) is not None:
            request = replace(request, data="-", stdin=rows)
        super().__init__(request)

    def check(self) -> None:
        """Refuse what needs a package that is missing, too."""
        super().check()
        if self.options.method != "full":
            from hfgen.training.model.lora import check_installed

            check_installed(self.options)

    @cached_property
    def resolved(self) -> ResolvedModel:
        """The model that is asked for, or the usual one."""
        return self.find_model(self.request.model or DEFAULT_MODEL)

    @property
    def default_output(self) -> Path:
        """Named after the model; where nobody named one either, only finding it tells."""
        return default_output(self.request.model or self.resolved.name)

    @property
    def command(self) -> str | None:
        """With the model's name, since another machine may have another usual one."""
        command = self.request.command
        if command is None or self.request.model is not None:
            return command
        return command.replace(_PROGRAM, f"{_PROGRAM} -m {shlex.quote(self.resolved.name)}", 1)

    def prepare(self, stored: Plan | None) -> PreparedRun:
        """Load the model, read the data and plan."""
        from hfgen.training.runs.prepare_finetune import finetuning_data
        from hfgen.training.runs.prepared import PreparedRun

        request, options, device = self.request, self.options, self.device
        is_shared = processes()[1] > 1 and not isinstance(request.stdin, GivenRows)
        if "-" in self.paths and is_shared:
            raise UsageError("several processes cannot share standard input", hint="name a file")
        base = self.load_base(self.resolved)
        data = finetuning_data(
            base,
            self.paths,
            options,
            device=str(device),
            stdin=request.stdin,
            listener=self.listener,
        )
        if stored is not None:
            return PreparedRun(base, data, stored.with_facts(data.facts))
        memory = cost.StepMemory(base, data.train, data.facts, options, device)
        return PreparedRun(base, data, make_plan(options, data.facts, memory))

    def rehearse(self) -> DryRun:
        """Tell what the run would do; a few batches are measured, nothing is trained or written."""
        self.check()
        with self.computing(), tempfile.TemporaryDirectory() as folder:
            from hfgen.training.data.summary import decoded_examples, summarise
            from hfgen.training.runs.make_trainer import make_trainer

            prepared = self.prepare(None)
            base, rows = prepared.base, prepared.data.details
            assert rows is not None
            summary = summarise(rows)
            self.tell_notices(prepared, but=summary.description)
            estimate = cost.cost_of(prepared, self.options, self.device)
            trainer = make_trainer(prepared, self.options, Path(folder), self.device)
            return DryRun(
                model=self.resolved.name,
                parameters=base.parameters,
                trainable_parameters=base.trainable_parameters,
                output=self.folder.path,
                summary=summary,
                plan=prepared.plan,
                cost=replace(estimate, seconds=self.expected_s(prepared, trainer)),
                examples=decoded_examples(rows, base.tokenizer),
                notices=prepared.data.notices,
            )
