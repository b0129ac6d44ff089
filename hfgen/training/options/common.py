"""`RunOptions`: what the options of every training run have in common.

The fields that `finetune` and `pretrain` share, with range, default and help, and how options are
read, checked and merged. `hfgen.training.options.finetune` and `hfgen.training.options.pretrain`
add what is each one's own. Nothing here imports torch: a wrong value is refused before a model is
thought of. What is no field here and is one of Transformers' `TrainingArguments` goes into
`arguments` (`hfgen.training.options.trainer_fields` says which may).

A field that is None was not given: `hfgen.training.planning.plan` decides it from the data, the
model and the machine, and says there how.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

from hfgen.errors import InvalidOption, OptionConflict, UnknownOption
from hfgen.generation.options.specs import MAX_COUNT, Spec, checked
from hfgen.mentions import mention
from hfgen.models.checkpoint.devices import SHORT_NAMES
from hfgen.training.options.trainer_fields import PASSED_ON, check_arguments, unknown_argument
from hfgen.training.reading.rows import OnBadRow

if TYPE_CHECKING:
    from hfgen.training.planning.plan import Plan

Precision = Literal["auto", "fp32", "bf16", "fp16"]
Method = Literal["full", "lora", "dora", "qlora"]


def option(kind: Any, help: str, **facts: Any) -> Any:
    """A field of options, with what is known of it."""
    return field(default=None, metadata={"spec": Spec(kind, help, **facts)})


def changed(name: str, **facts: Any) -> Any:
    """A shared field of which one command knows something else."""
    spec = dataclasses.replace(RunOptions.specs()[name], **facts)
    return field(default=None, metadata={"spec": spec})


@dataclass(frozen=True)
class RunOptions:
    """Parameters of one run of any kind; None means "not given".

    Raises `InvalidOption` for a value outside its range, `OptionConflict` for values that
    contradict each other and `UnknownOption` for an argument that does not exist or is refused.
    """

    COMMAND: ClassVar[str] = ""
    """The command that has these options."""
    LIGHTER: ClassVar[tuple[str, str]] = ("", "")
    """What takes less than training a whole model does: the options, and in words."""

    on_bad_row: OnBadRow | None = option(
        "choice", "What to do with a row that cannot be used.",
        panel="Data", default="error", choices=("error", "skip"),
    )  # fmt: skip
    val_data: str | None = option(
        "str", "Validate on this file or folder.", panel="Data", metavar="FILE"
    )
    val_split: float | None = option(
        "float",
        "Hold out this part of the rows for validation, unasked 16 to 1,000 rows; 0 is none.",
        panel="Data", default=0.05, low=0, high=1, high_open=True,
    )  # fmt: skip

    epochs: float | None = option(
        "float", "Passes over the data.", panel="Training", low=0, low_open=True, high=10_000
    )
    max_steps: int | None = option(
        "int", "Stop after this many optimizer steps.", panel="Training", low=1, high=MAX_COUNT
    )
    batch_size: int | Literal["auto"] | None = option(
        "int",
        "Micro-batch size per process; auto takes what fits and keeps the effective batch.",
        panel="Training", low=1, high=65_536, words=("auto",),
    )  # fmt: skip
    gradient_accumulation_steps: int | None = option(
        "int", "Micro-batches accumulated per optimizer step.", panel="Training", low=1, high=65_536
    )
    learning_rate: float | None = option(
        "float", "Peak learning rate.", panel="Training", low=0, low_open=True, high=10
    )
    lr_scheduler: str | None = option(
        "choice", "Learning-rate schedule.", panel="Training", default="cosine",
        choices=("cosine", "linear", "constant", "constant_with_warmup", "inverse_sqrt"),
    )  # fmt: skip
    warmup: float | None = option(
        "float", "Warmup: a fraction of all steps (below 1) or a number of steps.",
        panel="Training", low=0, high=MAX_COUNT,
    )  # fmt: skip
    weight_decay: float | None = option(
        "float", "Weight decay of the matrices.", panel="Training", default=0.01, low=0, high=10
    )
    optim: str | None = option(
        "str", "Optimizer: muon, or one of Transformers' (adamw_torch, adafactor, …).",
        panel="Training", default="adamw_torch_fused", metavar="NAME",
    )  # fmt: skip
    max_grad_norm: float | None = option(
        "float", "Clip the gradient norm to this value; 0 disables clipping.",
        panel="Training", default=1.0, low=0, high=MAX_COUNT,
    )  # fmt: skip
    dropout: float | None = option(
        "float", "Dropout while training; without it, what the model's configuration says.",
        panel="Training", low=0, high=1, high_open=True,
    )  # fmt: skip
    seed: int | None = option(
        "int", "Seed of order, split and dropout.", panel="Training", default=42, low=0,
        high=2**32 - 1,
    )  # fmt: skip
    precision: Precision | None = option(
        "choice",
        "Compute dtype (autocast); weights stay float32. auto: bf16 where it is faster.",
        panel="Training", default="auto", choices=("auto", "fp32", "bf16", "fp16"),
        spellings=SHORT_NAMES,
    )  # fmt: skip
    gradient_checkpointing: bool | None = option(
        "bool", "Recompute activations in the backward pass to save memory.",
        panel="Training", default=False,
    )  # fmt: skip

    eval_steps: int | None = option(
        "int", "Validate, and show a sample, every N steps.",
        panel="Progress", low=1, high=MAX_COUNT,
    )  # fmt: skip
    save_steps: int | None = option(
        "int", "Write a checkpoint every N steps; without it, at each evaluation.",
        panel="Progress", low=1, high=MAX_COUNT,
    )  # fmt: skip
    early_stopping: int | None = option(
        "int",
        "Stop when this many evaluations in a row were no better than the best; without it, when "
        "three tenths of the run were not; 0 never stops.",
        panel="Progress", low=0, high=MAX_COUNT, metavar="N",
    )  # fmt: skip
    report_to: tuple[str, ...] | None = option(
        "strs", "Also report to a tracker: tensorboard, wandb, mlflow, … (repeatable).",
        panel="Progress", metavar="NAME",
    )  # fmt: skip
    arguments: tuple[tuple[str, Any], ...] | None = None
    """Other fields of `TrainingArguments`, by name."""

    def __post_init__(self) -> None:
        for name, spec in self.specs().items():
            value = getattr(self, name)
            if value is not None:
                object.__setattr__(self, name, checked(name, spec, value))
        if self.arguments is not None:
            object.__setattr__(self, "arguments", check_arguments(dict(self.arguments)))
        self._check()

    @classmethod
    @functools.cache
    def specs(cls) -> dict[str, Spec]:
        """What is known of each field, by name: the command's own, then the shared ones."""
        fields = [f for f in dataclasses.fields(cls) if f.metadata]
        fields.sort(key=lambda f: f.name in RunOptions.__dataclass_fields__)
        return {f.name: f.metadata["spec"] for f in fields}

    @classmethod
    def from_mapping(cls, values: Mapping[str, Any]) -> Self:
        """Build from names to values (keyword arguments, a file, `-O`).

        Names that are fields of `TrainingArguments` and none here go into `arguments`.
        """
        specs = cls.specs()
        fields = {name: value for name, value in values.items() if name in specs}
        others = dict(values.get("arguments") or ())
        others |= {n: v for n, v in values.items() if n not in specs and n != "arguments"}
        for name in others:
            if name not in cls.passed_on():
                raise cls.unknown(name)
        return cls(**fields, arguments=tuple(others.items()) or None)

    @classmethod
    def passed_on(cls) -> frozenset[str]:
        """The fields of `TrainingArguments` that may be set by name."""
        return PASSED_ON

    @classmethod
    def unknown(cls, name: str) -> UnknownOption:
        """The error for a name that is no option: why it is refused, or which one is near."""
        return unknown_argument(name, [*cls.specs(), *cls.passed_on()])

    def given(self) -> dict[str, Any]:
        """The fields that were given, by name; `arguments` as a dictionary."""
        found = {n: value for n in self.specs() if (value := getattr(self, n)) is not None}
        return found | ({"arguments": dict(self.arguments)} if self.arguments else {})

    def over(self, lower: Self) -> Self:
        """These options, with what they leave open taken from `lower`."""
        merged = lower.given() | self.given()
        merged["arguments"] = dict(lower.arguments or ()) | dict(self.arguments or ())
        return self.from_mapping(merged)

    def value(self, name: str) -> Any:
        """The value of a field, or its default where there is a fixed one."""
        given = getattr(self, name)
        return self.specs()[name].default if given is None else given

    @property
    def method(self) -> Method:
        """What is trained."""
        return "full"

    def trainer_settings(self, plan: Plan) -> dict[str, Any]:
        """Fields of `TrainingArguments` that these options decide; `arguments` go before them.

        The Trainer's own `constant` takes no notice of warmup steps.
        """
        name = self.value("lr_scheduler")
        is_rising = name == "constant" and plan.warmup_steps > 0
        return {"lr_scheduler_type": "constant_with_warmup" if is_rising else name}

    def _check(self) -> None:
        """Refuse values that contradict each other."""
        if self.batch_size == "auto" and self.gradient_accumulation_steps is not None:
            raise OptionConflict(
                f"{mention('gradient_accumulation_steps')} has no effect with "
                f"{mention('batch_size')} auto, which decides both",
                hint="leave one of them out",
            )
        if self.val_data is not None and self.val_split:
            raise OptionConflict(
                f"{mention('val_data')} and {mention('val_split')} contradict each other",
                hint="leave one of them out",
            )
        if self.early_stopping and self.val_split == 0 and self.val_data is None:
            raise OptionConflict(
                f"{mention('early_stopping')} needs validation, and {mention('val_split')} is 0",
                hint=f"leave {mention('val_split')} out",
            )
        if self.warmup is not None and self.warmup >= 1 and self.warmup % 1:
            raise InvalidOption("warmup", self.warmup, "a part below 1, or a whole number of steps")
