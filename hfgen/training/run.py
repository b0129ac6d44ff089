"""One training run, from its model and files to the folder with the result."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

from hfgen.models.devices import choose_device
from hfgen.models.resolve import ResolvedModel
from hfgen.training import run_cost
from hfgen.training.base import choose_one_gpu
from hfgen.training.checkpoints import last_checkpoint, step_of
from hfgen.training.execution import Execution, make_trainer
from hfgen.training.finetuning import DryRun, Finetuned, StopRequest
from hfgen.training.options import TrainingOptions
from hfgen.training.plan import Plan
from hfgen.training.preparation import PreparedRun, prepare_run, processes
from hfgen.training.progress import Listener
from hfgen.training.run_facts import timestamp
from hfgen.training.run_folder import RunFolder, RunStart, check_same_run
from hfgen.training.summary import decoded_examples, summarise


class Run:
    """See `hfgen.training.finetuning`, whose arguments these are, checked."""

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
        choose_one_gpu(device)
        self.paths = paths
        self.resolved = resolved
        self.options = options
        self.folder = folder
        self.listener = listener
        self.trust = trust
        self.device = choose_device(device.partition(":")[0])
        self.is_first = processes()[0] == 0

    def rehearse(self, *, stdin: BinaryIO | None) -> DryRun:
        """Prepare everything, and measure a few batches."""
        prepared = self._prepare(stdin, None)
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

    def execute(
        self,
        *,
        stdin: BinaryIO | None,
        stop: StopRequest,
        command: str | None,
        is_resumed: bool,
    ) -> Finetuned:
        """Train, and write the result."""
        earlier = self.folder.read_start() if is_resumed else None
        prepared = self._prepare(stdin, earlier)
        for notice in prepared.notices:
            self.listener.notice(notice)
        start = RunStart(
            model=self._model_name(),
            options=self.options.given(),
            plan=prepared.plan.to_dict(),
            fingerprint=prepared.data.fingerprint,
            started=timestamp(),
        )
        if earlier is not None:
            check_same_run(earlier, start)
            start = replace(earlier, resumed_from=(*earlier.resumed_from, self._last_step()))
        if warning := run_cost.check(
            prepared, self.options, self.device, self.folder.path, is_resumed=is_resumed
        ):
            self.listener.notice(warning)
        if self.is_first:
            self.folder.claim()
        try:
            if self.is_first and not is_resumed:
                self.folder.clear_checkpoints()
            execution = Execution(
                prepared, self.options, self.folder, self.listener, start, stop, self.device
            )
            return execution.run(self.paths, command, is_resumed=is_resumed)
        finally:
            if self.is_first:
                self.folder.release()

    def _prepare(self, stdin: BinaryIO | None, earlier: RunStart | None) -> PreparedRun:
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

    def _model_name(self) -> str:
        revision = self.resolved.revision
        return f"{self.resolved.name}@{revision}" if revision else self.resolved.name

    def _last_step(self) -> int:
        checkpoint = last_checkpoint(self.folder.checkpoints)
        return 0 if checkpoint is None else step_of(checkpoint)
