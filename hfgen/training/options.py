"""`TrainingOptions`: every parameter of training, with its range, default and help.

The only home of those facts. Flags, the file of `--config`, `-O name=value` and Python keyword
arguments are all read into this class and checked by it. Nothing here imports torch: a wrong value
is refused before a model is thought of. What is no field here and is one of Transformers'
`TrainingArguments` goes into `arguments` (`hfgen.training.argument_fields` says which may).

A field that is None was not given: `hfgen.training.plan` decides it from the data, the model and
the machine, and says there how.
"""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from hfgen.errors import InvalidOption, OptionConflict, UnknownOption
from hfgen.generation.option_specs import MAX_COUNT, Spec, checked
from hfgen.training.argument_fields import PASSED_ON, check_arguments, explain_refused
from hfgen.training.recognition import ColumnChoice
from hfgen.training.rows import OnBadRow
from hfgen.training.windows import LongRows

Precision = Literal["auto", "fp32", "bf16", "fp16"]
Method = Literal["full", "lora", "dora", "qlora"]

LORA_TARGETS = ("attention", "linear")
"""Words for `lora_target`: the projections of attention, or every matrix but the embeddings."""


def _option(kind: Any, help: str, **facts: Any) -> Any:
    return field(default=None, metadata={"spec": Spec(kind, help, **facts)})


