"""The flags of commands that train, made from their options' specs, and their `--config` file.

    flag or -O > --config file > default

Everything is read as text and checked by the options' own class, so that a wrong value reads alike
as flag, as `-O name=value`, in a file and in Python. Knows nothing of training itself.
"""

from __future__ import annotations

import contextlib
import functools
import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Generic, TypeVar

import typer

from hfgen.cli.flags.common import MODEL_PANEL, REPORT_PANEL, in_words_of_flags
from hfgen.cli.flags.flag_spelling import flag_name
from hfgen.cli.flags.shared import with_shared_flags
from hfgen.cli.flags.specs import (
    make_flag,
    make_parameter,
    naming_assignment,
    read_values,
    set_signature,
)
from hfgen.cli.program import completion
from hfgen.config_file import Document, parse
from hfgen.errors import ConfigError, DataError, InvalidOption, OptionConflict, UnknownOption
from hfgen.generation.options.specs import Spec, split_assignment
from hfgen.setting_names import FileSpelling, Setting, shortened
from hfgen.training.options.common import RunOptions
from hfgen.training.options.finetune import TrainingOptions
from hfgen.training.options.pretrain import PretrainOptions
from hfgen.training.options.trainer_fields import BY_OPTION, PASSED_ON, RENAMED, with_new_name

Options = TypeVar("Options", bound=RunOptions)

EVERYDAY = ("epochs", "max_steps", "batch_size", "learning_rate", "lora", "val_data")
"""The flags of finetune most people need: they stand in the first panel of the help page."""

# What the command line alone says.
_FLAGS_ONLY = ("model", "output", "device", "offline", "resume", "overwrite", "trust_remote_code")

_Assignments = Annotated[
    list[str] | None,
    typer.Option(
        "-O",
        "--set",
        metavar="NAME=VALUE",
        help="Set a field of Transformers' TrainingArguments that has no flag, as adam_beta2=0.95 "
        "(repeatable).",
        rich_help_panel="Training",
    ),
]


