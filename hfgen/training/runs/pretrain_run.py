"""One run of `pretrain`, from its text files to the folder with the result."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

from hfgen.models.naming.resolve import ResolvedModel
from hfgen.models.sizing.quantities import in_bytes, in_time
from hfgen.training.checkpoints.run_dir import RunFolder, RunStart
from hfgen.training.corpus.prepare import FOLDER, Corpus, CorpusFolder
from hfgen.training.corpus.tokenizer import check_tokenizer
from hfgen.training.events import Listener
from hfgen.training.model.load import load_base
from hfgen.training.model.new_gpt2 import describe
from hfgen.training.options.pretrain import PretrainOptions
from hfgen.training.planning import cost, run_cost
from hfgen.training.planning.plan import Plan
from hfgen.training.rank0_first import first_process_first
from hfgen.training.reading.files import find_sources
from hfgen.training.report.record import NEW_MODEL
from hfgen.training.runs.budget import measure, steps_within, tokens_within
from hfgen.training.runs.execute import Execution, make_trainer
from hfgen.training.runs.outcome import Pretrained, Rehearsal
from hfgen.training.runs.prepare_finetune import PreparedRun
from hfgen.training.runs.prepare_pretrain import (
    introduction,
    new_base,
    planned_for,
    prepare_pretraining,
)
from hfgen.training.runs.run import TrainingRun

# Bytes of ids for a byte of text, about.
_IDS_PER_BYTE = 0.6


class PretrainRun(TrainingRun[Pretrained]):
    """See `hfgen.training.runs.pretraining`, whose arguments these are, checked."""

    outcome = Pretrained
    options: PretrainOptions

    def __init__(
        self,
        paths: Sequence[str],
        resolved: ResolvedModel | None,
        options: PretrainOptions,
        folder: RunFolder,
        listener: Listener,
        *,
        device: str,
        trust: bool,
        offline: bool,
    ) -> None:
        super().__init__(paths, options, folder, listener, device=device)
        self.resolved = resolved
        self.trust = trust
        self.offline = offline
        self._begun = time.monotonic()
        self._expected_s: float | None = None

    @property
    def model_name(self) -> str:
        """Name and revision."""
        if self.resolved is None:
            return NEW_MODEL
        revision = self.resolved.revision
        return f"{self.resolved.name}@{revision}" if revision else self.resolved.name

    def prepare(self, stdin: BinaryIO | None, earlier: RunStart | None) -> PreparedRun:
        """Encode the text, make or load the model, and plan."""
        if self.is_first and earlier is None:
            self._check_space()
        stored = None if earlier is None else Plan(**earlier.plan)
        prepared = self._prepare(self.folder.checkpoints / FOLDER, stdin, stored)
        if self.options.budget_s is None or stored is not None:
            return prepared
        return self._within_budget(prepared, self.options.budget_s)

    def begin(self, execution: Execution[Pretrained]) -> None:
        """Tell what will be trained on what, how long it will take, and how much memory."""
        prepared = execution.prepared
        for line in introduction(prepared, self.options):
            self.listener.notice(line)
        expected_s = self._expected_s
        if expected_s is None:
            self.listener.stage("measuring a step …")
            expected_s = run_cost.seconds_of(
                prepared.plan, execution.trainer.try_a_batch, prepared.base.model
            )
        memory = run_cost.cost_of(prepared, self.options, self.device).memory_bytes
        self.listener.notice(f"expected: about {in_time(expected_s)}, {in_bytes(memory)} of memory")

    def rehearse(self, *, stdin: BinaryIO | None) -> Rehearsal:
        """Prepare everything in a folder for the moment, and measure a few batches or steps."""
        with tempfile.TemporaryDirectory() as name:
            prepared = self._prepare(Path(name) / FOLDER, stdin, None)
            seconds = self.options.budget_s
            if seconds is not None:
                prepared = self._within_budget(prepared, seconds, Path(name))
            else:
                self.listener.stage("measuring a step …")
                trainer = make_trainer(prepared, self.options, Path(name), self.device)
                seconds = run_cost.seconds_of(
                    prepared.plan, trainer.try_a_batch, prepared.base.model
                )
            base, estimate = prepared.base, run_cost.cost_of(prepared, self.options, self.device)
            return Rehearsal(
                model=self.model_name,
                is_new=base.resolved is None,
                parameters=base.parameters,
                vocab_size=len(base.tokenizer),
                output=self.folder.path,
                data=prepared.data,
                plan=prepared.plan,
                cost=replace(estimate, seconds=seconds),
                beginnings=tuple(base.tokenizer.decode(e.ids) for e in prepared.shown),
                notices=prepared.notices,
            )

    def _prepare(self, folder: Path, stdin: BinaryIO | None, stored: Plan | None) -> PreparedRun:
        base = None
        if self.resolved is not None:
            self.listener.stage(f"loading {self.resolved.name} …")
            base = load_base(
                self.resolved,
                self.options,
                device=str(self.device),
                trust_remote_code=self.trust,
                progress=self.listener.stage,
            )
            check_tokenizer(base.tokenizer, self.resolved.name)
        corpus = self._corpus(folder, stdin, base and base.tokenizer, is_resumed=stored is not None)
        return prepare_pretraining(
            corpus,
            base or new_base(self.options, corpus.tokenizer),
            self.options,
            device=str(self.device),
            fitting=self._fitting(),
            stored=stored,
        )

    def _fitting(self) -> Any:
        return partial(run_cost.fitting_for, options=self.options, device=self.device)

    def _corpus(
        self, folder: Path, stdin: BinaryIO | None, tokenizer: Any, *, is_resumed: bool
    ) -> Corpus:
        place = CorpusFolder(
            folder, self.options, self.listener, is_resumed=is_resumed, offline=self.offline
        )
        size = self.options.new_size
        with first_process_first(self.options, is_cpu=self.device.type == "cpu"):
            return place.make(
                self.paths,
                stdin,
                tokenizer=tokenizer,
                vocab_size=size.vocab_size,
                window=size.n_positions,
                is_first=self.is_first,
            )

    def _within_budget(
        self, prepared: PreparedRun, budget_s: float, place: Path | None = None
    ) -> PreparedRun:
        """The run with as many steps as there is time for, reading the data counted."""
        self.listener.stage("measuring the speed …")
        where = place or self.folder.checkpoints
        # By this name a later run removes it, should this one be killed.
        with tempfile.TemporaryDirectory(dir=where, prefix=".saving-") as name:
            asked = self.options, Path(name), self.device, self._begun + budget_s
            tokens = tokens_within(prepared, *asked)
            prepared = planned_for(prepared, self.options, tokens, fitting=self._fitting())
            speed = measure(prepared, *asked)
        steps = steps_within(speed, self.options.eval_steps)
        self._expected_s = speed.left_s
        self.listener.notice(
            f"budget {self.options.budget}: {steps:,} steps of {speed.step_s:.3g} s"
        )
        return planned_for(prepared, self.options, tokens, steps=steps)

    def _check_space(self) -> None:
        """Refuse a disk that is too small, before the text is read."""
        if self.resolved is not None:
            return
        parameters = describe(self.options.new_size).parameters
        named = [source.path for source in find_sources(self.paths)]
        text = sum(path.stat().st_size for path in named if path is not None)
        needed = cost.disk_of(
            parameters=parameters,
            trainable_parameters=parameters,
            method="full",
            optim=self.options.value("optim"),
        )
        cost.check_space(
            self.folder.path,
            needed + int(_IDS_PER_BYTE * text),
            method="full",
            lighter=self.options.LIGHTER[1],
        )
