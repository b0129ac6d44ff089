"""Keyword arguments of `finetune` and `pretrain`, for type checkers and editors.

Written by tests/keywords.py from the options' specs, which are the only home of names, types,
ranges and defaults; a test fails when it is stale, and says how to write it again.
"""

# fmt: off

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypedDict


class TrainerKeywords(TypedDict, total=False):
    """Fields of `TrainingArguments`, by name."""

    activation_checkpointing_kwargs: Any
    adam_beta1: Any
    adam_beta2: Any
    adam_epsilon: Any
    dataloader_in_order: Any
    dataloader_multiprocessing_context: Any
    dataloader_num_workers: Any
    dataloader_pin_memory: Any
    dataloader_prefetch_factor: Any
    ddp_backend: Any
    ddp_broadcast_buffers: Any
    ddp_bucket_cap_mb: Any
    ddp_find_unused_parameters: Any
    ddp_static_graph: Any
    ddp_timeout: Any
    deepspeed: Any
    fsdp: Any
    fsdp_config: Any
    full_determinism: Any
    gradient_checkpointing_kwargs: Any
    lr_scheduler_kwargs: Any
    neftune_noise_alpha: Any
    optim_args: Any
    optim_target_modules: Any
    per_device_eval_batch_size: Any
    project: Any
    run_name: Any
    tf32: Any
    torch_compile: Any
    torch_compile_backend: Any
    torch_compile_mode: Any
    torch_empty_cache_steps: Any
    trackio_bucket_id: Any
    trackio_space_id: Any
    arguments: Mapping[str, Any] | None


class FinetuneKeywords(TrainerKeywords, total=False):
    """Options of `finetune`."""

    text_column: str | None
    prompt_column: str | None
    completion_column: str | None
    template: str | None
    chat_template: str | None
    train_on_prompt: bool | None
    max_length: int | None
    long_rows: Literal["split", "truncate", "drop", "error"] | None
    packing: bool | None
    lora: bool | None
    dora: bool | None
    qlora: bool | None
    lora_r: int | None
    lora_alpha: float | None
    lora_dropout: float | None
    lora_target: str | Sequence[str] | None
    on_bad_row: Literal["error", "skip"] | None
    val_data: str | None
    val_split: float | None
    epochs: float | None
    max_steps: int | None
    batch_size: int | Literal["auto"] | None
    gradient_accumulation_steps: int | None
    learning_rate: float | None
    lr_scheduler: Literal[
        "cosine", "linear", "constant", "constant_with_warmup", "inverse_sqrt"
    ] | None
    warmup: float | None
    weight_decay: float | None
    optim: str | None
    max_grad_norm: float | None
    dropout: float | None
    seed: int | None
    precision: Literal["auto", "fp32", "bf16", "fp16"] | None
    gradient_checkpointing: bool | None
    eval_steps: int | None
    save_steps: int | None
    early_stopping: int | None
    report_to: str | Sequence[str] | None


class PretrainKeywords(TrainerKeywords, total=False):
    """Options of `pretrain`."""

    size: str | None
    n_layer: int | None
    n_embd: int | None
    n_head: int | None
    n_positions: int | None
    vocab_size: int | None
    tokenizer: str | None
    text_column: str | None
    document_separator: str | None
    isolate_documents: bool | None
    max_length: int | None
    held_out: str | Sequence[str] | None
    budget: str | None
    min_lr_rate: float | None
    on_bad_row: Literal["error", "skip"] | None
    val_data: str | None
    val_split: float | None
    epochs: float | None
    max_steps: int | None
    batch_size: int | Literal["auto"] | None
    gradient_accumulation_steps: int | None
    learning_rate: float | None
    lr_scheduler: Literal[
        "cosine", "linear", "constant", "constant_with_warmup", "inverse_sqrt",
        "warmup_stable_decay"
    ] | None
    warmup: float | None
    weight_decay: float | None
    optim: str | None
    max_grad_norm: float | None
    dropout: float | None
    seed: int | None
    precision: Literal["auto", "fp32", "bf16", "fp16"] | None
    gradient_checkpointing: bool | None
    eval_steps: int | None
    save_steps: int | None
    early_stopping: int | None
    report_to: str | Sequence[str] | None
