"""Every field of Transformers' `TrainingArguments`: reached by an option, passed on, or refused.

A test walks all fields of the installed Transformers, so that a release which adds one fails until
it is decided here.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable, Mapping
from typing import Any

from hfgen.errors import InvalidOption, UnknownOption
from hfgen.mentions import mention

# Field -> the option that sets it.
BY_OPTION = {
    "per_device_train_batch_size": "batch_size",
    "num_train_epochs": "epochs",
    "lr_scheduler_type": "lr_scheduler",
    "warmup_steps": "warmup",
    "bf16": "precision",
    "fp16": "precision",
    "activation_checkpointing": "gradient_checkpointing",
    "save_total_limit": "save_steps",
    "eval_strategy": "eval_steps",
    "save_strategy": "save_steps",
    "resume_from_checkpoint": "resume",
    "output_dir": "output",
    "auto_find_batch_size": "batch_size (auto)",
    "data_seed": "seed",
    "use_cpu": "device",
}

# Options of hfgen that have the field's own name.
SAME_NAME = frozenset({
    "max_steps", "learning_rate", "optim", "weight_decay", "gradient_accumulation_steps",
    "max_grad_norm", "gradient_checkpointing", "report_to", "eval_steps", "save_steps", "seed",
})  # fmt: skip

# Field -> why hfgen does not pass it on.
REFUSED = {
    "average_tokens_across_devices": "the loss is always by all tokens of the step",
    "label_smoothing_factor": "the loss is the exact token loss",
    "bf16_full_eval": "validation is computed as training is",
    "fp16_full_eval": "validation is computed as training is",
    "use_liger_kernel": "the loss is hfgen's own exact computation",
    "liger_kernel_config": "the loss is hfgen's own exact computation",
    "use_cache": "training has no use for a cache",
    "logging_strategy": "hfgen logs every step",
    "logging_steps": "hfgen logs every step",
    "logging_first_step": "hfgen logs every step",
    "log_on_each_node": "the first process reports",
    "logging_nan_inf_filter": "a loss that is no number is reported as such",
    "include_num_input_tokens_seen": "hfgen counts tokens itself",
    "log_level": "hfgen has -q and -v",
    "log_level_replica": "hfgen has -q and -v",
    "disable_tqdm": "hfgen has its own display",
    "eval_on_start": "hfgen always validates before the first step",
    "eval_do_concat_batches": "validation keeps no predictions",
    "eval_use_gather_object": "validation keeps no predictions",
    "eval_accumulation_steps": "validation keeps no predictions",
    "include_for_metrics": "validation keeps no predictions",
    "batch_eval_metrics": "validation keeps no predictions",
    "prediction_loss_only": "validation keeps no predictions",
    "save_only_model": "a run could not be resumed",
    "save_on_each_node": "checkpoints are written once",
    "enable_jit_checkpoint": "hfgen saves on SIGTERM itself",
    "push_to_hub": "hfgen uploads nothing",
    "hub_token": "hfgen uploads nothing",
    "hub_private_repo": "hfgen uploads nothing",
    "hub_model_id": "hfgen uploads nothing",
    "hub_strategy": "hfgen uploads nothing",
    "hub_always_push": "hfgen uploads nothing",
    "hub_revision": "hfgen uploads nothing",
    "load_best_model_at_end": "hfgen always keeps the best",
    "metric_for_best_model": "validation loss decides",
    "greater_is_better": "validation loss decides",
    "ignore_data_skip": "a resumed run would not equal an uninterrupted one",
    "restore_callback_states_from_checkpoint": "hfgen restores what is needed",
    "dataloader_drop_last": "every row is trained on",
    "remove_unused_columns": "hfgen makes the batches",
    "label_names": "hfgen makes the batches",
    "length_column_name": "hfgen makes the batches",
    "eval_delay": f"use {mention('eval_steps')}",
    "accelerator_config": "a resumed run would not equal an uninterrupted one",
    "dataloader_persistent_workers": "a resumed run would not equal an uninterrupted one",
    "parallelism_config": "hfgen trains copies of the whole model, or shards by fsdp",
    "train_sampling_strategy": "rows are drawn at random, and packed instead of padded",
    "do_train": "hfgen finetune trains",
    "do_eval": f"{mention('val_split')} or {mention('val_data')} decides",
    "do_predict": "hfgen generate does",
    "skip_memory_metrics": "hfgen measures memory itself",
    "debug": "hfgen --debug shows tracebacks",
    "local_rank": "torchrun sets it",
    "trackio_static_space_id": "hfgen uploads nothing",
}

# Names that the fields had in Transformers 4 -> their names now.
RENAMED = {
    "evaluation_strategy": "eval_strategy",
    "no_cuda": "use_cpu",
    "group_by_length": "train_sampling_strategy",
    "warmup_ratio": "warmup_steps",
    "per_gpu_train_batch_size": "per_device_train_batch_size",
    "per_gpu_eval_batch_size": "per_device_eval_batch_size",
    "include_inputs_for_metrics": "include_for_metrics",
    "push_to_hub_token": "hub_token",
    "push_to_hub_model_id": "hub_model_id",
}

# Fields of Transformers 4 that have no successor -> what to do instead.
_REMOVED = {
    "overwrite_output_dir": f"use {mention('overwrite', True)}",
    "save_safetensors": "weights are always written as safetensors",
    "logging_dir": "set the variable TENSORBOARD_LOGGING_DIR",
    "tokenizer": "the model's own is used",
    "adafactor": f"use {mention('optim', 'adafactor')}",
}

# Fields that go to the Trainer as they are.
PASSED_ON = frozenset({
    "lr_scheduler_kwargs", "optim_args", "adam_beta1", "adam_beta2", "adam_epsilon",
    "optim_target_modules", "tf32", "activation_checkpointing_kwargs",
    "gradient_checkpointing_kwargs", "torch_compile", "torch_compile_backend",
    "torch_compile_mode", "neftune_noise_alpha", "torch_empty_cache_steps", "run_name", "project",
    "trackio_space_id", "trackio_bucket_id", "per_device_eval_batch_size",
    "full_determinism", "dataloader_num_workers",
    "dataloader_pin_memory", "dataloader_prefetch_factor",
    "dataloader_multiprocessing_context", "dataloader_in_order",
    "ddp_find_unused_parameters", "ddp_bucket_cap_mb", "ddp_broadcast_buffers",
    "ddp_static_graph", "ddp_backend", "ddp_timeout", "fsdp", "fsdp_config", "deepspeed",
})  # fmt: skip


# Numbers that an optimizer would refuse, or take and learn nothing with, after all data is read:
# what is allowed, the least and what is beyond the most.
_NUMBERS = {
    "adam_beta1": ("a number from 0 to below 1", 0.0, 1.0),
    "adam_beta2": ("a number from 0 to below 1", 0.0, 1.0),
    "adam_epsilon": ("a number from 0", 0.0, math.inf),
}


def check_arguments(values: Mapping[str, Any]) -> tuple[tuple[str, Any], ...]:
    """Return the arguments in the order of their names.

    Raises `UnknownOption` for a name that is none or is refused, `InvalidOption` for a value that
    cannot be.
    """
    for name, value in values.items():
        if name not in PASSED_ON:
            raise unknown_argument(name, [*PASSED_ON, *SAME_NAME, *BY_OPTION])
        if value is None:
            raise InvalidOption(name, value, "a value")
        if name in _NUMBERS:
            _check_number(name, value)
    return tuple(sorted(values.items()))


def unknown_argument(name: str, names: Iterable[str]) -> UnknownOption:
    """The error for a name that may not be set: why, or which of `names` is near."""
    now = RENAMED.get(name, name)
    if reason := explain_refused(now):
        return UnknownOption(f"{with_new_name(name)} cannot be set: {reason}", hint=f"drop {name}")
    if now != name:
        return UnknownOption(f"Transformers renamed {name} to {now}", hint=f"write {now} instead")
    near = difflib.get_close_matches(name, names, n=1)
    hint = f"did you mean {near[0]}?" if near else None
    return UnknownOption(f"unknown option {name!r}", hint=hint)


def with_new_name(name: str) -> str:
    """The name of a field for a message, with what Transformers calls it now."""
    return f"{name} (renamed to {RENAMED[name]} in Transformers 5)" if name in RENAMED else name


def explain_refused(name: str) -> str | None:
    """Why a field of `TrainingArguments` is not passed on; None where it may be, or is none."""
    if name in BY_OPTION:
        option, _, value = BY_OPTION[name].partition(" ")
        return f"use {mention(option, value.strip('()') or None)}"
    if name in _REMOVED:
        return f"Transformers 5 has no such field; {_REMOVED[name]}"
    return REFUSED.get(name)


def _check_number(name: str, value: Any) -> None:
    allowed, least, beyond = _NUMBERS[name]
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not is_number or not least <= value < beyond:
        raise InvalidOption(name, value, allowed)
