"""The flags that commands share: which model and how it is loaded, and how much is said.

A command asks for them by its parameters, which no flag sets:

    console: Console          the console, set up by -q, -v and --debug
    which: Loading            the `LoadOptions` of -m, --device, --dtype and the like, checked

`with_shared_flags` gives the command these flags when it is loaded.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, get_args, get_origin

import typer

from hfgen.cli.flags import common
from hfgen.cli.program.console import Console
from hfgen.errors import OptionConflict
from hfgen.models.checkpoint.load_options import LoadOptions

_MESSAGES: dict[str, Any] = {
    "quiet": common.Quiet, "verbose": common.Verbose, "debug": common.Debug
}  # fmt: skip
# Flag -> its annotation and default; their order is that of help pages.
_LOADING: dict[str, tuple[Any, Any]] = {
    "model": (common.Model, None),
    "device": (common.Device, "auto"),
    "dtype": (common.Dtype, "auto"),
    "device_map": (common.DeviceMap, None),
    "attn": (common.Attention, None),
    "quantize": (common.Quantize, None),
    "threads": (common.Threads, None),
    "offline": (common.Offline, False),
    "trust_remote_code": (common.TrustRemoteCode, False),
}


@dataclass(frozen=True)
class Loads:
    """Which flags of loading a command has, and what it settles itself."""

    without: tuple[str, ...] = ()
    stock: bool = False
    dtype: str | None = None

    @property
    def flags(self) -> tuple[str, ...]:
        """Their names, in order."""
        left_out = (*self.without, *(() if self.dtype is None else ("dtype",)))
        return tuple(name for name in _LOADING if name not in left_out)


_SPREAD = ("device_map", "attn")
Loading = Annotated[LoadOptions, Loads()]
"""For a command that generates: every flag."""
LoadingUnnamed = Annotated[LoadOptions, Loads(without=("model",))]
"""For one that names its model, or several, in a way of its own."""
LoadingToMeasure = Annotated[LoadOptions, Loads(without=_SPREAD)]
"""For a command that scores."""
LoadingTwo = Annotated[LoadOptions, Loads(without=("model", "quantize", *_SPREAD))]
"""For one that compares two models."""
LoadingToExplain = Annotated[
    LoadOptions, Loads(without=("quantize", "threads", *_SPREAD), stock=True, dtype="float32")
]
"""For a command that looks inside the stock model."""


def with_shared_flags(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command that asks for a console the flags it shares with others.

    Of those of loading, -m stands where the command asks for `which`; the others come last.
    """
    own = inspect.signature(command, eval_str=True).parameters
    if "console" not in own:
        return command
    loads = _loads(own["which"].annotation) if "which" in own else None
    takes_context = "ctx" in own

    @functools.wraps(command)
    def wrapper(**values: Any) -> None:
        ctx = values["ctx"] if takes_context else values.pop("ctx")
        console: Console = ctx.obj
        said = {name: values.pop(name) for name in _MESSAGES}
        if said["quiet"] and said["verbose"]:
            raise OptionConflict(
                "--quiet leaves errors only, --verbose asks for more", hint="drop one"
            )
        console.configure(**said)
        if loads is not None:
            given = {name: values.pop(name) for name in loads.flags}
            values["which"] = _options(console, loads, given)
        command(**values, console=console)

    parameters = [
        parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY) for parameter in _all(own, loads)
    ]
    wrapper.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    wrapper.__annotations__ = {p.name: p.annotation for p in parameters}
    return wrapper


def _loads(annotation: Any) -> Loads:
    assert get_origin(annotation) is Annotated, annotation
    (loads,) = [fact for fact in get_args(annotation)[1:] if isinstance(fact, Loads)]
    return loads


def _options(console: Console, loads: Loads, given: dict[str, Any]) -> LoadOptions:
    settled: dict[str, Any] = {} if loads.dtype is None else {"dtype": loads.dtype}
    which = LoadOptions(
        name=given.pop("model", None),
        stock=loads.stock,
        progress=console.status,
        notify=console.notice,
        **settled,
        **given,
    )
    common.check_model(which)
    return which


def _all(own: Any, loads: Loads | None) -> list[inspect.Parameter]:
    """The parameters of the command with those of the shared flags in their places."""
    names = () if loads is None else loads.flags
    flags = {name: _parameter(name, *_LOADING[name]) for name in names}
    model = flags.pop("model", None)
    found = [] if "ctx" in own else [_parameter("ctx", typer.Context, inspect.Parameter.empty)]
    for name, parameter in own.items():
        if name == "which":
            found += [] if model is None else [model]
        elif name != "console":
            found.append(parameter)
    messages = [_parameter(name, kind, False) for name, kind in _MESSAGES.items()]
    return [*found, *flags.values(), *messages]


def _parameter(name: str, annotation: Any, default: Any) -> inspect.Parameter:
    return inspect.Parameter(
        name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation
    )
