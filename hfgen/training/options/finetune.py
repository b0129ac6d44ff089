"""`TrainingOptions`: every parameter of `finetune`, with its range, default and help.

With `hfgen.training.options.common`, which holds what `pretrain` has too, the only home of those
facts: flags, the file of `--config`, `-O name=value` and Python keyword arguments are all read into
this class and checked by it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from hfgen.errors import OptionConflict, UnknownOption
from hfgen.generation.options.specs import ESCAPES, MAX_COUNT, Spec
from hfgen.mentions import mention
from hfgen.training.data.long_rows import LongRows
from hfgen.training.data.recognition import ColumnChoice
from hfgen.training.options.common import Method, Precision, RunOptions, option

__all__ = [
    "LORA_TARGETS", "SPECS", "Method", "Precision", "TrainingOptions", "unknown_training_option",
]  # fmt: skip

LORA_TARGETS = ("attention", "linear")
"""Words for `lora_target`: the projections of attention, or every matrix but the embeddings."""


@dataclass(frozen=True)
class TrainingOptions(RunOptions):
    """Parameters of one run of `finetune`; None means "not given".

    Raises what `RunOptions` raises.
    """

    COMMAND: ClassVar[str] = "finetune"
    LIGHTER: ClassVar[tuple[str, str]] = (
        mention("lora", True),
        f"train an adapter ({mention('lora', True)})",
    )

    text_column: str | None = option(
        "str", "The column with the text.", panel="Data", metavar="NAME"
    )
    prompt_column: str | None = option(
        "str", "The column with the prompt.", panel="Data", metavar="NAME"
    )
    completion_column: str | None = option(
        "str", "The column with what is to be learned after the prompt.",
        panel="Data", metavar="NAME",
    )  # fmt: skip
    template: str | None = option(
        "str",
        "Text with columns in braces, as 'Q: {question}\\nA: {answer}'; the last one is learned. "
        f"({ESCAPES})",
        panel="Data", metavar="TEXT",
    )  # fmt: skip
    chat_template: str | None = option(
        "str", "Which chat template, for a model that has several.", panel="Data", metavar="NAME"
    )
    train_on_prompt: bool | None = option(
        "bool", "Learn prompts too, not completions alone.", panel="Data", default=False
    )
    max_length: int | None = option(
        "int", "Most tokens of a row; without it, the model's window, at most 1,024.",
        panel="Data", low=2, high=MAX_COUNT,
    )  # fmt: skip
    long_rows: LongRows | None = option(
        "choice",
        "Longer ones. split: a text into windows; an answer that does not fit behind its whole "
        "prompt is left out. truncate: a text loses its end, a prompt its beginning. drop: left "
        "out. error: the run stops.",
        panel="Data", default="split", choices=("split", "truncate", "drop", "error"),
    )  # fmt: skip
    packing: bool | None = option(
        "bool", "Pack several examples into each sequence, without attention between them.",
        panel="Data", default=False,
    )  # fmt: skip

    lora: bool | None = option(
        "bool", "Train a small adapter instead of the whole model.", panel="Adapters", default=False
    )
    dora: bool | None = option(
        "bool", "An adapter with separate magnitudes (DoRA).", panel="Adapters", default=False
    )
    qlora: bool | None = option(
        "bool", "An adapter on a model held in 4 bits (bitsandbytes).",
        panel="Adapters", default=False,
    )  # fmt: skip
    lora_r: int | None = option(
        "int", "Rank of the adapter.", panel="Adapters", default=16, low=1, high=4096
    )
    lora_alpha: float | None = option(
        "float", "Scale of the adapter; without it, twice the rank.",
        panel="Adapters", low=0, low_open=True, high=MAX_COUNT,
    )  # fmt: skip
    lora_dropout: float | None = option(
        "float", "Dropout before the adapter.",
        panel="Adapters", default=0.0, low=0, high=1, high_open=True,
    )  # fmt: skip
    lora_target: tuple[str, ...] | None = option(
        "strs",
        "Which layers: attention, linear (every matrix but the embeddings, the default), or a "
        "layer's name (repeatable).",
        panel="Adapters", metavar="NAME",
    )  # fmt: skip

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

    def _check(self) -> None:
        super()._check()
        if self.dora and self.qlora:
            raise OptionConflict(
                f"{mention('dora')} and {mention('qlora')} contradict each other: an adapter "
                "is one or the other",
                hint="leave one of them out",
            )
        if self.method == "full":
            for name in _ADAPTER_ONLY:
                if getattr(self, name) is not None:
                    raise OptionConflict(
                        f"{mention(name)} has no effect without {mention('lora')}, "
                        f"{mention('dora')} or {mention('qlora')}",
                        hint=f"add {mention('lora', True)}",
                    )


_ADAPTER_ONLY = ("lora_r", "lora_alpha", "lora_dropout", "lora_target")

SPECS: dict[str, Spec] = TrainingOptions.specs()


def unknown_training_option(name: str) -> UnknownOption:
    """The error for a name that is no option: why it is refused, or which one is near."""
    return TrainingOptions.unknown(name)
