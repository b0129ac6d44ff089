"""The flags of `hfgen finetune`, made from `hfgen.training.options.SPECS`, and its `--config` file.

    flag or -O > --config file > default

Everything is read as text and checked by `TrainingOptions`, so that a wrong value reads alike as
flag, as `-O name=value`, in a file and in Python. Knows nothing of training itself.
"""

from __future__ import annotations

import contextlib
import functools
import inspect
import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from hfgen.cli import completion
from hfgen.cli.options import MODEL_PANEL, REPORT_PANEL, in_words_of_flags
from hfgen.cli.spec_flags import (
    flag_name,
    make_flag,
    make_parameter,
    naming_assignment,
    read_values,
    set_signature,
)
from hfgen.config_file import Document, parse
from hfgen.errors import ConfigError, DataError, InvalidOption, OptionConflict, UnknownOption
from hfgen.generation.option_specs import Spec, split_assignment
from hfgen.setting_names import Setting, shortened
from hfgen.training.argument_fields import BY_OPTION, PASSED_ON
from hfgen.training.options import SPECS, TrainingOptions, unknown_training_option

EVERYDAY = ("epochs", "max_steps", "batch_size", "learning_rate", "lora", "val_data")
"""The flags most people need: they stand in the first panel of the help page."""

# What the command line alone says.
_FLAGS_ONLY = ("model", "output", "device", "offline", "resume", "overwrite", "trust_remote_code")
_METHODS = ("lora", "dora", "qlora")
_PANELS = (
    None,
    *dict.fromkeys(spec.panel for spec in SPECS.values()),
    MODEL_PANEL,
    REPORT_PANEL,
)
_BY_HAND = "correct it there; hfgen finetune --help lists the names and ranges"

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
_ConfigFile = Annotated[
    str | None,
    typer.Option(
        "--config",
        metavar="FILE",
        help="Read options from a TOML file, as lora_r = 8; flags go before it.",
        rich_help_panel="Training",
    ),
]


def takes_training_options(command: Callable[..., None]) -> Callable[..., None]:
    """Give `command` a flag for every training option; it receives them as `options`.

    Errors that name an option name it as it was typed, or where it stands in the file.
    """

    @functools.wraps(command)
    def wrapper(**values: Any) -> None:
        flags = {name: values.pop(name) for name in SPECS}
        options, typed = read_options(
            flags, values.pop("assignments") or (), file=values.pop("config")
        )
        with in_words_of_flags(typed, flag_of=flag_of, command="finetune"):
            command(**values, options=options)

    set_signature(wrapper, command, _flags(), _PANELS)
    return wrapper


def read_options(
    flags: Mapping[str, Any], assignments: Iterable[str] = (), *, file: str | None = None
) -> tuple[TrainingOptions, dict[str, str]]:
    """Build the options; beside them, how each was typed or where it stands.

    Raises `UsageError` naming the flag, its value and the allowed range, `ConfigError` with
    `file:line` for what the file has wrong, and `DataError` when it cannot be read.
    """
    values, typed = read_values(
        flags,
        assignments,
        flag_of=flag_of,
        parse_list=lambda name, texts: texts,
        parse_assignment=naming_assignment(_parse_assignment, example="adam_beta2=0.95"),
    )
    names_method = any(name in values for name in _METHODS)
    lower, places = ({}, {}) if file is None else read_file(file, names_method=names_method)
    words = dict(zip(_METHODS, map(flag_of, _METHODS), strict=True)) | typed
    with in_words_of_flags(words, flag_of=flag_of, command="finetune"):
        return _over(values, lower), places | typed


