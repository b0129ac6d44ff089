"""The flags of the generation options, made from `hfgen.generation.options.options.SPECS`.

They are read as plain strings. `GenerationOptions` itself parses them, so that names, ranges and
defaults have one home, and a wrong value reads alike as flag, as `-O name=value` and in Python.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Annotated, Any

import typer

from hfgen.cli.flags.common import (
    CHAT_PANEL,
    INPUT_PANEL,
    MODEL_PANEL,
    REPORT_PANEL,
    flag_of,
    in_words_of_flags,
)
from hfgen.cli.flags.shared import with_shared_flags
from hfgen.cli.flags.specs import (
    make_flag,
    make_parameter,
    naming_assignment,
    read_values,
    set_signature,
)
from hfgen.cli.flags.stored import fill_settings, naming_origins
from hfgen.cli.program import completion
from hfgen.errors import UsageError
from hfgen.generation.options.config_fields import REFUSED
from hfgen.generation.options.options import (
    SPECS,
    GenerationOptions,
    parse_assignment,
    parse_text,
)
from hfgen.generation.options.specs import Spec
from hfgen.settings import PRESETS, merge, read_levels

# The flags most people need stand in the first panel of a help page.
EVERYDAY = ("max_new_tokens", "temperature", "stop_strings", "seed", "num_return_sequences")

_OPTION_PANELS = dict.fromkeys(
    spec.panel for spec in SPECS.values() if spec.panel not in ("Output", "Advanced")
)
_PANELS = (None, INPUT_PANEL, CHAT_PANEL, *_OPTION_PANELS, MODEL_PANEL, "Advanced", REPORT_PANEL)

_Assignments = Annotated[
    list[str] | None,
    typer.Option(
        "-O",
        "--set",
        metavar="NAME=VALUE",
        help="Set an option by its Transformers name (repeatable). Without a flag of their own: "
        + ", ".join(name for name, spec in SPECS.items() if not spec.has_flag)
        + ".",
        rich_help_panel="Advanced",
    ),
]
_PresetName = Annotated[
    str | None,
    typer.Option(
        "--preset",
        metavar="NAME",
        autocompletion=completion.presets,
        help=f"A set of options: {', '.join(PRESETS)}, or one of your config file.",
    ),
]


def takes_generation_options(
    command: Callable[..., None], *, without: tuple[str, ...] = ()
) -> Callable[..., None]:
    """Give `command` a flag for every generation option; it receives them as `options`.

    Options `without` a meaning there have no flag and come from no setting.

    Help pages group all flags by panel; within one the order is that of the signature, with the
    generation options where `options` stands. What no flag gives comes from `--preset`, the
    environment and the config file, the command's other flags of that name included; `ctx` has to
    be among its parameters.
    """

    command = with_shared_flags(command)

    @functools.wraps(command)
    def wrapper(**values: Any) -> None:
        given = {name: values.pop(name) for name in SPECS if name in values}
        options = read_options(given, values.pop("assignments") or ())
        for name in without:
            if getattr(options, name) is not None:
                raise UsageError(f"{name} has no meaning here", hint=f"drop {flag_of(name)}")
        merged = merge(options, read_levels(values.pop("preset")))
        merged = replace(merged, options=replace(merged.options, **dict.fromkeys(without)))
        filled = fill_settings(values, merged)
        with naming_origins(merged, filled):
            command(**filled, options=merged.options)

    set_signature(wrapper, command, _flags(without), _PANELS)
    wrapper.reads_settings = True  # type: ignore[attr-defined]
    wrapper.explain_unknown = _explain_unknown  # type: ignore[attr-defined]
    return wrapper


def read_options(flags: Mapping[str, Any], assignments: Iterable[str] = ()) -> GenerationOptions:
    """Build the options from flag values and `name=value` texts.

    Raises `UsageError` naming the flag, its value and the allowed range.
    """
    values, typed = read_values(
        flags,
        assignments,
        specs=SPECS,
        flag_of=flag_of,
        parse_list=parse_text,
        parse_assignment=naming_assignment(parse_assignment, example="renormalize_logits=true"),
    )
    with in_words_of_flags(typed):
        return GenerationOptions(**values)


def _explain_unknown(flag: str) -> str | None:
    """What to write for a flag that does not exist, where an option of that name does."""
    name = flag.removeprefix("--").replace("-", "_")
    if name in REFUSED:
        return f"{name} cannot be set: {REFUSED[name]}"
    return f"write -O {name}=VALUE" if name in SPECS else None


def _flags(without: tuple[str, ...]) -> list[inspect.Parameter]:
    with_flag = [name for name, spec in SPECS.items() if spec.has_flag and name not in without]
    everyday = [name for name in EVERYDAY if name not in without]
    in_order = [*everyday, *(name for name in with_flag if name not in everyday)]
    flags = [
        make_flag(
            name,
            SPECS[name],
            panel=_panel(name, SPECS[name]),
            completion=_completion(name, SPECS[name]),
        )
        for name in in_order
    ]
    return [
        *flags,
        make_parameter("preset", _PresetName),
        make_parameter("assignments", _Assignments),
    ]


def _completion(name: str, spec: Spec) -> Callable[..., Any] | None:
    if name == "assistant_model":
        return completion.models
    return completion.words(*spec.choices) if spec.choices else None


def _panel(name: str, spec: Spec) -> str | None:
    if name in EVERYDAY:
        return None
    return INPUT_PANEL if spec.panel == "Output" else spec.panel
