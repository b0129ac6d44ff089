"""One training run, from its model and files to the folder with the result."""

from __future__ import annotations

import tempfile
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, Generic

from hfgen.mentions import spelled
from hfgen.models.naming.resolve import ResolvedModel
from hfgen.training.checkpoints.checkpoints import last_checkpoint, step_of
from hfgen.training.checkpoints.run_dir import (
    RunFolder,
    RunStart,
    check_same_options,
    check_same_run,
)
from hfgen.training.data.summary import decoded_examples, summarise
from hfgen.training.events import Listener
from hfgen.training.model.devices import own_device
from hfgen.training.options.common import RunOptions
from hfgen.training.options.finetune import TrainingOptions
from hfgen.training.planning import run_cost
from hfgen.training.planning.plan import Plan
from hfgen.training.reading.files import find_sources
from hfgen.training.reading.validation_files import validation_paths
from hfgen.training.report.environment import timestamp
from hfgen.training.runs.execute import Execution, T, make_trainer
from hfgen.training.runs.outcome import DryRun, Finetuned, StopRequest
from hfgen.training.runs.prepare_finetune import PreparedRun, prepare_run, processes


class TrainingRun(ABC, Generic[T]):
    """What every run does; `hfgen.training.runs.outcome` says what comes out of it."""

    outcome: type[T]
    resolved: ResolvedModel | None
    """The model that is trained further; None for a new one."""

    def __init__(
        self,
        paths: Sequence[str],
        options: RunOptions,
        folder: RunFolder,
        listener: Listener,
        *,
        device: str,
    ) -> None:
        self.paths = paths
        self.options = options
        self.folder = folder
        self.listener = listener
        self.device = own_device(device)
        self.is_first = processes()[0] == 0

    @property
    @abstractmethod
    def model_name(self) -> str:
        """What is trained, by which a resumed run is known again."""

    @abstractmethod
    def prepare(self, stdin: BinaryIO | None, earlier: RunStart | None) -> PreparedRun:
        """Get model and data ready; `earlier` is what a resumed run was begun with."""

    def begin(self, execution: Execution[T]) -> None:
        """Do what is to be done before the first step of a new run."""

    def execute(
        self,
        *,
        stdin: BinaryIO | None,
        stop: StopRequest,
        command: str | None,
        is_resumed: bool,
    ) -> T:
        """Train, and write the result; the folder is claimed."""
        self._check_inputs()
        earlier = self.folder.read_start() if is_resumed else None
        if earlier is not None:
            check_same_options(earlier, self.model_name, self.options.given())
        prepared = self.prepare(stdin, earlier)
        for notice in prepared.notices:
            self.listener.notice(notice)
        start = self._start(prepared, earlier)
        if warning := run_cost.check(
            prepared, self.options, self.device, self.folder.path, is_resumed=is_resumed
        ):
            self.listener.notice(spelled(warning, self.listener.spelling))
        execution = Execution(
            prepared, self.options, self.folder, self.listener, start, stop, self.device,
            outcome=self.outcome,
        )  # fmt: skip
        if not is_resumed:
            self.begin(execution)
            # Not before: settings may be refused where the Trainer is made or first computes.
            if self.is_first:
                self.folder.clear_checkpoints()
        return execution.run(self.paths, command, is_resumed=is_resumed)

    def _check_inputs(self) -> None:
        """Refuse to replace what is read."""
        resolved, models = self.resolved, list[Path]()
        while resolved is not None:
            models.append(resolved.path)
            resolved = resolved.base
        named = [*self.paths, *validation_paths(self.paths, self.options)]
        sources = find_sources(named) if named else []
        self.folder.check_inputs(models, [s.path for s in sources if s.path is not None])

    def _start(self, prepared: PreparedRun, earlier: RunStart | None) -> RunStart:
        start = RunStart(
            model=self.model_name,
            options=self.options.given(),
            plan=prepared.plan.to_dict(),
            fingerprint=prepared.data.fingerprint,
            started=timestamp(),
        )
        if earlier is None:
            return start
        check_same_run(earlier, start)
        checkpoint = last_checkpoint(self.folder.checkpoints)
        step = 0 if checkpoint is None else step_of(checkpoint)
        return replace(earlier, resumed_from=(*earlier.resumed_from, step))


class Run(TrainingRun[Finetuned]):
    """See `hfgen.training.runs.finetuning`, whose arguments these are, checked."""

    outcome = Finetuned
    options: TrainingOptions
    resolved: ResolvedModel

    def __init__(
        self,
        paths: Sequence[str],
        resolved: ResolvedModel,
        options: TrainingOptions,
        folder: RunFolder,
        listener: Listener,
        *,
        device: str,
        trust: bool,
    ) -> None:
        super().__init__(paths, options, folder, listener, device=device)
        self.resolved = resolved
        self.trust = trust

    @property
    def model_name(self) -> str:
        """Name and revision."""
        revision = self.resolved.revision
        return f"{self.resolved.name}@{revision}" if revision else self.resolved.name

    def rehearse(self, *, stdin: BinaryIO | None) -> DryRun:
        """Prepare everything, and measure a few batches."""
        prepared = self.prepare(stdin, None)
        assert prepared.details is not None
        cost = run_cost.cost_of(prepared, self.options, self.device)
        self.listener.stage("measuring a step …")
        with tempfile.TemporaryDirectory() as folder:
            trainer = make_trainer(prepared, self.options, Path(folder), self.device)
            seconds = run_cost.seconds_of(prepared.plan, trainer.try_a_batch, prepared.base.model)
        return DryRun(
            model=self.resolved.name,
            parameters=prepared.base.parameters,
            trainable_parameters=prepared.base.trainable_parameters,
            output=self.folder.path,
            summary=summarise(prepared.details),
            plan=prepared.plan,
            cost=replace(cost, seconds=seconds),
            examples=decoded_examples(prepared.details, prepared.base.tokenizer),
            notices=prepared.notices,
        )

    def prepare(self, stdin: BinaryIO | None, earlier: RunStart | None) -> PreparedRun:
        """Load the model, read the data and plan."""
        fitting: Any = partial(run_cost.fitting_for, options=self.options, device=self.device)
        if earlier is not None:
            # What fitted when the run was begun.
            stored = Plan(**earlier.plan)
            sizes = stored.batch_size, stored.gradient_accumulation_steps

            def fitting(*facts: Any) -> Any:
                return lambda rows: sizes

        return prepare_run(
            self.paths,
            self.resolved,
            self.options,
            device=str(self.device),
            trust_remote_code=self.trust,
            stdin=stdin,
            listener=self.listener,
            fitting=fitting,
        )
