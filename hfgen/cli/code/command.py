"""`hfgen code`: complete a source file.

Everything that can be refused without a model is refused first: the file, the place in it, and
whether it can be written.
"""

from __future__ import annotations

import dataclasses
import secrets
from typing import Annotated

import typer

from hfgen.cli.code.job import Job
from hfgen.cli.code.results import FORMATS, CodeOutput
from hfgen.cli.flags import common as flags
from hfgen.cli.flags.generation import takes_generation_options
from hfgen.cli.flags.shared import Loading
from hfgen.cli.io.unread import noticing_unread_input
from hfgen.cli.program import completion
from hfgen.cli.program.console import Console, is_interactive_input, standard_input
from hfgen.coding.blocks import UNTILS, Until
from hfgen.coding.edit import check_in_place
from hfgen.coding.languages import (
    Language,
    language_named,
    language_of_file,
    language_of_text,
)
from hfgen.coding.source import Gap, Source, gap_of, read_source
from hfgen.errors import OptionConflict, UsageError
from hfgen.generation.options.options import GenerationOptions

_NONE_GIVEN = GenerationOptions()
_STANDARD_INPUT = "standard input"
_MOST = 10**9
_LANGUAGES = (
    "python",
    "c",
    "cpp",
    "java",
    "javascript",
    "typescript",
    "go",
    "rust",
    "ruby",
    "bash",
)


@takes_generation_options
def code(
    console: Console,
    which: Loading,
    file: Annotated[
        str | None,
        typer.Argument(
            metavar="FILE",
            help="The source file to complete; - or nothing is standard input.",
            show_default=False,
        ),
    ] = None,
    line: Annotated[
        str | None,
        typer.Option(
            metavar="N",
            help="Complete at this line, from 1, and fill in where text follows. (default the end)",
        ),
    ] = None,
    column: Annotated[
        str | None,
        typer.Option(
            metavar="N",
            help="With --line: before this character of it, from 1. (default the line's end)",
        ),
    ] = None,
    marker: Annotated[
        str | None,
        typer.Option(
            metavar="TEXT",
            help="Complete in the place of this text. (default <FILL> where the file has it)",
        ),
    ] = None,
    in_place: Annotated[
        bool,
        typer.Option(
            "-i", "--in-place", help="Put the completion into the file; FILE~ keeps the old one."
        ),
    ] = False,
    diff: Annotated[
        bool, typer.Option("--diff", help="Show the change as a unified diff.")
    ] = False,
    until: Annotated[
        str,
        typer.Option(
            metavar="END",
            autocompletion=completion.words(*UNTILS),
            help="Where the completion ends: function (or class), block (the innermost), line, or "
            "eof (where the model ends). (default function)",
            show_default=False,
        ),
    ] = "function",
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
    echo: Annotated[
        bool,
        typer.Option(
            "--echo",
            help="Write the whole text with the completion.",
            rich_help_panel=flags.INPUT_PANEL,
        ),
    ] = False,
    language: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            autocompletion=completion.words(*_LANGUAGES),
            help="The language, by pygments' name. (default by the file's name; of standard input "
            "by its looks)",
            show_default=False,
            rich_help_panel=flags.INPUT_PANEL,
        ),
    ] = None,
    backup: Annotated[
        bool,
        typer.Option(
            "--backup/--no-backup",
            help="With --in-place: keep the file as it was in FILE~, or not.",
            show_default=False,
            rich_help_panel=flags.INPUT_PANEL,
        ),
    ] = True,
) -> None:
    """Complete a source file. What is generated is never run.

    hfgen code -m Qwen/Qwen2.5-Coder-0.5B a.py
    hfgen code a.py --line 12 --diff
    cat a.c | hfgen code --language c --num-return-sequences 3
    """
    is_file = file not in (None, "-")
    output = CodeOutput(
        format,
        is_diff=diff,
        is_in_place=in_place,
        has_echo=echo,
        has_backup=backup,
        has_logprobs=options.logprobs is not None,
    )
    output.check(is_file=is_file)
    end = _until(until)
    console.require_output("give it a reader")
    with flags.in_words_of_flags({}):
        gap = _gap(file if is_file else None, line, column, marker)
        named = _language(language, gap, is_file=is_file)
    if in_place:
        check_in_place(gap.source, has_backup=backup)
    is_drawn = options.seed is None
    job = Job(console, gap, named, _with_seed(options), end, output, is_seed_drawn=is_drawn)
    with noticing_unread_input(
        console, is_read=not is_file, instead="write - in place of the file to complete it"
    ):
        job.run(which)


def _until(text: str) -> Until:
    for end in UNTILS:
        if text == end:
            return end
    raise UsageError(
        f"--until {flags.shortened(text)}: must be {' or '.join(UNTILS)}",
        hint="leave --until out for function",
    )


def _gap(file: str | None, line: str | None, column: str | None, marker: str | None) -> Gap:
    if marker is not None and line is not None:
        raise OptionConflict("the place is given twice: --line and --marker", hint="drop one")
    row, place = (
        None if text is None else flags.whole_number(flag, text, low=1, high=_MOST)
        for flag, text in (("--line", line), ("--column", column))
    )
    source = _from_standard_input() if file is None else read_source(file)
    return gap_of(source, line=row, column=place, marker=marker)


def _from_standard_input() -> Source:
    if is_interactive_input():
        raise UsageError("no source file", hint="hfgen code FILE, or pipe a text into it")
    data = standard_input().read()
    if not data:
        raise UsageError("standard input is empty", hint="hfgen code FILE completes a file")
    return Source.of(_STANDARD_INPUT, data)


def _language(name: str | None, gap: Gap, *, is_file: bool) -> Language:
    if name is not None:
        return language_named(name)
    if is_file:
        return language_of_file(gap.source.name, gap.source.text[:10_000])
    return language_of_text(gap.source.text[:10_000])


def _with_seed(options: GenerationOptions) -> GenerationOptions:
    """Draw a seed where none is given: 32 bits, short enough to type."""
    if options.seed is not None:
        return options
    return dataclasses.replace(options, seed=secrets.randbits(32))
