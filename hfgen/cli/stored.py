"""Settings from preset, environment and config file, as commands use them."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator, Mapping
from contextvars import ContextVar
from typing import Any

from hfgen.errors import ModelError
from hfgen.generation.options import GenerationOptions
from hfgen.settings import Merged, Origin, merge, read_levels

_ORIGINS: ContextVar[Mapping[str, Origin]] = ContextVar("origins", default={})  # noqa: B039


def takes_settings(command: Callable[..., None]) -> Callable[..., None]:
    """Have the parameters of `command` that no flag gives come from environment and config file.

    For commands without generation options; `ctx` has to be among the parameters.
    """

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
        if name in values and not _is_typed(name, values):
            filled[name] = str(value) if isinstance(values[name], str) else value
    return filled


@contextlib.contextmanager
def naming_origins(merged: Merged, values: Mapping[str, Any]) -> Iterator[None]:
    """Have errors about a value that no flag gave say where it stands."""
    token = _ORIGINS.set(merged.origins)
    try:
        yield
    except ModelError as error:
        if "model" in merged.others and "model" in values and not _is_typed("model", values):
            error.add_context(after=f" (the model comes from {merged.origins['model'].place})")
        raise
    finally:
        _ORIGINS.reset(token)


def origin_of(name: str) -> Origin | None:
    """Where the value of a generation option stands; None for a flag's."""
    return _ORIGINS.get().get(name)


def _is_typed(name: str, values: Mapping[str, Any]) -> bool:
    """Whether a flag gives the parameter."""
    return bool(values["ctx"].get_parameter_source(name).name == "COMMANDLINE")
