"""`TrainingRun`: from a request to the folder with the result; what both commands do alike.

    check the request → claim the folder → find the model → prepare data, model and plan → check
      memory and disk → validate → train → validate → write, read back, compare → report

A rehearsal (a dry run) goes as far as the plan. All of it is told to the request's `Listener`, and
nothing is printed. With several processes (torchrun, accelerate) each runs all of it; the first one
reports and writes. torch is imported when there is something to compute.
"""

from __future__ import annotations

import contextlib
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Generic

from hfgen.mentions import spelled
from hfgen.models.adapters.library import import_bitsandbytes
from hfgen.models.checkpoint.devices import as_current, check_device_name
from hfgen.models.naming.resolve import ResolvedModel, resolve
from hfgen.models.silence import quick_imports
from hfgen.training.checkpoints.checkpoints import last_checkpoint, step_of
from hfgen.training.checkpoints.run_dir import RunFolder
from hfgen.training.checkpoints.run_start import RunStart, check_same_options, check_same_run
from hfgen.training.distributed import is_first_process
from hfgen.training.events import Listener
from hfgen.training.planning import cost
from hfgen.training.planning.plan import Plan
from hfgen.training.reading.files import find_sources
from hfgen.training.reading.validation_files import validation_paths
from hfgen.training.report.environment import timestamp
from hfgen.training.report.record import NEW_MODEL
from hfgen.training.request import Options, TrainingRequest
from hfgen.training.runs.failures import explaining_failures
from hfgen.training.runs.outcome import T

if TYPE_CHECKING:
    import torch

    from hfgen.training.loop.measured import MeasuredTrainer
    from hfgen.training.model.load import Base
    from hfgen.training.runs.prepared import PreparedRun


class TrainingRun(ABC, Generic[Options, T]):
    """One run; `hfgen.training.runs.outcome` says what comes out of it."""

    outcome: type[T]
    device: torch.device
    """Known when there is something to compute."""

    def __init__(self, request: TrainingRequest[Options]) -> None:
        self.request = request
        self.options = request.options
        self.paths = request.paths
        self.is_first = is_first_process()
        self.listener = request.listener if self.is_first else Listener()

    @property
    @abstractmethod
    def resolved(self) -> ResolvedModel | None:
        """The model that is trained further, found (and fetched) when it is first asked for."""

    @property
    @abstractmethod
    def default_output(self) -> Path:
        """The folder where nobody named one."""

    @abstractmethod
    def prepare(self, stored: Plan | None) -> PreparedRun:
        """Get model, data and plan ready; `stored` is the plan that a resumed run was begun with.

        It has what was decided then, so that the run goes on as it began.
        """

    def check(self) -> None:
        """Refuse what can be refused before anything is imported or downloaded."""
        check_device_name(self.request.device)
        find_sources(self.paths)
        if self.options.val_data is not None:
            find_sources([self.options.val_data])

    def begin(self, prepared: PreparedRun, trainer: MeasuredTrainer) -> None:
        """Do what is to be done before the first step of a new run."""

    def execute(self) -> T:
        """Train, and write the result."""
        request = self.request
        self.check()
        with self.folder.claimed(
            resume=request.resume, overwrite=request.overwrite, is_first=self.is_first
        ):
            self._check_inputs()
            with self.computing():
                return self._train()

    def _train(self) -> T:
        from hfgen.training.runs.execute import Execution, make_reporter
        from hfgen.training.runs.make_trainer import make_trainer

        options, folder, is_resumed = self.options, self.folder, self.request.resume
        earlier = folder.read_start() if is_resumed else None
        if earlier is not None:
            check_same_options(earlier, self.model_name, options.given())
        prepared = self.prepare(None if earlier is None else Plan(**earlier.plan))
        self.tell_notices(prepared)
        start = self._start(prepared, earlier)
        if warning := cost.check_cost(
            prepared, options, self.device, folder.path, is_resumed=is_resumed
        ):
            self.listener.notice(spelled(warning, self.listener.spelling))
        reporter = make_reporter(self, prepared)
        trainer = make_trainer(
            prepared, options, folder.checkpoints, self.device,
            callbacks=[reporter], stop=self.request.stop,
        )  # fmt: skip
        if not is_resumed:
            self.begin(prepared, trainer)
            # Not before: settings may be refused where the Trainer is made or first computes.
            if self.is_first:
                folder.clear_checkpoints()
        return Execution(self, prepared, start, trainer, reporter).run()

    @property
    def command(self) -> str | None:
        """What the report says repeats the run."""
        return self.request.command

    @cached_property
    def folder(self) -> RunFolder:
        """The folder of the result."""
        output = self.request.output
        return RunFolder(self.default_output if output is None else Path(output))

    @property
    def model_name(self) -> str:
        """Name and revision of what is trained, by which a resumed run is known again."""
        if self.resolved is None:
            return NEW_MODEL
        revision = self.resolved.revision
        return f"{self.resolved.name}@{revision}" if revision else self.resolved.name

    def find_model(self, name: str) -> ResolvedModel:
        """Find the model that is asked for, else the usual one, of this `name`."""
        self.listener.stage(f"looking for {name} …")
        request = self.request
        found = resolve(request.model, offline=request.offline, progress=self.listener.stage)
        for notice in found.notices:
            self.listener.notice(notice)
        return found

    def load_base(self, resolved: ResolvedModel) -> Base:
        """Load the model that is trained further."""
        from hfgen.training.model.load import load_base

        return load_base(
            resolved,
            self.options,
            device=str(self.device),
            trust_remote_code=self.request.trust_remote_code,
            progress=self.listener.stage,
        )

    @contextlib.contextmanager
    def computing(self) -> Iterator[None]:
        """Import what trains, and explain what goes wrong in it."""
        import_bitsandbytes()
        # Transformers' Trainer brings peft along, and that must stay silent.
        with quick_imports():
            import hfgen.training.runs.execute  # noqa: F401
            from hfgen.training.model.devices import own_device
        self.device = own_device(self.request.device)
        with as_current(self.device), explaining_failures(self.options):
            yield

    def tell_notices(self, prepared: PreparedRun, *, but: str | None = None) -> None:
        """Tell what the user should know before the first step."""
        for notice in prepared.data.notices:
            if notice != but:
                self.listener.notice(notice)

    def expected_s(self, prepared: PreparedRun, trainer: MeasuredTrainer) -> float:
        """Measure a batch, and estimate the time of the run."""
        self.listener.stage("measuring a step …")
        batch_s = cost.time_step(trainer.try_a_batch, prepared.base.model)
        return cost.seconds_of(prepared.plan, batch_s)

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
            fingerprint=prepared.data.reported.fingerprint,
            started=timestamp(),
        )
        if earlier is None:
            return start
        check_same_run(earlier, start)
        checkpoint = last_checkpoint(self.folder.checkpoints)
        step = 0 if checkpoint is None else step_of(checkpoint)
        return replace(earlier, resumed_from=(*earlier.resumed_from, step))
