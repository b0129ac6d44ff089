"""`pretrain`: from raw text to a folder with a new model, or one that learned further.

    cut the text into documents → train a tokenizer → encode → make the model → plan, by the clock
      where there is a budget

From the plan on it is the same as `finetune`.
"""

from __future__ import annotations

import tempfile
import time
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Unpack

from hfgen.errors import OptionConflict, UsageError
from hfgen.mentions import mention
from hfgen.models.naming.resolve import ResolvedModel
from hfgen.models.sizing.memory import gpu_memory
from hfgen.models.sizing.quantities import in_bytes, in_time
from hfgen.training.checkpoints.run_dir import default_output
from hfgen.training.corpus.tokenizer import check_tokenizer
from hfgen.training.distributed import first_process_first
from hfgen.training.events import Listener
from hfgen.training.model.new_gpt2 import DEFAULT_SIZE, check_memory, describe
from hfgen.training.options.keywords import PretrainKeywords
from hfgen.training.options.pretrain import ContinuedOptions, PretrainOptions
from hfgen.training.planning import cost
from hfgen.training.planning.plan import Plan, make_plan
from hfgen.training.reading.files import find_sources
from hfgen.training.request import Data, StopRequest, TrainingRequest
from hfgen.training.runs.outcome import Pretrained, Rehearsal
from hfgen.training.runs.run import TrainingRun

if TYPE_CHECKING:
    from hfgen.training.corpus.prepare import Corpus
    from hfgen.training.loop.measured import MeasuredTrainer
    from hfgen.training.model.load import Base
    from hfgen.training.runs.prepared import PreparedRun

# Bytes of ids for a byte of text, about.
_IDS_PER_BYTE = 0.6


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
    chosen = PretrainOptions.from_mapping(settings).over(options or PretrainOptions())
    request = TrainingRequest(
        data, chosen, model=model, output=output, device=device, offline=offline,
        trust_remote_code=trust_remote_code, resume=resume, overwrite=overwrite, stdin=stdin,
        listener=listener or Listener(), stop=stop or StopRequest(), command=command,
    )  # fmt: skip
    return PretrainRun(request).execute()


