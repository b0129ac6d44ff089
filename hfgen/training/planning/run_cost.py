"""The costs of a prepared run, and batches that fit into memory."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

from hfgen.errors import ModelUnsupported
from hfgen.models.sizing.shape import shape_of
from hfgen.training.data.collators import PackedRow
from hfgen.training.data.encode import EncodedExample
from hfgen.training.model.load import Base
from hfgen.training.options.common import RunOptions
from hfgen.training.planning import cost
from hfgen.training.planning.cost import Cost
from hfgen.training.planning.plan import Facts, Plan
from hfgen.training.runs.prepare_finetune import PreparedRun

Rows = Sequence[EncodedExample] | Sequence[PackedRow]

_USUAL = 0.9
"""Nearly every batch has no more tokens a row than this part of the rows."""


def cost_of(prepared: PreparedRun, options: RunOptions, device: Any) -> Cost:
    """Estimate memory and disk; the time is left open (`timed` measures it)."""
    base, plan = prepared.base, prepared.plan
    return Cost(
        memory_bytes=_memory(base, prepared.facts, options, device, prepared.train)(
            plan.batch_size
        ),
        disk_bytes=cost.disk_of(
            parameters=base.parameters,
            trainable_parameters=base.trainable_parameters,
            method=options.method,
            optim=options.value("optim"),
        ),
        seconds=None,
    )


def fitting_for(
    base: Base, facts: Facts, rows: Rows, *, options: RunOptions, device: Any
) -> Callable[[int], tuple[int, int]]:
    """What `make_plan` asks for `--batch-size auto`."""
    memory = _memory(base, facts, options, device, rows)
    return lambda effective: cost.fitting_batch(effective, memory, cost.room(_kind(device)))


def check(
    prepared: PreparedRun,
    options: RunOptions,
    device: Any,
    folder: Path,
    *,
    is_resumed: bool,
) -> str | None:
    """Raise `OutputError` where the disk is too small; return a warning where the memory is."""
    expected = cost_of(prepared, options, device)
    cost.check_space(
        folder,
        expected.disk_bytes,
        method=options.method,
        is_resumed=is_resumed,
        lighter=options.LIGHTER[1],
    )
    return cost.check_memory(
        expected.memory_bytes,
        cost.room(_kind(device)),
        method=options.method,
        rows=prepared.plan.batch_size,
        gradient_accumulation_steps=prepared.plan.gradient_accumulation_steps,
        gradient_checkpointing=bool(options.value("gradient_checkpointing")),
        lighter=options.LIGHTER[0],
    )


def seconds_of(plan: Plan, run_once: Callable[[], None], model: Any) -> float:
    """Measure a batch, and estimate the time of the run."""
    return cost.seconds_of(
        cost.time_step(run_once, model),
        steps=plan.steps,
        gradient_accumulation_steps=plan.gradient_accumulation_steps,
        evaluations=1 + math.ceil(plan.steps / plan.eval_steps),
        eval_batches=math.ceil(plan.val_rows / (plan.batch_size * plan.processes)),
    )


def _memory(
    base: Base, facts: Facts, options: RunOptions, device: Any, rows: Rows
) -> Callable[[int], int]:
    """The memory of a step with so many rows at once."""
    config = base.stock.config
    try:
        shape = shape_of(config.to_dict())
    except ModelUnsupported:  # weights, gradients and two moments, and as much again
        return lambda batch: 32 * base.parameters
    lengths = _lengths(rows)
    usual = lengths[math.ceil(_USUAL * len(lengths)) - 1]
    longest = facts.max_length if facts.batches == "packed" else lengths[-1]

    def of(batch: int) -> int:
        dense = max(1, math.ceil(batch * usual / longest))
        return cost.memory_of(
            shape,
            method=options.method,
            trainable_parameters=base.trainable_parameters,
            rows=dense if facts.batches == "dense" else batch,
            length=longest,
            precision=facts.precision,
            gradient_checkpointing=bool(options.value("gradient_checkpointing")),
            optim=options.value("optim"),
            activation=_activation(config),
            dropout=_dropout(base.stock, options),
            is_attention_fused=config._attn_implementation != "eager",
            device=_kind(device),
        )

    return of


def _lengths(rows: Any) -> list[int]:
    """Tokens of each row, the shortest first; once where all have the same."""
    same = getattr(rows, "length", None)
    return sorted(len(row.ids) for row in rows) if same is None else [int(same)]


def _activation(config: Any) -> str | None:
    """The configuration's name of the activation."""
    names = ("activation_function", "hidden_act", "activation")
    return next((name for n in names if isinstance(name := getattr(config, n, None), str)), None)


def _dropout(model: Any, options: RunOptions) -> float:
    """Dropout of the attention."""
    if options.dropout is not None:
        return options.dropout
    found = (getattr(model.config, name, None) for name in ("attn_pdrop", "attention_dropout"))
    return next((float(value) for value in found if isinstance(value, float | int)), 0.0)


def _kind(device: Any) -> Literal["cpu", "cuda"]:
    return "cuda" if device.type == "cuda" else "cpu"
