"""Flags made from a table of `Spec`s: what the commands with many options share.

A flag is read as plain text; the options' own class parses it, so that names, ranges and defaults
have one home. Which options there are, and in which panels, is the caller's business.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Annotated, Any

import typer

from hfgen.cli.flags.flag_spelling import flag_name
from hfgen.errors import InvalidOption, OptionConflict, UnknownOption, UsageError
from hfgen.generation.options.specs import ESCAPES, Spec
from hfgen.setting_names import shortened

REPEATABLE = ("strs", "ints", "biases")
"""Kinds whose flag may be given several times."""


def make_flag(
    name: str, spec: Spec, *, panel: str | None, completion: Callable[..., Any] | None = None
) -> inspect.Parameter:
    """The parameter of a command that makes the option's flag; None where it was not given."""
    long = flag_name(name)
    if spec.kind == "bool":
        negative = next((flag for flag in spec.flags if flag.startswith("/")), "")
        flags: tuple[str, ...] = (long + negative,)
        annotation: Any = bool | None
    else:
        flags = (*spec.flags[:1], long)
        annotation = list[str] | None if spec.kind in REPEATABLE else str | None
    option = typer.Option(
        *flags,
        metavar=None if spec.kind == "bool" else _metavar(spec),
        help=_help(spec),
        rich_help_panel=panel,
        show_default=False,
        autocompletion=completion,
    )
    return make_parameter(name, Annotated[annotation, option])


def make_parameter(name: str, annotation: Any) -> inspect.Parameter:
    """A parameter that is None where it was not given."""
    return inspect.Parameter(
        name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation
    )


def read_values(
    flags: Mapping[str, Any],
    assignments: Iterable[str],
    *,
    specs: Mapping[str, Spec],
    flag_of: Callable[[str], str],
    parse_list: Callable[[str, list[str]], Any],
    parse_assignment: Callable[[str], tuple[str, Any]],
) -> tuple[dict[str, Any], dict[str, str]]:
    """The values of the flags and `-O` texts that were given, and each option as it was typed.

    Raises `OptionConflict` for an option that is set in both ways or by two `-O`.
    """
    values: dict[str, Any] = {}
    typed: dict[str, str] = {}
    for name, value in flags.items():
        if value is None:
            continue
        is_list = isinstance(value, list)
        text = specs[name].typed(value)
        values[name] = parse_list(name, text) if is_list else text
        # A switch has no value to show.
        shown = "" if value is True else shortened(value[-1] if is_list else str(value))
        typed[name] = f"{flag_of(name)} {shown}".rstrip()
    for text in assignments:
        name, value = parse_assignment(text)
        if name in values:
            raise OptionConflict(
                f"{name} is set twice: by {typed[name]} and by -O {shortened(text)}",
                hint="drop one of the two",
            )
        values[name] = value
        typed[name] = f"-O {shortened(text)}"
    return values, typed


def naming_assignment(
    parse: Callable[[str], tuple[str, Any]], *, example: str
) -> Callable[[str], tuple[str, Any]]:
    """Have the errors of `parse` name the `-O` text that they are about."""

    def parse_named(text: str) -> tuple[str, Any]:
        try:
            return parse(text)
        except InvalidOption as error:
            raise UsageError(
                f"-O {shortened(text)}: not NAME=VALUE", hint=f"as in -O {example}"
            ) from error
        except UnknownOption as error:
            error.add_context(f"-O {shortened(text)}: ")
            raise

    return parse_named


def set_signature(
    wrapper: Callable[..., None],
    command: Callable[..., None],
    flags: Sequence[inspect.Parameter],
    panels: Sequence[str | None],
) -> None:
    """Give `wrapper` the parameters of `command`, with `flags` where `options` stands.

    They are ordered by panel; within one the order is that of the signature.
    """
    parameters: list[inspect.Parameter] = []
    for parameter in inspect.signature(command, eval_str=True).parameters.values():
        parameters += flags if parameter.name == "options" else [parameter]
    parameters.sort(key=lambda parameter: panels.index(_panel(parameter)))
    keyword_only = [p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in parameters]
    wrapper.__signature__ = inspect.Signature(keyword_only)  # type: ignore[attr-defined]
    wrapper.__annotations__ = {p.name: p.annotation for p in parameters}


def _panel(parameter: inspect.Parameter) -> str | None:
    for fact in getattr(parameter.annotation, "__metadata__", ()):
        panel = getattr(fact, "rich_help_panel", None)
        return panel if isinstance(panel, str) else None
    return None


def _metavar(spec: Spec) -> str:
    return spec.metavar or {"int": "N", "choice": "WORD"}.get(spec.kind, "X")


def _help(spec: Spec) -> str:
    """Help text with range and default: `… (above 0, up to 1; default 0.95)`."""
    facts = [_range(spec)]
    if spec.default is not None and spec.kind != "bool":
        facts.append(f"default {spec.default}")
    if spec.has_escapes:
        facts.append(ESCAPES)
    shown = "; ".join(fact for fact in facts if fact)
    return f"{spec.help} ({shown})" if shown else spec.help


def _range(spec: Spec) -> str:
    if spec.kind == "choice":
        return ", ".join(spec.choices)
    if spec.low is None or spec.kind not in ("int", "float"):
        return ""
    words = "".join(f"{word} or " for word in spec.words)
    low = f"{words}{'above ' * spec.low_open}{spec.low:g}"
    zero = "0 or " * spec.or_zero
    if spec.high is None or spec.high >= 1e6:
        return low if spec.low_open else f"{low} or more"
    if spec.high_open:
        return f"{zero}{low} to below {spec.high:g}"
    return f"{zero}{low}{', up to' if spec.low_open else ' to'} {spec.high:g}"
