"""The part of a run with a Trainer in it: validate, train, write the result and the report."""

from __future__ import annotations

import gc
import math
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic

from hfgen.generation.statistics import peak_bytes
from hfgen.mentions import mention, spelled
from hfgen.models.checkpoint.load import load
from hfgen.models.checkpoint.load_options import LoadOptions
from hfgen.models.naming.resolve import ResolvedModel, resolve
from hfgen.models.silence import quiet
from hfgen.models.sizing.info import licence_of
from hfgen.training.checkpoints.checkpoints import last_checkpoint
from hfgen.training.checkpoints.restore import reset
from hfgen.training.checkpoints.run_start import RunStart
from hfgen.training.events import Evaluation
from hfgen.training.layout import replaceable_files
from hfgen.training.loop.callbacks import Reporter
from hfgen.training.loop.history import evaluation_of, evaluations, steps
from hfgen.training.loop.loss import ScoredModel
from hfgen.training.loop.measured import MeasuredTrainer
from hfgen.training.loop.samples import Sampler, sample_prompts
from hfgen.training.planning.plan import patience_of
from hfgen.training.reading.files import find_sources
from hfgen.training.reading.validation_files import validation_paths
from hfgen.training.report.environment import file_facts, machine, timestamp, versions
from hfgen.training.report.plot import WITHOUT_MATPLOTLIB
from hfgen.training.report.record import (
    NEW_MODEL,
    NEW_SOURCE,
    PLOT,
    BaseModel,
    RunReport,
    write_report,
)
from hfgen.training.runs.outcome import T
from hfgen.training.runs.prepared import PreparedRun
from hfgen.training.runs.publish import publish

if TYPE_CHECKING:
    from hfgen.training.runs.run import TrainingRun


