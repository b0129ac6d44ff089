"""Flags: the ones every command shares, and those made from `hfgen.generation.options.SPECS`.

The generation flags are read as plain strings. `GenerationOptions` itself parses them, so that
names, ranges and defaults have one home, and a wrong value reads alike as flag, as `-O name=value`
and in Python. What is added here is only how an error names things: by the flag as it was typed.
"""

from __future__ import annotations

import functools
import inspect
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hfgen.errors import InvalidOption, OptionConflict, UnknownOption, UsageError
from hfgen.generation.options import (
    SPECS,
    GenerationOptions,
    Spec,
    parse_assignment,
    parse_text,
)
from hfgen.models.devices import check_device_name, check_dtype_name

if TYPE_CHECKING:
    from hfgen.language_model import LanguageModel

# The flags most people need stand in the first panel of a help page.
EVERYDAY = ("max_new_tokens", "temperature", "stop_strings", "seed", "num_return_sequences")
_REPEATABLE = ("strs", "ints", "biases")

MODEL_PANEL, INPUT_PANEL, REPORT_PANEL = "Model", "Input and output", "Messages"
_PANELS = (
    None, INPUT_PANEL, "Length and stops", "Sampling", "Repetition and bias", "Beams", MODEL_PANEL,
    "Advanced", REPORT_PANEL,
)  # fmt: skip

Model = Annotated[
    str | None,
    typer.Option(
        "-m",
        "--model",
        metavar="NAME",
        envvar="HFGEN_MODEL",
        show_envvar=True,
        help="Alias, Hub id (id@revision) or folder. Without it: gpt2, or the bundled model.",
    ),
]
Device = Annotated[
    str,
    typer.Option(
        metavar="DEVICE",
        help="cpu, cuda, cuda:N, mps, or auto: a GPU if there is one. (default auto)",
        show_default=False,
        rich_help_panel=MODEL_PANEL,
    ),
]
Dtype = Annotated[
    str,
    typer.Option(
        metavar="DTYPE",
        help="float32, bfloat16, float16, or auto: float32 on a CPU, half precision on a GPU. "
        "(default auto)",
        show_default=False,
        rich_help_panel=MODEL_PANEL,
    ),
]
Offline = Annotated[
    bool,
    typer.Option("--offline", help="Never ask the Hub.", rich_help_panel=MODEL_PANEL),
]
TrustRemoteCode = Annotated[
    bool,
    typer.Option(
        "--trust-remote-code",
        help="Run Python code that comes with the model.",
        rich_help_panel=MODEL_PANEL,
    ),
]
Output = Annotated[
    str | None,
    typer.Option("-o", "--output", metavar="FILE", help="Write to a new file."),
]
Overwrite = Annotated[
    bool,
    typer.Option("--overwrite", help="Let --output replace a file.", rich_help_panel=INPUT_PANEL),
]
Quiet = Annotated[
    bool,
    typer.Option("-q", "--quiet", help="Errors only.", rich_help_panel=REPORT_PANEL),
]
Verbose = Annotated[
    bool,
    typer.Option(
        "-v", "--verbose", help="Also what the libraries have to say.", rich_help_panel=REPORT_PANEL
    ),
]
Debug = Annotated[
    bool,
    typer.Option("--debug", help="Show the traceback of an error.", rich_help_panel=REPORT_PANEL),
]
_Assignments = Annotated[
    list[str] | None,
    typer.Option(
        "-O",
        "--set",
        metavar="NAME=VALUE",
        help="Set an option by its Transformers name, for those without a flag (repeatable).",
        rich_help_panel="Advanced",
    ),
]


@dataclass(frozen=True)
class ModelChoice:
    """What the command line says about the model."""

    name: str | None = None
    device: str = "auto"
    dtype: str = "auto"
    offline: bool = False
    trust_remote_code: bool = False

    def check(self) -> None:
        """Refuse what is misspelt."""
        check_flag("--device", check_device_name, self.device)
        check_flag("--dtype", check_dtype_name, self.dtype)

    def load(self, **settings: Any) -> LanguageModel:
        """Import the library, torch with it, and load the model."""
        from hfgen.language_model import load

        return load(
            self.name,
            device=self.device,
            dtype=self.dtype,
            offline=self.offline,
            trust_remote_code=self.trust_remote_code,
            **settings,
        )


def flag_of(name: str) -> str:
    """The flag that sets the option `name`, or `-O name` where there is none."""
    spec = SPECS.get(name)
    if spec is not None and not spec.has_flag:
        return f"-O {name}"
    return "--" + name.replace("_", "-")


def takes_generation_options(command: Callable[..., None]) -> Callable[..., None]:
    """Give `command` a flag for every generation option; it receives them as `options`.

    Help pages group all flags by panel; within one the order is that of the signature, with the
    generation options where `options` stands.
    """
    parameters: list[inspect.Parameter] = []
    for parameter in inspect.signature(command, eval_str=True).parameters.values():
        parameters += _flags() if parameter.name == "options" else [parameter]
    parameters.sort(key=_panel_order)

    @functools.wraps(command)
    def wrapper(**values: Any) -> None:
        given = {name: values.pop(name) for name in SPECS if name in values}
        options = read_options(given, values.pop("assignments") or ())
        command(**values, options=options)

    keyword_only = [p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in parameters]
    wrapper.__signature__ = inspect.Signature(keyword_only)  # type: ignore[attr-defined]
    wrapper.__annotations__ = {p.name: p.annotation for p in parameters}
    return wrapper


