"""Settings from preset, environment and config file, as commands use them."""

from __future__ import annotations

import contextlib
import functools
import inspect
from collections.abc import Callable, Iterator, Mapping
from contextvars import ContextVar
from typing import Any

from hfgen.errors import ModelError
from hfgen.generation.options.options import GenerationOptions
from hfgen.setting_names import RUN_SETTINGS
from hfgen.settings import Merged, Origin, merge, read_levels

_ORIGINS: ContextVar[Mapping[str, Origin]] = ContextVar("origins", default={})  # noqa: B039


def takes_settings(command: Callable[..., None]) -> Callable[..., None]:
    """Have the parameters of `command` that no flag gives come from environment and config file.

    Every command is wrapped like this when it is loaded. One that has none of the settings among
    its parameters stays as it is (it works with a broken config file), and so does one that takes
    generation options, which reads the settings with them. `ctx` has to be among the parameters.
    """
    names = inspect.signature(command).parameters
    if getattr(command, "reads_settings", False) or not names.keys() & RUN_SETTINGS:
        return command

    @functools.wraps(command)
    def wrapper(**values: Any) -> None:
        merged = merge(GenerationOptions(), read_levels())
        with naming_origins(merged, values):
            command(**fill_settings(values, merged))

    return wrapper


def fill_settings(values: dict[str, Any], merged: Merged) -> dict[str, Any]:
    """Fill a command's parameters that no flag gave from the settings of their name."""
    filled = dict(values)
    for name, value in merged.others.items():
        if name in values and not is_typed(values["ctx"], name):
            filled[name] = str(value) if isinstance(values[name], str) else value
    return filled


@contextlib.contextmanager
def naming_origins(merged: Merged, values: Mapping[str, Any]) -> Iterator[None]:
    """Have errors about a value that no flag gave say where it stands."""
    token = _ORIGINS.set(merged.origins)
    try:
        yield
    except ModelError as error:
        is_set = "model" in merged.others and "model" in values
        if is_set and not {"model", "name"} & _typed(values["ctx"]):
            error.add_context(after=f" (the model comes from {merged.origins['model'].place})")
        raise
    finally:
        _ORIGINS.reset(token)


def origin_of(name: str) -> Origin | None:
    """Where the value of a generation option stands; None for a flag's."""
    return _ORIGINS.get().get(name)


def is_typed(ctx: Any, name: str) -> bool:
    """Whether the command line gives the parameter."""
    return name in _typed(ctx)


def _typed(ctx: Any) -> set[str]:
    """The parameters that the command line gives."""
    sources = {name: ctx.get_parameter_source(name) for name in ctx.params}
    return {name for name, source in sources.items() if source and source.name == "COMMANDLINE"}