class Execution(Generic[T]):
    """Trains what was prepared."""

    def __init__(
        self,
        run: TrainingRun[Any, T],
        prepared: PreparedRun,
        start: RunStart,
        trainer: MeasuredTrainer,
        reporter: Reporter,
    ) -> None:
        self.request = run.request
        self.outcome = run.outcome
        self.command = run.command
        self.options = run.options
        self.folder = run.folder
        self.paths = run.paths
        self.listener = run.listener
        self.is_first = run.is_first
        self.prepared = prepared
        self.start = start
        self.trainer = trainer
        self.reporter = reporter
        reporter.trainer = trainer

    def run(self) -> T:
        """Train from the beginning or the last checkpoint to the end, and publish."""
        trainer = self.trainer
        self._begin()
        checkpoint = last_checkpoint(self.folder.checkpoints) if self.request.resume else None
        with quiet():
            trainer.train(resume_from_checkpoint=None if checkpoint is None else str(checkpoint))
        if trainer.was_stopped and not self.reporter.is_over(trainer.state):
            return self._outcome((), after=self._before, was_stopped=True)
        after = self._after()
        self._warn_of_no_gain(after)
        files: tuple[Path, ...] = ()
        if self.is_first:
            files = self._publish(after)
        trainer.accelerator.wait_for_everyone()
        return self._outcome(files, after=after, was_stopped=False)

    def _begin(self) -> None:
        """Evaluate the model as it is, or recall how it was when the run was begun."""
        if self.request.resume:
            self._before = evaluation_of(self.start.before)
            self.reporter.take_base(self._before.loss)
            self.reporter.is_before = False
        else:
            self.listener.stage(
                "validating …"
                if self.prepared.plan.val_rows
                else "checking that a step fits in memory …"
            )
            with quiet():
                self._before = self.reporter.begin()
            self.start = replace(self.start, before=asdict(self._before))
        if self.is_first:
            self.folder.write_start(self.start)

    def _after(self) -> Evaluation:
        """Go back to the best checkpoint where that is not the last, and tell how good it is."""
        state, reporter = self.trainer.state, self.reporter
        best = state.best_global_step
        if best == 0:
            with quiet():
                reset(self.trainer.model, self.prepared.base.again().model)
            return replace(self._before, is_best=True)
        step = state.global_step if best is None else int(best)
        if step == state.global_step:
            reporter.samples = reporter.samples or reporter.sample()
        else:
            with quiet():
                self.trainer._load_best_model()
            reporter.samples = reporter.sample()
        found = {event.step: event for event in evaluations(state.log_history)}
        last = found.get(step) or Evaluation(step, None, is_best=False)
        return replace(last, is_best=best is not None, samples=reporter.samples)

    def _warn_of_no_gain(self, after: Evaluation) -> None:
        """Say so where no step was better than the model as it was."""
        before = self._before.loss
        if before is None or after.loss is None or after.loss < before:
            return
        what = "the model is written as it was" if after.step == 0 else "the model got no better"
        text = (
            f"no step lowered the validation loss: {what}; try a lower {mention('learning_rate')} "
            f"(it was {self.prepared.plan.learning_rate:g}) or more data"
        )
        self.listener.notice(spelled(text, self.listener.spelling))

    def _publish(self, after: Evaluation) -> tuple[Path, ...]:
        self.listener.stage(f"writing {self.folder.path} …")
        base = self.prepared.base
        # As it is without the training's precision; and room for reading the result back.
        model = self.trainer.accelerator.unwrap_model(self.trainer.model, keep_fp32_wrapper=False)
        model.zero_grad(set_to_none=True)
        self.trainer.optimizer = self.trainer.lr_scheduler = None
        gc.collect()
        difference = publish(
            model,
            base.tokenizer,
            self.folder.path,
            method=self.options.method,
            probes=self.prepared.data.shown,
        )
        notes = [f"read back, logits differ by {difference:.1e} of the largest"]
        if self.options.method == "qlora":
            notes.append(self._as_generated())
        report = self._report(after, notes)
        written = write_report(self.folder.path, report)
        if not any(path.name == PLOT for path in written):
            self.listener.notice(WITHOUT_MATPLOTLIB)
        named = [self.folder.path / name for name in sorted(replaceable_files(self.folder.path))]
        return tuple(path for path in named if path.is_file())

    def _as_generated(self) -> str:
        """How good an adapter is on the base itself, after training on the base in 4 bits."""
        validation = self.prepared.data.validation
        if not self.prepared.plan.val_rows or self.prepared.plan.processes > 1:
            return "trained on a base in 4 bits; hfgen generate runs it on the base itself"
        model = load(resolve(str(self.folder.path.resolve())), LoadOptions(dtype="float32")).model
        loss = self.trainer.validate(model, ScoredModel(model), validation).loss
        note = (
            "trained on a base in 4 bits; on the base itself, as hfgen generate runs it, "
            f"validation loss is {loss:.3f} (perplexity {math.exp(loss):.2f})"
        )
        self.listener.notice(note)
        return note

    def _report(self, after: Evaluation, notes: Sequence[str]) -> RunReport:
        prepared, state = self.prepared, self.trainer.state
        tokens, seconds = self.trainer.tokens, self.reporter.seconds
        return RunReport(
            output=str(self.folder.path),
            base=_base_model(prepared.base.resolved),
            is_pretrained=self.options.COMMAND == "pretrain",
            method=self.options.method,
            parameters=prepared.base.parameters,
            trainable_parameters=prepared.base.trainable_parameters,
            data=replace(
                prepared.data.reported,
                files=file_facts(_files(self.paths)),
                validation_files=file_facts(_files(validation_paths(self.paths, self.options))),
            ),
            plan=prepared.plan.to_dict(),
            before=self._before,
            after=after,
            steps=tuple(steps(state.log_history)),
            evaluations=tuple(evaluations(state.log_history, to_beat=self.reporter.to_beat)),
            best_step=state.best_global_step,
            steps_done=state.global_step,
            seconds=seconds,
            tokens=tokens,
            tokens_per_s=tokens / seconds if seconds else None,
            peak_bytes=peak_bytes(self.trainer.args.device),
            resumed_from=self.start.resumed_from,
            seed=self.options.value("seed"),
            options=self.options.given(),
            has_template=bool(getattr(prepared.base.tokenizer, "chat_template", None)),
            command=self.command,
            started=self.start.started,
            finished=timestamp(),
            versions=versions(self.options.method),
            machine=machine(),
            processes=prepared.plan.processes,
            notes=tuple(notes),
        )

    def _outcome(self, files: tuple[Path, ...], *, after: Evaluation, was_stopped: bool) -> T:
        tokens, seconds = self.trainer.tokens, self.reporter.seconds
        return self.outcome(
            folder=self.folder.path,
            method=self.options.method,
            plan=self.prepared.plan,
            steps=self.trainer.state.global_step,
            was_stopped=was_stopped,
            seed=self.options.value("seed"),
            seconds=seconds,
            tokens=tokens,
            peak_bytes=peak_bytes(self.trainer.args.device),
            before=self._before,
            after=after,
            files=files,
            asking=self.prepared.data.reported.asking,
        )


def make_reporter(run: TrainingRun[Any, Any], prepared: PreparedRun) -> Reporter:
    """What tells the listener how the run goes."""
    base, data = prepared.base, prepared.data
    is_sharded = any(name in ("fsdp", "deepspeed") for name, _ in run.options.arguments or ())
    return Reporter(
        run.listener,
        Sampler(base.tokenizer, base.window, sample_prompts(data.shown, base.window)),
        has_validation=prepared.plan.val_rows > 0,
        patience=patience_of(run.options, prepared.plan),
        model=base.stock if run.is_first and not is_sharded else None,
        is_new=base.resolved is None,
        bits_per_nat=data.reported.bits_per_nat,
    )


def _base_model(resolved: ResolvedModel | None) -> BaseModel:
    """The model that was trained further; a new one has only a name."""
    if resolved is None:
        return BaseModel(NEW_MODEL, source=NEW_SOURCE)
    return BaseModel(
        resolved.name,
        resolved.source,
        resolved.repo_id,
        resolved.revision,
        licence_of(resolved),
    )


def _files(paths: Sequence[str]) -> list[Path]:
    """The files that paths stand for; standard input is none."""
    if not paths:
        return []
    return [source.path for source in find_sources(paths) if source.path is not None]