def read_options(flags: Mapping[str, Any], assignments: Iterable[str] = ()) -> GenerationOptions:
    """Build the options from flag values and `name=value` texts.

    Raises `UsageError` naming the flag, its value and the allowed range.
    """
    values: dict[str, Any] = {}
    typed: dict[str, str] = {}
    for name, value in flags.items():
        if value is None:
            continue
        is_list = isinstance(value, list)
        values[name] = parse_text(name, value) if is_list else value
        typed[name] = f"{flag_of(name)} {_shortened(value[-1] if is_list else str(value))}"
    for text in assignments:
        name, value = _assignment(text)
        if name in values:
            raise OptionConflict(
                f"{name} is set twice: by {typed[name]} and by -O {_shortened(text)}",
                hint="drop one of the two",
            )
        values[name] = value
        typed[name] = f"-O {_shortened(text)}"
    try:
        return GenerationOptions(**values)
    except InvalidOption as error:
        raise _in_words_of_flags(error, typed.get(error.name)) from error
    except OptionConflict as error:
        names = "|".join(sorted(values, key=len, reverse=True))
        message = re.sub(rf"\b({names})\b", lambda m: flag_of(m[1]), error.message)
        raise OptionConflict(message, hint=error.hint) from error


def check_flag(flag: str, check: Callable[[str], object], value: str) -> None:
    """Run `check` on a flag's value; its `InvalidOption` comes out naming the flag."""
    try:
        check(value)
    except InvalidOption as error:
        raise _in_words_of_flags(error, f"{flag} {_shortened(value)}") from error


def whole_number(flag: str, text: str, *, low: int, high: int) -> int:
    """Read the value of a flag that is no generation option."""
    if re.fullmatch(r"[+-]?[0-9]{1,18}", text) and low <= int(text) <= high:
        return int(text)
    raise UsageError(
        f"{flag} {_shortened(text)}: allowed is a whole number from {low} to {high}",
        hint=f"leave {flag} out for the default",
    )


def choice(flag: str, text: str, choices: Iterable[str]) -> str:
    """Read the value of a flag that takes one of a few words."""
    words = tuple(choices)
    if text in words:
        return text
    raise UsageError(
        f"{flag} {_shortened(text)}: allowed is {' or '.join(words)}",
        hint=f"leave {flag} out for {words[0]}",
    )


def _in_words_of_flags(error: InvalidOption, typed: str | None) -> UsageError:
    allowed = error.message.rpartition(": allowed is ")[2]
    return UsageError(
        f"{typed or flag_of(error.name)}: allowed is {allowed}",
        hint=error.hint or "hfgen generate --help lists the options with their ranges",
    )


def _assignment(text: str) -> tuple[str, Any]:
    try:
        return parse_assignment(text)
    except InvalidOption as error:
        raise UsageError(
            f"-O {_shortened(text)}: not NAME=VALUE", hint="as in -O renormalize_logits=true"
        ) from error
    except UnknownOption as error:
        raise UnknownOption(f"-O {_shortened(text)}: {error.message}", hint=error.hint) from error


def _flags() -> list[inspect.Parameter]:
    with_flag = [name for name, spec in SPECS.items() if spec.has_flag]
    in_order = [*EVERYDAY, *(name for name in with_flag if name not in EVERYDAY)]
    flags = [_flag(name, SPECS[name]) for name in in_order]
    return [
        *flags,
        inspect.Parameter(
            "assignments", inspect.Parameter.KEYWORD_ONLY, default=None, annotation=_Assignments
        ),
    ]


def _flag(name: str, spec: Spec) -> inspect.Parameter:
    long = flag_of(name)
    if spec.kind == "bool":
        negative = next((flag for flag in spec.flags if flag.startswith("/")), "")
        flags: tuple[str, ...] = (long + negative,)
        annotation: Any = bool | None
    else:
        flags = (*spec.flags[:1], long)
        annotation = list[str] | None if spec.kind in _REPEATABLE else str | None
    option = typer.Option(
        *flags,
        metavar=None if spec.kind == "bool" else _metavar(spec),
        help=_help(spec),
        rich_help_panel=_panel(name, spec),
        show_default=False,
    )
    return inspect.Parameter(
        name,
        inspect.Parameter.KEYWORD_ONLY,
        default=None,
        annotation=Annotated[annotation, option],
    )


def _panel(name: str, spec: Spec) -> str | None:
    if name in EVERYDAY:
        return None
    return INPUT_PANEL if spec.panel == "Output" else spec.panel


def _metavar(spec: Spec) -> str:
    return spec.metavar or {"int": "N", "choice": "WORD"}.get(spec.kind, "X")


def _help(spec: Spec) -> str:
    """Help text with range and default: `… (above 0, up to 1; default 0.95)`."""
    facts = [_range(spec)]
    if spec.default is not None and spec.kind != "bool":
        facts.append(f"default {spec.default}")
    shown = "; ".join(fact for fact in facts if fact)
    return f"{spec.help} ({shown})" if shown else spec.help


def _range(spec: Spec) -> str:
    if spec.kind == "choice":
        return ", ".join(spec.choices)
    if spec.low is None or spec.kind not in ("int", "float"):
        return ""
    low = f"above {spec.low:g}" if spec.low_open else f"{spec.low:g}"
    if spec.high is None or spec.high >= 1e6:
        return low if spec.low_open else f"{low} or more"
    return f"{low}, up to {spec.high:g}" if spec.low_open else f"{low} to {spec.high:g}"


def _panel_order(parameter: inspect.Parameter) -> int:
    for fact in getattr(parameter.annotation, "__metadata__", ()):
        return _PANELS.index(getattr(fact, "rich_help_panel", None))
    return 0


def _shortened(text: str) -> str:
    if not text:
        return '""'
    return text if len(text) <= 60 else text[:59] + "…"
