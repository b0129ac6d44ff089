"""What commands share: their common flags, and errors that name things as they were typed."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Annotated

import typer

from hfgen.cli.flags.flag_spelling import FlagSpelling, flag_name
from hfgen.cli.flags.stored import is_typed, origin_of
from hfgen.cli.program import completion
from hfgen.errors import HfgenError, OptionConflict, UsageError
from hfgen.generation.options.options import SPECS, GenerationOptions
from hfgen.generation.options.specs import ESCAPES, Spec, unescaped
from hfgen.models.checkpoint.load_options import LoadOptions
from hfgen.setting_names import shortened as shortened

MODEL_PANEL, INPUT_PANEL, REPORT_PANEL = "Model", "Input and output", "Messages"
CHAT_PANEL = "Chat models"


Model = Annotated[
    str | None,
    typer.Option(
        "-m",
        "--model",
        metavar="NAME",
        autocompletion=completion.models,
        envvar="HFGEN_MODEL",
        show_envvar=True,
        help="Alias, Hub id (id@revision), folder or .gguf file. Without it: gpt2, or bundled.",
    ),
]
ModelArgument = Annotated[
    str | None,
    typer.Argument(
        metavar="MODEL",
        autocompletion=completion.models,
        help="The model, as with -m.",
        show_default=False,
    ),
]
System = Annotated[
    str | None,
    typer.Option(
        metavar="TEXT",
        help=f"The system message. ({ESCAPES})",
        callback=lambda text: None if text is None else unescaped(text),
        rich_help_panel=CHAT_PANEL,
    ),
]
Device = Annotated[
    str,
    typer.Option(
        metavar="DEVICE",
        autocompletion=completion.words(*completion.DEVICES),
        help="cpu, cuda, cuda:N, mps, or auto: a CUDA GPU if there is one. (default auto)",
        show_default=False,
        rich_help_panel=MODEL_PANEL,
    ),
]
Dtype = Annotated[
    str,
    typer.Option(
        metavar="DTYPE",
        autocompletion=completion.words(*completion.DTYPES),
        help="float32 (or fp32), bfloat16 (bf16), float16 (fp16), or auto: float32 on a CPU, half "
        "precision on a GPU. (default auto)",
        show_default=False,
        rich_help_panel=MODEL_PANEL,
    ),
]
DeviceMap = Annotated[
    str | None,
    typer.Option(
        metavar="auto",
        help="Spread a model that no device holds over all GPUs, the memory and the disk.",
        show_default=False,
        rich_help_panel=MODEL_PANEL,
    ),
]
Attention = Annotated[
    str | None,
    typer.Option(
        "--attn",
        metavar="KERNEL",
        help="How attention is computed: eager, sdpa or flash_attention_2. (default sdpa where "
        "the model has it)",
        show_default=False,
        rich_help_panel=MODEL_PANEL,
    ),
]
Quantize = Annotated[
    str | None,
    typer.Option(
        metavar="int8",
        help="Decode in 8-bit integers: a quarter of the memory traffic, nearly the same text. "
        "(CPU only)",
        show_default=False,
        rich_help_panel=MODEL_PANEL,
    ),
]
Threads = Annotated[
    int | None,
    typer.Option(
        metavar="N",
        min=1,
        help="Processor cores to compute on. (default all)",
        show_default=False,
        rich_help_panel=MODEL_PANEL,
    ),
]
Offline = Annotated[
    bool,
    typer.Option(
        "--offline/--no-offline",
        help="Never ask the Hub.",
        show_default=False,
        rich_help_panel=MODEL_PANEL,
    ),
]
TrustRemoteCode = Annotated[
    bool,
    typer.Option(
        "--trust-remote-code",
        help="Run Python code that comes with the model.",
        rich_help_panel=MODEL_PANEL,
    ),
]
ChatTemplate = Annotated[
    str | None,
    typer.Option(
        "--chat-template",
        metavar="NAME",
        help="Which chat template, for a model that has several. (default the one so named)",
        show_default=False,
        rich_help_panel=CHAT_PANEL,
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


def check_model(options: LoadOptions) -> None:
    """Refuse options of loading that are wrong, as they are typed."""
    names = ("device", "dtype", "device_map", "attn", "quantize")
    typed = {name: f"{flag_name(name)} {shortened(str(getattr(options, name)))}" for name in names}
    with in_words_of_flags(typed):
        options.check()


def named_model(ctx: typer.Context, argument: str | None, model: str | None) -> str | None:
    """The model of a command that takes it as argument or with -m; `model` may be a setting."""
    if argument is None:
        return model
    if is_typed(ctx, "model"):
        raise OptionConflict(
            f"the model is given twice: {shortened(argument)} and -m {shortened(str(model))}",
            hint="drop one of the two",
        )
    return argument


def flag_of(name: str) -> str:
    """The flag that sets the option `name`, or `-O name` where there is none."""
    spec = SPECS.get(name)
    if spec is not None and not spec.has_flag:
        return f"-O {name}"
    return flag_name(name)


@contextlib.contextmanager
def in_words_of_flags(
    typed: Mapping[str, str],
    *,
    flag_of: Callable[[str], str] = flag_of,
    specs: Mapping[str, Spec] = SPECS,
) -> Iterator[None]:
    """Have errors about options name the flags; `typed` holds each option as it was typed.

    An error that is spelled already stays as it is.
    """
    try:
        yield
    except HfgenError as error:
        if error.spelling is None:
            error.spell(FlagSpelling(typed, flag_of, specs))
        raise


def check_flag(flag: str, check: Callable[[str], object], value: str) -> None:
    """Run `check` on a flag's value; its `InvalidOption` comes out naming the flag."""
    typed = {flag.removeprefix("--"): f"{flag} {shortened(value)}"}
    with in_words_of_flags(typed):
        check(value)


def whole_number(flag: str, text: str, *, low: int, high: int) -> int:
    """Read the value of a flag that is no generation option."""
    if re.fullmatch(r"[+-]?[0-9]{1,18}", text) and low <= int(text) <= high:
        return int(text)
    raise UsageError(
        f"{flag} {shortened(text)}: must be a whole number from {low} to {high}",
        hint=f"leave {flag} out for the default",
    )


def probability(flag: str, text: str) -> float:
    """Read the value of a flag that is a number from 0 to 1."""
    if re.fullmatch(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)(e[+-]?[0-9]+)?", text, re.ASCII | re.I):
        value = float(text)
        if 0 <= value <= 1:
            return value
    raise UsageError(
        f"{flag} {shortened(text)}: must be a number from 0 to 1",
        hint=f"leave {flag} out for the default",
    )


def typed_options(options: GenerationOptions) -> dict[str, str]:
    """Each option that was given, as it is typed on a command line, or as it stands elsewhere."""
    typed = {}
    for name, value in options.given().items():
        if origin := origin_of(name):
            typed[name] = origin.typed(name, value)
            continue
        parts = value if isinstance(value, tuple) else (value,)
        text = shortened(",".join(map(str, parts)))
        typed[name] = flag_of(name) + ("=" if flag_of(name).startswith("-O") else " ") + text
    return typed


def choice(flag: str, text: str, choices: Iterable[str]) -> str:
    """Read the value of a flag that takes one of a few words."""
    words = tuple(choices)
    if text in words:
        return text
    raise UsageError(
        f"{flag} {shortened(text)}: must be {' or '.join(words)}",
        hint=f"leave {flag} out for {words[0]}",
    )
