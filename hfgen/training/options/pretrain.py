"""`PretrainOptions`: every parameter of `pretrain`, with its range, default and help.

What `finetune` has too is `hfgen.training.options.common`'s. A field that is None was not given:
`hfgen.training.model.new_gpt2` decides the model's sizes,
`hfgen.training.planning.pretrain_defaults` the rest.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from hfgen.errors import InvalidOption, OptionConflict
from hfgen.generation.options.specs import ESCAPES, MAX_COUNT, Spec
from hfgen.mentions import mention
from hfgen.training.corpus.separators import Separator, parse_separator
from hfgen.training.corpus.tokenizer import LEAST_VOCABULARY, MOST_VOCABULARY
from hfgen.training.model.new_gpt2 import DEFAULT_SIZE, SIZES, Size, choose_size
from hfgen.training.options.common import RunOptions, changed, option
from hfgen.training.options.optimizer_names import MUON

if TYPE_CHECKING:
    from hfgen.training.planning.plan import Plan

CHARACTERS = "chars"
"""The word for `tokenizer` that makes a token of each character."""
DECAY_PART = 0.2
"""The part of all steps in which the rate of `warmup_stable_decay` falls."""
_FALLING_TO = {"cosine": "cosine_with_min_lr", "warmup_stable_decay": "warmup_stable_decay"}
_DURATION = re.compile(r"(?:(\d+(?:\.\d+)?)h)?(?:(\d+(?:\.\d+)?)m)?(?:(\d+(?:\.\d+)?)s)?", re.ASCII)
_LONGEST_S = 3600 * 24 * 365
_NEW = ("size", "n_layer", "n_embd", "n_head", "n_positions", "vocab_size", "tokenizer")


@dataclass(frozen=True)
class PretrainOptions(RunOptions):
    """Parameters of one run of `pretrain`; None means "not given".

    Raises what `RunOptions` raises.
    """

    COMMAND: ClassVar[str] = "pretrain"
    LIGHTER: ClassVar[tuple[str, str]] = (
        f"a smaller {mention('size')}",
        f"train a smaller model ({mention('size')})",
    )

    size: str | None = option(
        "str", f"Size of a new model: {', '.join(SIZES)} parameters, about.",
        panel="New model", default=DEFAULT_SIZE, metavar="SIZE",
    )  # fmt: skip
    n_layer: int | None = option("int", "Transformer layers.", panel="New model", low=1, high=1024)
    n_embd: int | None = option("int", "Embedding size.", panel="New model", low=1, high=65_536)
    n_head: int | None = option("int", "Its attention heads.", panel="New model", low=1, high=1024)
    n_positions: int | None = option(
        "int", "Context length in tokens.", panel="New model", low=2, high=1 << 20
    )
    vocab_size: int | None = option(
        "int", "Tokens of its tokenizer, trained on the text; without it, what goes with the size.",
        panel="New model", low=LEAST_VOCABULARY, high=MOST_VOCABULARY,
    )  # fmt: skip
    tokenizer: str | None = option(
        "str", "Use the tokenizer of a model or folder instead, or chars: a token a character.",
        panel="New model", metavar="NAME",
    )  # fmt: skip

    text_column: str | None = option(
        "str", "The column with the text, in tables and JSON.",
        panel="Data", default="text", metavar="NAME",
    )  # fmt: skip
    document_separator: str | None = option(
        "str",
        "Where a document ends and the next begins: auto, headings, blank-lines, none, a text "
        f"({ESCAPES}), or /a regular expression/.",
        panel="Data", default="auto", metavar="WHERE",
    )  # fmt: skip
    isolate_documents: bool | None = option(
        "bool", "Keep the documents of a row from seeing each other.", panel="Data", default=False
    )
    max_length: int | None = option(
        "int", "Tokens of a row; without it, the model's window.", panel="Data", low=2,
        high=MAX_COUNT,
    )  # fmt: skip
    held_out: tuple[str, ...] | None = option(
        "strs", "Validate on the data files whose name matches, as '12_*' (repeatable).",
        panel="Data", metavar="PATTERN",
    )  # fmt: skip
    val_split: float | None = changed(
        "val_split",
        help="Hold out this part of the documents for validation; without it, about 1 %; 0 is "
        "none.",
        default=0.01,
    )

    budget: str | None = option(
        "str", "Wall-clock training budget, e.g. 90m, 2h or 1h30m: the speed is measured first.",
        panel="Training", metavar="TIME",
    )  # fmt: skip
    lr_scheduler: str | None = changed(
        "lr_scheduler",
        choices=(*RunOptions.specs()["lr_scheduler"].choices, "warmup_stable_decay"),
    )
    min_lr_rate: float | None = option(
        "float", "The part of its peak that the rate falls to.",
        panel="Training", default=0.0, low=0, high=1,
    )  # fmt: skip
    optim: str | None = changed(
        "optim",
        help="Optimizer: muon, or one of Transformers' (adamw_torch, adafactor, …); with --model, "
        "unless it is named, adamw_torch_fused.",
        default=MUON,
    )
    weight_decay: float | None = changed("weight_decay", default=0.1)
    dropout: float | None = changed("dropout", help="Dropout while training.", default=0.0)

    @property
    def budget_s(self) -> float | None:
        """The budget in seconds."""
        return None if self.budget is None else parse_duration("budget", self.budget)

    @property
    def separator(self) -> Separator:
        """Where documents end."""
        return parse_separator(self.value("document_separator"))

    @property
    def new_size(self) -> Size:
        """The sizes of a new model."""
        return choose_size(
            self.size,
            n_layer=self.n_layer,
            n_embd=self.n_embd,
            n_head=self.n_head,
            n_positions=self.n_positions,
            vocab_size=self.vocab_size,
        )

    @property
    def about_new_model(self) -> list[str]:
        """The fields given that only a new model has a use for."""
        return [name for name in _NEW if getattr(self, name) is not None]

    def trainer_settings(self, plan: Plan) -> dict[str, Any]:
        """Order, schedule and moments of the optimizer (Brown et al. 2020, appendix B)."""
        name, least = self.value("lr_scheduler"), self.value("min_lr_rate")
        settings = super().trainer_settings(plan)
        settings |= {"train_sampling_strategy": "sequential", "adam_beta2": 0.95}
        if name == "warmup_stable_decay":
            decay = max(1, min(round(DECAY_PART * plan.steps), plan.steps - plan.warmup_steps))
            kwargs = {"num_decay_steps": decay, "decay_type": "1-sqrt", "min_lr_ratio": least}
            return settings | {"lr_scheduler_kwargs": kwargs}
        if least:
            kwargs = {"min_lr_rate": least}
            settings |= {"lr_scheduler_type": _FALLING_TO[name], "lr_scheduler_kwargs": kwargs}
        return settings

    def _check(self) -> None:
        super()._check()
        _ = self.budget_s, self.separator, self.new_size
        self._exclude("budget", "epochs", "max_steps")
        self._exclude("tokenizer", "vocab_size")
        self._exclude("held_out", "val_data")
        if self.held_out and self.val_split is not None:
            self._exclude("held_out", "val_split")
        if self.min_lr_rate and self.value("lr_scheduler") not in _FALLING_TO:
            raise OptionConflict(
                f"{mention('min_lr_rate')} has no effect with {mention('lr_scheduler')} "
                f"{self.value('lr_scheduler')}",
                hint=f"use {' or '.join(mention('lr_scheduler', name) for name in _FALLING_TO)}",
            )

    def _exclude(self, name: str, *others: str) -> None:
        """Refuse a field together with others that say the same."""
        if getattr(self, name) is None:
            return
        for other in others:
            if getattr(self, other) is not None:
                raise OptionConflict(
                    f"{mention(name)} and {mention(other)} contradict each other",
                    hint="leave one of them out",
                )


@dataclass(frozen=True)
class ContinuedOptions(PretrainOptions):
    """Those of a run that trains a model further, for which other defaults hold.

    Muon's steps, as large as a new model needs, undo what a trained one knows.
    """

    optim: str | None = changed("optim")
    weight_decay: float | None = changed("weight_decay")


def parse_duration(name: str, text: str) -> float:
    """Seconds of `90m`, `2h`, `45s`, `1h30m`. Raises `InvalidOption`."""
    match = _DURATION.fullmatch(text.strip().casefold().replace(" ", ""))
    parts = match.groups() if match else ()
    seconds = sum(float(part or 0) * unit for part, unit in zip(parts, (3600, 60, 1), strict=False))
    if not 0 < seconds <= _LONGEST_S:
        raise InvalidOption(name, text, "a time, as 90m, 2h, 45s or 1h30m")
    return seconds


SPECS: Mapping[str, Spec] = PretrainOptions.specs()