def read_file(name: str, *, names_method: bool = False) -> tuple[dict[str, Any], dict[str, str]]:
    """Read the options of a TOML file; beside them, where each stands: `file:line: name = value`.

    With `names_method`, flags say which adapter is trained, and the file need not.
    Raises `ConfigError` with `file:line` and `DataError` when the file cannot be read.
    """
    document = _read_document(name)
    found: dict[str, Any] = {}
    places: dict[str, str] = {}
    for key, value in document.values.items():
        option = key.replace("-", "_")
        place = document.place((key,))
        if option in found:
            raise ConfigError(f"{place}: {option} is set twice", hint=_BY_HAND)
        try:
            _check_name(option, lambda other: other)
            found[option] = value
            if option in SPECS:
                found[option] = Setting(option, SPECS[option]).read_typed(value)
        except (InvalidOption, UnknownOption) as error:
            raise ConfigError(f"{place}: {error.message}", hint=error.hint or _BY_HAND) from error
        places[option] = f"{place}: {key} = {shortened(str(value))}"
    try:
        TrainingOptions.from_mapping({"lora": True if names_method else None} | found)
    except (OptionConflict, InvalidOption) as error:
        raise _contradiction(document, found, error) from error
    return found, places


def _over(values: Mapping[str, Any], lower: Mapping[str, Any]) -> TrainingOptions:
    """The options of `values`, with what they leave open taken from `lower`.

    What contradicts them there is dropped: precedence is no contradiction. Which adapter is
    trained is one choice: the stronger level that names one decides it.
    """
    decides = any(name in values for name in _METHODS)
    left = {n: v for n, v in lower.items() if n not in values and n not in _METHODS}
    methods = {} if decides else {n: v for n, v in lower.items() if n in _METHODS}
    merged = TrainingOptions.from_mapping(methods | dict(values))
    for name, value in left.items():
        with contextlib.suppress(OptionConflict):
            merged = TrainingOptions.from_mapping(merged.given() | {name: value})
    return merged


def flag_of(name: str) -> str:
    """The flag that sets an option of training, or `-O name` where there is none."""
    return f"-O {name}" if name in PASSED_ON else flag_name(name)


def _parse_assignment(text: str) -> tuple[str, Any]:
    name, value = split_assignment(text, example="adam_beta2=0.95")
    _check_name(name, flag_name)
    return name, value


def _check_name(name: str, spelled: Callable[[str], str]) -> None:
    """Raise `UnknownOption` for a name that is no option and no argument that may be set."""
    if name in SPECS or name in PASSED_ON:
        return
    if name in _FLAGS_ONLY:
        raise UnknownOption(
            f"{name} is no option of training", hint=f"give it as a flag: {flag_name(name)}"
        )
    if (own := BY_OPTION.get(name)) is not None:
        option, _, value = own.partition(" ")
        right = spelled(option) if option in SPECS else flag_name(option)
        right = f"{right} {value.strip('()')}".rstrip()
        raise UnknownOption(f"{name} is set by {right}", hint=f"write {right} instead")
    raise unknown_training_option(name)


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


def _contradiction(
    document: Document, found: Mapping[str, Any], error: OptionConflict | InvalidOption
) -> ConfigError:
    """The error, with the line of the first option that it names."""
    named = [name for name in re.findall(r"[a-z_0-9]+", error.message) if name in found]
    place = document.place((named[0],)) if named else str(document.path)
    hint = re.sub(r"--[a-z][a-z-]+", lambda m: m[0][2:].replace("-", "_"), error.hint or _BY_HAND)
    return ConfigError(f"{place}: {error.message}", hint=hint)


def _flags() -> list[inspect.Parameter]:
    in_order = [*EVERYDAY, *(name for name in SPECS if name not in EVERYDAY)]
    flags = [
        make_flag(
            name,
            SPECS[name],
            panel=None if name in EVERYDAY else SPECS[name].panel,
            completion=_completion(SPECS[name]),
        )
        for name in in_order
    ]
    return [
        *flags,
        make_parameter("config", _ConfigFile),
        make_parameter("assignments", _Assignments),
    ]


def _completion(spec: Spec) -> Callable[..., Any] | None:
    return completion.words(*spec.choices) if spec.choices else None