@dataclass(frozen=True)
class TrainingOptions:
    """Parameters of one training run; None means "not given".

    Raises `InvalidOption` for a value outside its range, `OptionConflict` for values that
    contradict each other and `UnknownOption` for an argument that does not exist or is refused.
    """

    text_column: str | None = _option(
        "str", "The column with the text.", panel="Data", metavar="NAME"
    )
    prompt_column: str | None = _option(
        "str", "The column with the prompt.", panel="Data", metavar="NAME"
    )
    completion_column: str | None = _option(
        "str", "The column with what is to be learned after the prompt.",
        panel="Data", metavar="NAME",
    )  # fmt: skip
    template: str | None = _option(
        "str",
        "Text with columns in braces, as 'Q: {question}\\nA: {answer}'; the last one is learned.",
        panel="Data", metavar="TEXT",
    )  # fmt: skip
    train_on_prompt: bool | None = _option(
        "bool", "Learn prompts too, not completions alone.", panel="Data", default=False
    )
    on_bad_row: OnBadRow | None = _option(
        "choice", "What to do with a row that cannot be used.",
        panel="Data", default="error", choices=("error", "skip"),
    )  # fmt: skip
    max_length: int | None = _option(
        "int", "Most tokens of a row; without it, the model's window, at most 1,024.",
        panel="Data", low=2, high=MAX_COUNT,
    )  # fmt: skip
    long_rows: LongRows | None = _option(
        "choice", "What to do with longer ones.",
        panel="Data", default="split", choices=("split", "truncate", "drop", "error"),
    )  # fmt: skip
    packing: bool | None = _option(
        "bool", "Fill rows of the full length with several examples, kept apart.",
        panel="Data", default=False,
    )  # fmt: skip
    val_data: str | None = _option(
        "str", "Validate on this file or folder.", panel="Data", metavar="FILE"
    )
    val_split: float | None = _option(
        "float",
        "Hold out this part of the rows for validation, unasked at most 1,000; 0 is none.",
        panel="Data", default=0.05, low=0, high=1, high_open=True,
    )  # fmt: skip

    lora: bool | None = _option(
        "bool", "Train a small adapter instead of the whole model.", panel="Adapters", default=False
    )
    dora: bool | None = _option(
        "bool", "An adapter with separate magnitudes (DoRA).", panel="Adapters", default=False
    )
    qlora: bool | None = _option(
        "bool", "An adapter on a model held in 4 bits (bitsandbytes).",
        panel="Adapters", default=False,
    )  # fmt: skip
    lora_r: int | None = _option(
        "int", "Rank of the adapter.", panel="Adapters", default=16, low=1, high=4096
    )
    lora_alpha: float | None = _option(
        "float", "Scale of the adapter; without it, twice the rank.",
        panel="Adapters", low=0, low_open=True, high=MAX_COUNT,
    )  # fmt: skip
    lora_dropout: float | None = _option(
        "float", "Dropout before the adapter.",
        panel="Adapters", default=0.0, low=0, high=1, high_open=True,
    )  # fmt: skip
    lora_target: tuple[str, ...] | None = _option(
        "strs",
        "Which layers: attention, linear (every matrix but the embeddings, the default), or a "
        "layer's name (repeatable).",
        panel="Adapters", metavar="NAME",
    )  # fmt: skip

    epochs: float | None = _option(
        "float", "Passes over the data.", panel="Training", low=0, low_open=True, high=10_000
    )
    max_steps: int | None = _option(
        "int", "Stop after so many optimizer steps.", panel="Training", low=1, high=MAX_COUNT
    )
    batch_size: int | Literal["auto"] | None = _option(
        "int",
        "Rows that are computed at once; auto takes what fits and keeps the effective batch.",
        panel="Training", low=1, high=65_536, words=("auto",),
    )  # fmt: skip
    gradient_accumulation_steps: int | None = _option(
        "int", "Batches added up before each step.", panel="Training", low=1, high=65_536
    )
    learning_rate: float | None = _option(
        "float", "Peak learning rate.", panel="Training", low=0, low_open=True, high=10
    )
    lr_scheduler: str | None = _option(
        "choice", "How the learning rate falls.", panel="Training", default="cosine",
        choices=("cosine", "linear", "constant", "constant_with_warmup", "inverse_sqrt"),
    )  # fmt: skip
    warmup: float | None = _option(
        "float", "Steps in which the rate rises: a part of all (below 1), or their number.",
        panel="Training", low=0, high=MAX_COUNT,
    )  # fmt: skip
    weight_decay: float | None = _option(
        "float", "Weight decay of the matrices.", panel="Training", default=0.01, low=0, high=10
    )
    optim: str | None = _option(
        "str", "Optimizer, by Transformers' names (adamw_torch, adafactor, …).",
        panel="Training", default="adamw_torch", metavar="NAME",
    )  # fmt: skip
    max_grad_norm: float | None = _option(
        "float", "Longer gradients are cut to this length; 0 cuts none.",
        panel="Training", default=1.0, low=0, high=MAX_COUNT,
    )  # fmt: skip
    dropout: float | None = _option(
        "float", "Dropout while training; without it, what the model's configuration says.",
        panel="Training", low=0, high=1, high_open=True,
    )  # fmt: skip
    seed: int | None = _option(
        "int", "Seed of order, split and dropout.", panel="Training", default=42, low=0,
        high=2**32 - 1,
    )  # fmt: skip
    precision: Precision | None = _option(
        "choice",
        "Arithmetic of the large products; weights stay float32. auto: bf16 where it is faster.",
        panel="Training", default="auto", choices=("auto", "fp32", "bf16", "fp16"),
    )  # fmt: skip
    gradient_checkpointing: bool | None = _option(
        "bool", "Compute activations twice instead of keeping them.",
        panel="Training", default=False,
    )  # fmt: skip

    eval_steps: int | None = _option(
        "int", "Validate, and show a sample, every so many steps.",
        panel="Progress", low=1, high=MAX_COUNT,
    )  # fmt: skip
    save_steps: int | None = _option(
        "int", "Write a checkpoint every so many steps; without it, at each evaluation.",
        panel="Progress", low=1, high=MAX_COUNT,
    )  # fmt: skip
    early_stopping: int | None = _option(
        "int", "Stop when so many evaluations in a row were no better than the best.",
        panel="Progress", low=1, high=MAX_COUNT, metavar="N",
    )  # fmt: skip
    report_to: tuple[str, ...] | None = _option(
        "strs", "Also report to a tracker: tensorboard, wandb, mlflow, … (repeatable).",
        panel="Progress", metavar="NAME",
    )  # fmt: skip
    arguments: tuple[tuple[str, Any], ...] | None = None
    """Other fields of `TrainingArguments`, by name."""

    def __post_init__(self) -> None:
        for name, spec in SPECS.items():
            value = getattr(self, name)
            if value is not None:
                object.__setattr__(self, name, checked(name, spec, value))
        if self.arguments is not None:
            object.__setattr__(self, "arguments", check_arguments(dict(self.arguments)))
        _check_combination(self)

    @classmethod
    def from_mapping(cls, values: Mapping[str, Any]) -> TrainingOptions:
        """Build from names to values (keyword arguments, a file, `-O`).

        Names that are fields of `TrainingArguments` and none here go into `arguments`.
        """
        fields = {name: value for name, value in values.items() if name in SPECS}
        others = dict(values.get("arguments") or ())
        others |= {n: v for n, v in values.items() if n not in SPECS and n != "arguments"}
        for name in others:
            if name not in PASSED_ON:
                raise unknown_training_option(name)
        return cls(**fields, arguments=tuple(others.items()) or None)

    def given(self) -> dict[str, Any]:
        """The fields that were given, by name; `arguments` as a dictionary."""
        found = {name: value for name in SPECS if (value := getattr(self, name)) is not None}
        return found | ({"arguments": dict(self.arguments)} if self.arguments else {})

    def over(self, lower: TrainingOptions) -> TrainingOptions:
        """These options, with what they leave open taken from `lower`."""
        merged = lower.given() | self.given()
        merged["arguments"] = dict(lower.arguments or ()) | dict(self.arguments or ())
        return TrainingOptions.from_mapping(merged)

    def value(self, name: str) -> Any:
        """The value of a field, or its default where there is a fixed one."""
        given = getattr(self, name)
        return SPECS[name].default if given is None else given

    @property
    def method(self) -> Method:
        """What is trained."""
        return "qlora" if self.qlora else "dora" if self.dora else "lora" if self.lora else "full"

    @property
    def columns(self) -> ColumnChoice:
        """What is said about the columns."""
        return ColumnChoice(
            self.text_column, self.prompt_column, self.completion_column, self.template
        )


