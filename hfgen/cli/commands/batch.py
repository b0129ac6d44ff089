"""`hfgen batch`: many prompts from files, one record each."""

from __future__ import annotations

from typing import Annotated

import typer

from hfgen.cli.commands.batch_job import BatchJob, OutputFlags
from hfgen.cli.flags import common as flags
from hfgen.cli.flags.common import CHAT_PANEL, INPUT_PANEL
from hfgen.cli.flags.generation import takes_generation_options
from hfgen.cli.flags.shared import Loading
from hfgen.cli.io.unread import noticing_unread_input
from hfgen.cli.program import completion
from hfgen.cli.program.console import Console
from hfgen.generation.options.options import GenerationOptions
from hfgen.generation.prompts.encode import Reading

_NONE_GIVEN = GenerationOptions()


@takes_generation_options
def batch(
    console: Console,
    which: Loading,
    inputs: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="IN",
            help="JSON Lines: strings, objects with prompt or messages and options of their own, "
            "or OpenAI's batch rows; .csv, .tsv, .parquet and .json files of such rows; of .txt "
            "files each line is a prompt. - is standard input.",
            show_default=False,
        ),
    ] = None,
    output: Annotated[
        str | None,
        typer.Option(
            "-o", "--output", metavar="FILE", help="Write to a new file; - is standard output."
        ),
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with the output: rows in it are not run again.")
    ] = False,
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="Resume, and run rows that failed again.")
    ] = False,
    options: GenerationOptions = _NONE_GIVEN,
    lines: Annotated[
        bool,
        typer.Option("--lines", help="Each line is a prompt.", rich_help_panel=INPUT_PANEL),
    ] = False,
    unordered: Annotated[
        bool,
        typer.Option(
            "--unordered",
            help="Write rows as they are finished, not in input order.",
            rich_help_panel=INPUT_PANEL,
        ),
    ] = False,
    on_bad_row: Annotated[
        str,
        typer.Option(
            metavar="WHAT",
            autocompletion=completion.words("error", "skip"),
            help="What a malformed row does: error or skip. (default error)",
            show_default=False,
            rich_help_panel=INPUT_PANEL,
        ),
    ] = "error",
    any_model: Annotated[
        bool,
        typer.Option(
            "--any-model",
            help="Answer rows that name another model, too.",
            rich_help_panel=INPUT_PANEL,
        ),
    ] = False,
    overwrite: flags.Overwrite = False,
    system: flags.System = None,
    raw: Annotated[
        bool,
        typer.Option(
            "--raw",
            help="Continue prompts as they are, without the chat template.",
            rich_help_panel=CHAT_PANEL,
        ),
    ] = False,
    chat_template: flags.ChatTemplate = None,
    allow_special: Annotated[
        bool,
        typer.Option(
            "--allow-special",
            help="Read special tokens written in prompts, such as <|endoftext|>, as such.",
            rich_help_panel=INPUT_PANEL,
        ),
    ] = False,
    slots: Annotated[
        str,
        typer.Option(
            metavar="N",
            help="How many sequences are decoded concurrently: 1 to 1024, or auto, as many as the "
            "memory allows. (default auto)",
            show_default=False,
            rich_help_panel=flags.MODEL_PANEL,
        ),
    ] = "auto",
    json: Annotated[
        bool,
        typer.Option(
            "--json", help="A summary as JSON, on standard output.", rich_help_panel="Messages"
        ),
    ] = False,
) -> None:
    """Continue many prompts, one record a row.

    hfgen batch prompts.jsonl -o texts.jsonl
    hfgen batch prompts.jsonl -o texts.jsonl --resume
    cat prompts.txt | hfgen batch --lines -n 20 | jq -r .completion
    """
    job = BatchJob(
        console=console,
        inputs=inputs or [],
        has_text_lines=lines,
        on_bad_row=flags.choice("--on-bad-row", on_bad_row, ("error", "skip")),
        target=OutputFlags(output, resume, retry_failed, overwrite),
        options=options,
        reading=Reading(allow_special, raw, system, chat_template),
        is_ordered=not unordered,
        is_any_model=any_model,
        slots=None if slots == "auto" else flags.whole_number("--slots", slots, low=1, high=1024),
        is_json=json,
    )
    with noticing_unread_input(
        console, is_read=not inputs or "-" in inputs, instead="write - among the files for its rows"
    ):
        job.run(which)
