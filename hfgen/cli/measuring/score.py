"""`hfgen score`: log-probabilities of given text."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Annotated

import typer

from hfgen.cli.flags import common as flags
from hfgen.cli.flags.common import INPUT_PANEL
from hfgen.cli.flags.shared import LoadingToMeasure
from hfgen.cli.io.inputs import InputChoice, data_file, each_text
from hfgen.cli.io.unread import noticing_unread_input
from hfgen.cli.measuring.score_text import shown
from hfgen.cli.measuring.text_rows import rows_to_score
from hfgen.cli.program import completion
from hfgen.cli.program.console import Console, standard_input
from hfgen.cli.program.loading import loaded
from hfgen.errors import OptionConflict, UsageError
from hfgen.scoring.asked import BYS, By, ScoredText

FORMATS = ("text", "json", "jsonl")


def score(
    console: Console,
    which: LoadingToMeasure,
    text: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="TEXT",
            help="Texts to score, each on its own; - is standard input. Without any, standard "
            "input is read.",
            show_default=False,
        ),
    ] = None,
    file: Annotated[
        str | None,
        typer.Option(
            "-f",
            "--file",
            metavar="FILE",
            help="Score a text file, or the rows of a .jsonl, .csv or .parquet file: text, or "
            "context and continuation.",
        ),
    ] = None,
    by: Annotated[
        str,
        typer.Option(
            metavar="UNIT",
            autocompletion=completion.words(*BYS),
            help="text, token, word or line: what to report the scores of. (default text)",
            show_default=False,
        ),
    ] = "text",
    format: Annotated[
        str,
        typer.Option(
            metavar="FORMAT",
            autocompletion=completion.words(*FORMATS),
            help="text, json (one document) or jsonl (a record on each line). (default text)",
            show_default=False,
        ),
    ] = "text",
    context: Annotated[
        str,
        typer.Option(metavar="TEXT", help="What comes before each text, and is not scored."),
    ] = "",
    bos: Annotated[
        bool | None,
        typer.Option(
            "--bos/--no-bos",
            help="Score the first token after the token that begins texts, or leave it out. "
            "(default --bos where the model has one)",
            show_default=False,
        ),
    ] = None,
    stride: Annotated[
        str | None,
        typer.Option(
            metavar="N",
            help="How far windows advance over a text longer than the context window; smaller "
            "gives tokens more context. (default the window)",
        ),
    ] = None,
    lines: Annotated[
        bool,
        typer.Option("--lines", help="Each line is a text.", rich_help_panel=INPUT_PANEL),
    ] = False,
    jsonl: Annotated[
        bool,
        typer.Option(
            "--jsonl", help="Standard input holds JSON rows.", rich_help_panel=INPUT_PANEL
        ),
    ] = False,
) -> None:
    """Score given text: how likely it is under a model.

    hfgen score "The cat sat on the mat." "The mat sat on the cat."
    hfgen score --by token "The cat sat on the mat."
    hfgen score -f rows.jsonl --format jsonl
    """
    unit = _by(by)
    if format not in FORMATS:
        raise UsageError(
            f"--format {flags.shortened(format)}: must be text, json or jsonl",
            hint="leave it out for text",
        )
    step = None if stride is None else flags.whole_number("--stride", stride, low=1, high=10**7)
    console.require_output()
    source = InputChoice(text or (), file, has_rows=lines, command="score")
    texts = _texts(source, context, has_rows=jsonl)
    unread = noticing_unread_input(
        console,
        is_read=source.reads_standard_input,
        instead=source.how_to_read_standard_input,
    )
    with unread, console.isolated(), flags.in_words_of_flags({}):
        from hfgen.scoring.texts import TextScorer

        lm = loaded(console, which)
        scorer = TextScorer(lm.scorer(), lm.tokenizer, bos=bos)

        def report(done: int, total: int) -> None:
            console.status(f"scoring: {done:,} of {total:,} tokens")

        found = scorer.scores(texts, by=unit, stride=step, progress=report)
        if format == "json":
            rows = [one.to_dict(unit) for one in found]
            console.write(json.dumps(rows, ensure_ascii=False, indent=2) + "\n")
            return
        for one in found:
            if format == "jsonl":
                console.write(json.dumps(one.to_dict(unit), ensure_ascii=False) + "\n")
                continue
            for piece, style in shown(one, unit, has_colours=console.has_colours):
                console.write(piece, style=style)


def _by(text: str) -> By:
    for unit in BYS:
        if text == unit:
            return unit
    raise UsageError(
        f"--by {flags.shortened(text)}: must be text, token, word or line",
        hint="leave it out for the score of each text",
    )


def _texts(source: InputChoice, context: str, *, has_rows: bool) -> Iterator[ScoredText]:
    """The texts that the command line names; what can be refused is refused at once."""
    path = data_file(source, has_rows=has_rows)
    if path is None:
        return (ScoredText(text, context) for text in each_text(source))
    if context:
        raise OptionConflict(
            "--context is for texts; rows bring their own",
            hint='write {"context": …, "continuation": …}',
        )
    return rows_to_score([path], stdin=standard_input())