class PretrainRun(TrainingRun[PretrainOptions, Pretrained]):
    """One run of `pretrain`; a model that is trained further has other defaults than a new one."""

    outcome = Pretrained

    def __init__(self, request: TrainingRequest[PretrainOptions]) -> None:
        super().__init__(request)
        if request.model is not None:
            self.options = ContinuedOptions.from_mapping(request.options.given())
        self._begun = time.monotonic()
        self._expected_s: float | None = None

    def check(self) -> None:
        """Refuse, too, a new model beyond the memory, and its sizes for one that is there."""
        super().check()
        if [*self.paths, self.options.val_data].count("-") > 1:
            raise UsageError(
                "standard input (-) can be read once only", hint="name a file in one of the places"
            )
        model = self.request.model
        if model is None:
            available = None if self.request.device == "cpu" else gpu_memory()
            check_memory(self.options.new_size, available)
        elif names := self.options.about_new_model:
            raise OptionConflict(
                f"{mention(names[0])} is for a new model, and one is named: {model}",
                hint="leave one of them out",
            )

    @cached_property
    def resolved(self) -> ResolvedModel | None:
        """The model that is trained further; None for a new one."""
        model = self.request.model
        return None if model is None else self.find_model(model)

    @property
    def default_output(self) -> Path:
        """Named after the model, or the size of a new one."""
        name = self.request.model or f"gpt2-{self.options.size or DEFAULT_SIZE}"
        return default_output(name, suffix="pretrained")

    def prepare(self, stored: Plan | None) -> PreparedRun:
        """Encode the text, make or load the model, and plan."""
        if self.is_first and stored is None and self.resolved is None:
            self._check_space()
        return self._prepare(self.folder.checkpoints, stored)

    def begin(self, prepared: PreparedRun, trainer: MeasuredTrainer) -> None:
        """Tell what will be trained on what, how long it will take, and how much memory."""
        from hfgen.training.runs.prepare_pretrain import introduction

        for line in introduction(prepared, self.options):
            self.listener.notice(line)
        expected_s = self._expected_s or self.expected_s(prepared, trainer)
        memory = cost.cost_of(prepared, self.options, self.device).memory_bytes
        self.listener.notice(f"expected: about {in_time(expected_s)}, {in_bytes(memory)} of memory")

    def rehearse(self) -> Rehearsal:
        """Tell what the run would do; the text is encoded whole, in a folder for the moment."""
        self.check()
        with self.computing(), tempfile.TemporaryDirectory() as name:
            from hfgen.training.runs.make_trainer import make_trainer

            prepared = self._prepare(Path(name), None)
            base, data = prepared.base, prepared.data
            self.tell_notices(prepared, but=data.reported.description)
            estimate = cost.cost_of(prepared, self.options, self.device)
            seconds = self.options.budget_s
            if seconds is None:
                trainer = make_trainer(prepared, self.options, Path(name), self.device)
                seconds = self.expected_s(prepared, trainer)
            return Rehearsal(
                model=self.model_name,
                is_new=base.resolved is None,
                parameters=base.parameters,
                vocab_size=len(base.tokenizer),
                output=self.folder.path,
                data=data.reported,
                plan=prepared.plan,
                cost=replace(estimate, seconds=seconds),
                beginnings=tuple(base.tokenizer.decode(e.ids) for e in data.shown),
                notices=data.notices,
            )

    def _prepare(self, place: Path, stored: Plan | None) -> PreparedRun:
        from hfgen.training.runs import prepare_pretrain as pretrain
        from hfgen.training.runs.prepared import PreparedRun

        options = self.options
        base = None
        if self.resolved is not None:
            base = self.load_base(self.resolved)
            check_tokenizer(base.tokenizer, self.resolved.name)
        corpus = self._corpus(place, base, is_resumed=stored is not None)
        base = base or pretrain.new_base(options, corpus.tokenizer)
        data = pretrain.pretraining_data(corpus, base, options, device=str(self.device))
        if stored is not None:
            prepared = PreparedRun(base, data, stored.with_facts(data.facts))
        else:
            memory = cost.StepMemory(base, data.train, data.facts, options, self.device)
            tokens = None if options.epochs is None else options.epochs * data.facts.train_tokens
            default = pretrain.defaults(base, data.facts, tokens)
            plan = make_plan(options, data.facts, memory, default=default)
            prepared = PreparedRun(base, data, plan)
            if options.budget_s is not None:
                prepared = self._within_budget(prepared, memory, options.budget_s, place)
        notices = (*data.notices, *pretrain.warnings(prepared.plan))
        return replace(prepared, data=replace(data, notices=notices))

    def _corpus(self, place: Path, base: Base | None, *, is_resumed: bool) -> Corpus:
        from hfgen.training.corpus.prepare import FOLDER, CorpusFolder

        corpus = CorpusFolder(
            place / FOLDER,
            self.options,
            self.listener,
            is_resumed=is_resumed,
            offline=self.request.offline,
        )
        size = self.options.new_size
        with first_process_first(self.options, is_cpu=self.device.type == "cpu"):
            return corpus.make(
                self.paths,
                self.request.stdin,
                tokenizer=None if base is None else base.tokenizer,
                vocab_size=size.vocab_size,
                window=size.n_positions,
                is_first=self.is_first,
            )

    def _within_budget(
        self, prepared: PreparedRun, memory: cost.StepMemory, budget_s: float, place: Path
    ) -> PreparedRun:
        """The run with as many steps as there is time for, reading the data counted."""
        from hfgen.training.runs.budget import measure, steps_within, tokens_within
        from hfgen.training.runs.prepare_pretrain import defaults

        options, facts = self.options, prepared.data.facts
        self.listener.stage("measuring the speed …")
        # By this name a later run removes it, should this one be killed.
        with tempfile.TemporaryDirectory(dir=place, prefix=".saving-") as name:
            asked = options, Path(name), self.device, self._begun + budget_s
            default = defaults(prepared.base, facts, tokens_within(prepared, *asked))
            plan = make_plan(options, facts, memory, default=default)
            speed = measure(replace(prepared, plan=plan), *asked)
        steps = steps_within(speed, options.eval_steps)
        self._expected_s = speed.left_s
        self.listener.notice(f"budget {options.budget}: {steps:,} steps of {speed.step_s:.3g} s")
        # In batches as they were measured.
        asked_for = replace(
            options,
            batch_size=plan.batch_size,
            gradient_accumulation_steps=plan.gradient_accumulation_steps,
        )
        plan = make_plan(asked_for, facts, default=default, steps=steps)
        return replace(prepared, plan=plan)

    def _check_space(self) -> None:
        """Refuse a disk that is too small for a new model, before the text is read."""
        parameters = describe(self.options.new_size).parameters
        named = [source.path for source in find_sources(self.paths)]
        text = sum(path.stat().st_size for path in named if path is not None)
        needed = cost.disk_of(self.options, parameters, parameters) + int(_IDS_PER_BYTE * text)
        cost.check_space(self.folder.path, needed, self.options)