SPECS: dict[str, Spec] = {
    f.name: f.metadata["spec"] for f in dataclasses.fields(TrainingOptions) if f.metadata
}

_ADAPTER_ONLY = ("lora_r", "lora_alpha", "lora_dropout", "lora_target")


def _check_combination(options: TrainingOptions) -> None:
    if options.dora and options.qlora:
        raise OptionConflict(
            "dora and qlora contradict each other: an adapter is one or the other",
            hint="leave one of them out",
        )
    if options.method == "full":
        for name in _ADAPTER_ONLY:
            if getattr(options, name) is not None:
                raise OptionConflict(
                    f"{name} has no effect without lora, dora or qlora", hint="add --lora"
                )
    if options.batch_size == "auto" and options.gradient_accumulation_steps is not None:
        raise OptionConflict(
            "gradient_accumulation_steps has no effect with batch_size auto, which decides both",
            hint="leave one of them out",
        )
    if options.val_data is not None and options.val_split:
        raise OptionConflict(
            "val_data and val_split contradict each other", hint="leave one of them out"
        )
    if options.early_stopping and options.val_split == 0 and options.val_data is None:
        raise OptionConflict(
            "early_stopping needs validation, and val_split is 0", hint="leave --val-split out"
        )
    if options.warmup is not None and options.warmup >= 1 and options.warmup % 1:
        raise InvalidOption("warmup", options.warmup, "a part below 1, or a whole number of steps")


def unknown_training_option(name: str) -> UnknownOption:
    """The error for a name that is no option: why it is refused, or which one is near."""
    if reason := explain_refused(name):
        return UnknownOption(f"{name} cannot be set: {reason}", hint=f"drop {name}")
    near = difflib.get_close_matches(name, [*SPECS, *PASSED_ON], n=1)
    hint = f"did you mean {near[0]}?" if near else "hfgen finetune --help lists the options"
    return UnknownOption(f"unknown option {name!r}", hint=hint)
