"""What a run will do, decided before it begins: steps, batches, rates, when to validate.

| left open | decided by |
| --- | --- |
| epochs, effective batch, learning rate, warmup | `hfgen.training.planning.defaults`: rows, tokens, parameters, method |
| batch size and accumulation | as many rows at once as the effective batch has, at most 8; `auto`: what fits into memory |
| when to validate and to save | `hfgen.training.planning.defaults.intervals`, less often where validation would take long |
| early stopping | `hfgen.training.planning.defaults.patience`: three tenths of the run without a better validation |
| precision | `hfgen.training.planning.precision`: bf16 where it is faster |
| how rows become tensors | dense, unless the model would see from one example into another |
"""  # noqa: E501

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

from hfgen.training.options.common import Method, RunOptions
from hfgen.training.planning.defaults import Defaults, defaults_for, intervals, patience

if TYPE_CHECKING:
    from hfgen.training.planning.cost import StepMemory

Batches = Literal["dense", "padded", "packed", "windows"]
FloatKind = Literal["fp32", "bf16", "fp16"]

_VALIDATION_SHARE = 0.2
"""Most of the time that validation may take, as a part of that of training."""


@dataclass(frozen=True)
class Plan:
    """Every choice that the options leave open, made."""

    method: Method
    steps: int
    """Optimizer steps of the whole run."""
    epochs: float
    steps_per_epoch: int
    batch_size: int
    """Rows computed at once, in each process."""
    gradient_accumulation_steps: int
    processes: int
    learning_rate: float
    warmup_steps: int
    eval_steps: int
    save_steps: int
    max_length: int
    precision: FloatKind
    batches: Batches
    """How rows become tensors (`hfgen.training.data.collators`)."""
    train_rows: int
    """Rows after windows and packing."""
    train_tokens: int
    """Tokens of one epoch, padding not counted."""
    val_rows: int
    val_tokens: int

    @property
    def effective_batch(self) -> int:
        """Rows of one optimizer step."""
        return self.batch_size * self.gradient_accumulation_steps * self.processes

    def to_dict(self) -> dict[str, Any]:
        """The plan as plain data."""
        return asdict(self)

    def with_facts(self, facts: Facts) -> Plan:
        """What was decided when the run was begun, with the facts as they are now."""
        return replace(self, **facts.planned)


@dataclass(frozen=True)
class Facts:
    """What a plan is made from, besides the options."""

    train_rows: int
    train_tokens: int
    val_rows: int
    val_tokens: int
    parameters: int
    """Of the whole model."""
    max_length: int
    processes: int
    precision: FloatKind
    batches: Batches

    @property
    def planned(self) -> dict[str, Any]:
        """Those that a plan repeats."""
        return {name: value for name, value in vars(self).items() if name != "parameters"}


def make_plan(
    options: RunOptions,
    facts: Facts,
    memory: StepMemory | None = None,
    *,
    default: Defaults | None = None,
    steps: int | None = None,
) -> Plan:
    """Decide what the options leave open.

    `memory` is asked how many rows fit where that is to decide (`--batch-size auto`). `default`
    stands for what `defaults_for` would say, and `steps` for what epochs would.
    """
    default = default or defaults_for(
        facts.train_rows, facts.train_tokens, facts.parameters, method=options.method
    )
    batch, accumulation = _batch(options, default, facts.processes, memory)
    # The Trainer's own count: a last, smaller batch of an epoch is a batch.
    batches = math.ceil(facts.train_rows / (batch * facts.processes))
    steps_per_epoch = max(1, math.ceil(batches / accumulation))
    if steps is None:
        epochs = default.epochs if options.epochs is None else options.epochs
        steps = max(1, math.ceil(epochs * steps_per_epoch))
    if options.max_steps is not None:
        steps = options.max_steps if options.epochs is None else min(steps, options.max_steps)
    eval_steps, save_steps = intervals(steps)
    # A row that is validated costs a third of one that is trained on.
    validation = facts.val_rows / (3 * batch * accumulation * facts.processes)
    if validation > _VALIDATION_SHARE * eval_steps:
        eval_steps = save_steps = math.ceil(validation / _VALIDATION_SHARE)
    if options.eval_steps is not None:
        eval_steps = save_steps = options.eval_steps
    is_flat = options.value("lr_scheduler") == "constant" and not options.warmup
    warmup = default.warmup if options.warmup is None else options.warmup
    return Plan(
        method=options.method,
        steps=steps,
        epochs=round(steps / steps_per_epoch, 4),
        steps_per_epoch=steps_per_epoch,
        batch_size=batch,
        gradient_accumulation_steps=accumulation,
        learning_rate=options.learning_rate or default.learning_rate,
        warmup_steps=0 if is_flat else round(warmup * steps) if warmup < 1 else int(warmup),
        eval_steps=min(eval_steps, steps),
        save_steps=min(options.save_steps or save_steps, steps),
        **facts.planned,
    )


def patience_of(options: RunOptions, plan: Plan) -> int | None:
    """After how many evaluations that are no better than the best a run stops; None: never."""
    if not plan.val_rows:
        return None
    if options.early_stopping is None:
        return patience(plan.steps, plan.eval_steps)
    return options.early_stopping or None


def _batch(
    options: RunOptions,
    default: Defaults,
    processes: int,
    memory: StepMemory | None,
) -> tuple[int, int]:
    """Rows at once in each process, and batches a step."""
    accumulation = options.gradient_accumulation_steps
    if isinstance(options.batch_size, int):
        return options.batch_size, accumulation or 1
    if accumulation is not None:
        rows = default.effective_batch // (processes * accumulation)
        return min(max(1, rows), default.rows_at_once), accumulation
    share = max(1, default.effective_batch // processes)
    if options.batch_size == "auto" and memory is not None:
        return memory.fitting(share)
    rows = min(share, default.rows_at_once)
    return rows, share // rows
