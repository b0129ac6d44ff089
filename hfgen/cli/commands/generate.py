"""`hfgen generate`: continue one prompt, or many.

Everything that can be refused without a model is refused first, the writability of the output and
the first prompt included; only then torch is imported.
"""

from __future__ import annotations

import dataclasses
import secrets
from typing import Annotated

import typer

from hfgen.cli.commands.generate_job import Job
from hfgen.cli.flags import common as flags
from hfgen.cli.flags.common import CHAT_PANEL, INPUT_PANEL
from hfgen.cli.flags.generation import takes_generation_options
from hfgen.cli.flags.shared import Loading
from hfgen.cli.flags.typed import notice_of_scattered
from hfgen.cli.io.inputs import InputChoice, Prompts
from hfgen.cli.io.outputs import FORMATS, OutputChoice
from hfgen.cli.io.unread import noticing_unread_input
from hfgen.cli.program import completion
from hfgen.cli.program.console import Console
from hfgen.errors import OptionConflict
from hfgen.generation.options.options import GenerationOptions
from hfgen.generation.prompts.encode import Reading

_NONE_GIVEN = GenerationOptions()


@takes_generation_options
def generate(
    ctx: typer.Context,
    console: Console,
    which: Loading,
    prompt: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="PROMPT",
            help="The text to continue; several are joined by a space, - is standard input. "
            "Without any, standard input is read.",
            show_default=False,
        ),
    ] = None,
    file: Annotated[
        str | None,
        typer.Option("-f", "--file", metavar="FILE", help="Read the prompt from a file."),
    ] = None,
    output: flags.Output = None,
    format: Annotated[
        str,
        typer.Option(
            metavar="FORMAT",
            autocompletion=completion.words(*FORMATS),
            help="text, json (one document) or jsonl (a record on each line). (default text)",
            show_default=False,
        ),
    ] = "text",
    options: GenerationOptions = _NONE_GIVEN,
    lines: Annotated[
        bool,
        typer.Option("--lines", help="Each line is a prompt.", rich_help_panel=INPUT_PANEL),
    ] = False,
    null: Annotated[
        bool,
        typer.Option(
            "-0",
            "--null",
            help="Prompts, and texts in the output, end with a NUL byte instead of a line end.",
            rich_help_panel=INPUT_PANEL,
        ),
    ] = False,
    echo: Annotated[
        bool | None,
        typer.Option(
            "--echo/--no-echo",
            help="Write the prompt before its continuation, or the continuation alone. "
            "(default --echo, for chat models --no-echo)",
            rich_help_panel=INPUT_PANEL,
            show_default=False,
        ),
    ] = None,
    system: flags.System = None,
    raw: Annotated[
        bool,
        typer.Option(
            "--raw",
            help="Continue the prompt as it is, without the chat template.",
            rich_help_panel=CHAT_PANEL,
        ),
    ] = False,
    chat_template: flags.ChatTemplate = None,
    show_thinking: Annotated[
        bool,
        typer.Option(
            "--show-thinking",
            help="Show a reasoning model's thinking on standard error; records have it anyway.",
            rich_help_panel=CHAT_PANEL,
        ),
    ] = False,
    overwrite: flags.Overwrite = False,
    allow_special: Annotated[
        bool,
        typer.Option(
            "--allow-special",
            help="Read special tokens written in the prompt, such as <|endoftext|>, as such.",
            rich_help_panel=INPUT_PANEL,
        ),
    ] = False,
    slots: Annotated[
        str,
        typer.Option(
            metavar="N",
            help="How many sequences are decoded concurrently. (1 to 1024; default 16)",
            show_default=False,
            rich_help_panel=flags.MODEL_PANEL,
        ),
    ] = "16",
    stats: Annotated[
        bool,
        typer.Option(
            "--stats",
            help="Times, speeds and memory, on standard error.",
            rich_help_panel=flags.REPORT_PANEL,
        ),
    ] = False,
) -> None:
    """Continue a text with a language model.

    hfgen generate "Once upon a time"
    echo "Once upon a time" | hfgen generate --seed 7 -n 50
    hfgen generate --lines -f prompts.txt --format jsonl -o stories.jsonl
    """
    if notice := notice_of_scattered(ctx):
        console.notice(notice)
    has_rows = lines or (null and (prompt or ["-"]) == ["-"])
    source = InputChoice(prompt or (), file, has_rows=has_rows, is_null_separated=null)
    is_list = has_rows or (options.num_return_sequences or 1) > 1
    target = OutputChoice(format, echo, output, overwrite, null, is_list)
    target.check()
    reading = Reading(allow_special, raw, system, chat_template)
    _check_combination(console, source, target, options, has_stats=stats, reading=reading)
    job = Job(
        console=console,
        slots=flags.whole_number("--slots", slots, low=1, high=1024),
        sink=target.open(console, source=file),
        prompts=Prompts(source),
        target=target,
        options=_with_seed(options),
        reading=reading,
        shows_thinking=show_thinking,
        has_stats=stats,
        is_seed_drawn=options.seed is None,
    )
    with noticing_unread_input(
        console,
        is_read=source.reads_standard_input,
        instead=source.how_to_read_standard_input,
    ):
        job.run(which)


def _check_combination(
    console: Console,
    source: InputChoice,
    target: OutputChoice,
    options: GenerationOptions,
    *,
    has_stats: bool,
    reading: Reading,
) -> None:
    if console.is_quiet and has_stats:
        raise OptionConflict("--quiet leaves errors only, --stats asks for more", hint="drop one")
    has_colours = console.is_terminal and target.file is None
    if options.logprobs is not None and target.format == "text" and not has_colours:
        raise OptionConflict(
            "--logprobs has no place in text but as colours on a terminal",
            hint="add --format json or --format jsonl",
        )
    for flag, value in (("--system", reading.system), ("--chat-template", reading.chat_template)):
        if reading.raw and value is not None:
            raise OptionConflict(f"{flag} has no effect with --raw", hint="drop one of the two")
    if source.is_null_separated and not source.has_rows and target.format != "text":
        raise OptionConflict(
            "--null has no effect here: JSON ends with a line end", hint="drop --null"
        )


def _with_seed(options: GenerationOptions) -> GenerationOptions:
    """Draw a seed where none is given: 32 bits, short enough to type."""
    if options.seed is not None:
        return options
    return dataclasses.replace(options, seed=secrets.randbits(32))