@dataclass(frozen=True)
class TrainingFlags(Generic[Options]):
    """The flags of one command."""

    kind: type[Options]
    everyday: tuple[str, ...]
    """Options whose flags stand in the first panel of the help page."""
    example: str
    """A line of a file."""
    one_choice: tuple[str, ...] = ()
    """Switches that are one choice: the stronger level that names one of them decides it."""

    def taken_by(self, command: Callable[..., None]) -> Callable[..., None]:
        """Give `command` a flag for every training option; it receives them as `options`.

        Errors that name an option name it as it was typed, or where it stands in the file.
        """

        command = with_shared_flags(command)

        @functools.wraps(command)
        def wrapper(**values: Any) -> None:
            flags = {name: values.pop(name) for name in self.kind.specs()}
            options, typed = self.read_options(
                flags, values.pop("assignments") or (), file=values.pop("config")
            )
            with in_words_of_flags(typed, flag_of=flag_of, specs=self.kind.specs()):
                command(**values, options=options)

        specs = self.kind.specs().values()
        panels = (None, *dict.fromkeys(spec.panel for spec in specs), MODEL_PANEL, REPORT_PANEL)
        wrapper.explain_unknown = self._explain_unknown  # type: ignore[attr-defined]
        set_signature(wrapper, command, self._parameters(), panels)
        return wrapper

    def read_options(
        self, flags: Mapping[str, Any], assignments: Iterable[str] = (), *, file: str | None = None
    ) -> tuple[Options, dict[str, str]]:
        """Build the options; beside them, how each was typed or where it stands.

        Raises `UsageError` naming the flag, its value and the allowed range, `ConfigError` with
        `file:line` for what the file has wrong, and `DataError` when it cannot be read.
        """
        values, typed = read_values(
            flags,
            assignments,
            specs=self.kind.specs(),
            flag_of=flag_of,
            parse_list=lambda name, texts: texts,
            parse_assignment=naming_assignment(self._parse_assignment, example="adam_beta2=0.95"),
        )
        is_chosen = any(name in values for name in self.one_choice)
        lower, places = ({}, {}) if file is None else self.read_file(file, is_chosen=is_chosen)
        words = {name: flag_of(name) for name in self.one_choice} | typed
        with in_words_of_flags(words, flag_of=flag_of, specs=self.kind.specs()):
            return self._over(values, lower), places | typed

    def read_file(
        self, name: str, *, is_chosen: bool = False
    ) -> tuple[dict[str, Any], dict[str, str]]:
        """Read the options of a TOML file; beside them, where each stands: `file:line: name = v`.

        With `is_chosen`, flags say which of `one_choice` it is, and the file need not.
        Raises `ConfigError` with `file:line` and `DataError` when the file cannot be read.
        """
        document = _read_document(name)
        specs = self.kind.specs()
        found: dict[str, Any] = {}
        places: dict[str, str] = {}
        for key, value in document.values.items():
            option = key.replace("-", "_")
            place = document.place((key,))
            if option in found:
                raise ConfigError(f"{place}: {option} is set twice", hint=self._by_hand)
            try:
                self._check_name(option, lambda other: other)
                found[option] = value
                if option in specs:
                    found[option] = Setting(option, specs[option]).read_typed(value)
            except (InvalidOption, UnknownOption) as error:
                hint = error.hint or self._by_hand
                raise ConfigError(f"{place}: {error.message}", hint=hint) from error
            places[option] = f"{place}: {key} = {shortened(str(value))}"
        try:
            chosen = {self.one_choice[0]: True} if is_chosen else {}
            self.kind.from_mapping(chosen | found)
        except (OptionConflict, InvalidOption) as error:
            raise self._contradiction(document, found, error) from error
        return found, places

    def _over(self, values: Mapping[str, Any], lower: Mapping[str, Any]) -> Options:
        """The options of `values`, with what they leave open taken from `lower`.

        What contradicts them there is dropped: precedence is no contradiction.
        """
        choice = self.one_choice
        decides = any(name in values for name in choice)
        left = {n: v for n, v in lower.items() if n not in values and n not in choice}
        chosen = {} if decides else {n: v for n, v in lower.items() if n in choice}
        merged = self.kind.from_mapping(chosen | dict(values))
        for name, value in left.items():
            with contextlib.suppress(OptionConflict):
                merged = self.kind.from_mapping(merged.given() | {name: value})
        return merged

    @property
    def _by_hand(self) -> str:
        return f"correct it there; hfgen {self.kind.COMMAND} --help lists the names and ranges"

    def _parse_assignment(self, text: str) -> tuple[str, Any]:
        name, value = split_assignment(text, example="adam_beta2=0.95", specs=self.kind.specs())
        self._check_name(name, flag_name)
        return name, value

    @staticmethod
    def _explain_unknown(flag: str) -> str | None:
        """What to write for a flag that does not exist, where a training argument does."""
        name = flag.removeprefix("--").replace("-", "_")
        if (own := BY_OPTION.get(name)) is not None:
            return f"write {flag_name(own.partition(' ')[0])}"
        return f"write -O {name}=VALUE" if name in PASSED_ON else None

    def _check_name(self, name: str, spelled: Callable[[str], str]) -> None:
        """Raise `UnknownOption` for a name that is no option and no argument that may be set."""
        specs = self.kind.specs()
        if name in specs or name in PASSED_ON:
            return
        if name in _FLAGS_ONLY:
            raise UnknownOption(
                f"{name} is no option of training", hint=f"give it as a flag: {flag_name(name)}"
            )
        if (own := BY_OPTION.get(RENAMED.get(name, name))) is not None:
            option, _, value = own.partition(" ")
            right = spelled(option) if option in specs else flag_name(option)
            right = f"{right} {value.strip('()')}".rstrip()
            raise UnknownOption(
                f"{with_new_name(name)} is set by {right}", hint=f"write {right} instead"
            )
        raise self.kind.unknown(name)

    def _contradiction(
        self,
        document: Document,
        found: Mapping[str, Any],
        error: OptionConflict | InvalidOption,
    ) -> ConfigError:
        """The error, with the line of the first option that it names."""
        error.spell(FileSpelling())
        named = [name for name in error.options if name in found]
        place = document.place((named[0],)) if named else str(document.path)
        return ConfigError(f"{place}: {error.message}", hint=error.hint or self._by_hand)

    def _parameters(self) -> Sequence[inspect.Parameter]:
        specs = self.kind.specs()
        in_order = [*self.everyday, *(name for name in specs if name not in self.everyday)]
        flags = [
            make_flag(
                name,
                specs[name],
                panel=None if name in self.everyday else specs[name].panel,
                completion=_completion(specs[name]),
            )
            for name in in_order
        ]
        config = Annotated[
            str | None,
            typer.Option(
                "--config",
                metavar="FILE",
                help=f"Read options from a TOML file, as {self.example}; flags override it.",
                rich_help_panel="Training",
            ),
        ]
        return [
            *flags,
            make_parameter("config", config),
            make_parameter("assignments", _Assignments),
        ]


def flag_of(name: str) -> str:
    """The flag that sets an option of training, or `-O name` where there is none."""
    return f"-O {name}" if name in PASSED_ON else flag_name(name)


def _read_document(name: str) -> Document:
    path = Path(name)
    try:
        return parse(path, path.read_bytes())
    except ConfigError as error:
        raise ConfigError(error.message, hint="correct it there") from error
    except (OSError, ValueError) as error:
        reason = (error.strerror if isinstance(error, OSError) else None) or str(error)
        raise DataError(
            f"cannot read --config {shortened(name)}: {reason[:1].lower()}{reason[1:]}",
            hint="check the name and who may read it",
        ) from error


def _completion(spec: Spec) -> Callable[..., Any] | None:
    return completion.words(*spec.choices) if spec.choices else None


FINETUNE = TrainingFlags(
    TrainingOptions, EVERYDAY, example="lora_r = 8", one_choice=("lora", "dora", "qlora")
)
PRETRAIN = TrainingFlags(
    PretrainOptions,
    ("size", "vocab_size", "budget", "epochs", "max_steps", "batch_size", "learning_rate"),
    example="vocab_size = 8192",
)
