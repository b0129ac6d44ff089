"""The Trainer of a run, and its `TrainingArguments`, from options and `Plan`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import PrinterCallback, ProgressCallback, TrainerCallback, TrainingArguments

from hfgen.errors import InvalidOption, UsageError
from hfgen.mentions import mention
from hfgen.models.checkpoint.load_checks import brief
from hfgen.models.silence import quiet
from hfgen.training.loop.measured import Counting, MeasuredTrainer
from hfgen.training.loop.optimizers import own_optimizer
from hfgen.training.model.devices import keep_to
from hfgen.training.options.common import RunOptions
from hfgen.training.options.optimizer_names import MUON, stock_name
from hfgen.training.planning.plan import Plan
from hfgen.training.request import StopRequest
from hfgen.training.runs.prepared import PreparedRun


def make_trainer(
    prepared: PreparedRun,
    options: RunOptions,
    checkpoints: Path,
    device: Any,
    *,
    callbacks: Sequence[TrainerCallback] = (),
    stop: StopRequest | None = None,
) -> MeasuredTrainer:
    """The Trainer of a run. Raises `UsageError` for settings that Transformers refuses."""
    arguments = training_arguments(options, prepared.plan, checkpoints, device)
    with quiet():
        try:
            trainer = MeasuredTrainer(
                prepared.base.model,
                arguments,
                train_dataset=prepared.data.train,
                eval_dataset=prepared.data.validation or None,
                data_collator=Counting(prepared.data.collate),
                processing_class=prepared.base.tokenizer,
                callbacks=list(callbacks),
                optimizer_cls_and_kwargs=own_optimizer(options, arguments),
                stop=stop,
            )
            # Refused now rather than after the first validation; training makes its own.
            trainer.create_optimizer()
            trainer.create_scheduler(prepared.plan.steps)
        except (ValueError, TypeError, ImportError, KeyError, AttributeError) as error:
            raise refusal(error, options) from error
        except RuntimeError as error:
            if "installed" in str(error):  # a tracker
                raise refusal(error, options) from error
            raise
        trainer.optimizer = trainer.lr_scheduler = None
    trainer.has_short_answers = prepared.data.reported.asking.is_label
    for callback in (PrinterCallback, ProgressCallback):
        trainer.remove_callback(callback)
    return trainer


def training_arguments(
    options: RunOptions, plan: Plan, checkpoints: Path, device: torch.device
) -> TrainingArguments:
    """Build the Trainer's settings for a device; those of `options.arguments` are passed on.

    Raises `UsageError` for a value that Transformers refuses, with its reason.
    """
    is_cpu = device.type == "cpu"
    values: dict[str, Any] = {
        "output_dir": str(checkpoints),
        "per_device_train_batch_size": plan.batch_size,
        "per_device_eval_batch_size": plan.batch_size,
        "gradient_accumulation_steps": plan.gradient_accumulation_steps,
        "max_steps": plan.steps,
        "learning_rate": plan.learning_rate,
        "warmup_steps": plan.warmup_steps,
        "weight_decay": options.value("weight_decay"),
        "optim": stock_name(options.value("optim")),
        "max_grad_norm": options.value("max_grad_norm"),
        "seed": options.value("seed"),
        "data_seed": options.value("seed"),
        "bf16": plan.precision == "bf16",
        "fp16": plan.precision == "fp16",
        "use_cpu": is_cpu,
        "gradient_checkpointing": options.value("gradient_checkpointing"),
        "eval_strategy": "steps" if plan.val_rows else "no",
        "eval_steps": plan.eval_steps,
        "metric_for_best_model": "eval_loss" if plan.val_rows else None,
        "greater_is_better": False,
        "save_strategy": "steps",
        "save_steps": plan.save_steps,
        "save_total_limit": 1,  # and the best
        "logging_steps": 1,
        "logging_nan_inf_filter": False,
        "disable_tqdm": True,
        "report_to": list(options.report_to or ("none",)),
        "remove_unused_columns": False,
        "label_names": ["labels"],
        "dataloader_pin_memory": not is_cpu,
    } | options.trainer_settings(plan)
    with quiet():
        try:
            arguments = TrainingArguments(**(values | dict(options.arguments or ())))
        except (ValueError, TypeError, ImportError, RuntimeError) as error:
            raise refusal(error, options) from error
    keep_to(device, arguments)
    return arguments


def refusal(error: Exception, options: RunOptions) -> UsageError:
    """What Transformers says of settings that it does not take, as an error for the user."""
    if "OptimizerNames" in str(error):
        from transformers.training_args import OptimizerNames

        names = ", ".join([MUON, *(name.value for name in OptimizerNames)])
        return InvalidOption("optim", options.optim, f"one of {names}")
    if isinstance(error, ImportError | RuntimeError):
        given = [n for n in ("optim", "report_to") if getattr(options, n) is not None]
        other = f", or leave {' and '.join(map(mention, given))} out" * bool(given)
        return UsageError(
            f"a package is missing for these settings: {brief(error)}", hint=f"install it{other}"
        )
    return UsageError(
        f"Transformers refuses these settings: {brief(error)}",
        hint=f"hfgen {options.COMMAND} --help",
    )
