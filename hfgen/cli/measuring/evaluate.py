"""`hfgen evaluate`: how good a model is on rows with known answers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Annotated

import typer

from hfgen.cli.flags import common as flags
from hfgen.cli.flags.common import INPUT_PANEL
from hfgen.cli.flags.shared import LoadingToMeasure, LoadingTwo
from hfgen.cli.io.unread import noticing_unread_input
from hfgen.cli.measuring.evaluation_job import Job
from hfgen.cli.program.commands import command_group
from hfgen.cli.program.console import Console
from hfgen.errors import UsageError

Data = Annotated[
    list[str],
    typer.Argument(
        metavar="FILE",
        help="Rows to evaluate on: .jsonl .json .csv .tsv .parquet .txt, also with .gz; - is "
        "standard input.",
        show_default=False,
    ),
]
Limit = Annotated[str | None, typer.Option(metavar="N", help="Evaluate only the first N rows.")]
Stride = Annotated[
    str | None,
    typer.Option(
        metavar="N",
        help="How far windows advance over a text longer than the context window; smaller gives "
        "tokens more context. (default the window)",
    ),
]
Bos = Annotated[
    bool | None,
    typer.Option(
        "--bos/--no-bos",
        help="Score the first token after the token that begins texts, or leave it out. "
        "(default --bos where the model has one)",
        show_default=False,
    ),
]
Rows = Annotated[
    str | None,
    typer.Option(
        "-o",
        "--output",
        metavar="FILE",
        help="Also write what was found for each row, as JSON lines.",
        rich_help_panel=INPUT_PANEL,
    ),
]
Resume = Annotated[
    bool,
    typer.Option(
        "--resume", help="Go on with the rows that --output lacks.", rich_help_panel=INPUT_PANEL
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON document.")]


_HOW_TO_READ = "write - among the files for its rows"
_PERPLEXITY = """Perplexity of texts: per token and word, and bits per byte.

    hfgen evaluate perplexity book.txt -m gpt2 --stride 512

    A text file is one text; rows of other files have a `text`.
    """
_CLOZE = """How often a model finds the last word of a text, or a target.

    hfgen evaluate cloze lambada.jsonl -m gpt2

    Rows have a `text`, whose last word is asked for, or `context` and `target`.
    """
_CHOICE = """How often a model finds the right answer the most likely one.

    hfgen evaluate choice arc_easy.jsonl -m gpt2 --limit 500

    Rows have `query`, `choices` and `gold` (a number from 0), or
    `context_options`, `continuation` and `gold`.
    """


def _number(flag: str, text: str | None) -> int | None:
    return None if text is None else flags.whole_number(flag, text, low=1, high=10**9)


def _task_command(task: str, doc: str) -> Callable[..., None]:
    """The command of a task; all of them take the same options."""

    def evaluate(
        console: Console,
        which: LoadingToMeasure,
        data: Data,
        limit: Limit = None,
        stride: Stride = None,
        bos: Bos = None,
        output: Rows = None,
        resume: Resume = False,
        as_json: AsJson = False,
    ) -> None:
        job = Job(
            console,
            data,
            _number("--limit", limit),
            _number("--stride", stride),
            bos,
            output,
            is_resumed=resume,
            is_json=as_json,
        )
        if resume and output is None:
            raise UsageError("--resume continues --output", hint="add -o FILE")
        with noticing_unread_input(console, is_read="-" in data, instead=_HOW_TO_READ):
            job.evaluate(which, task)

    evaluate.__doc__ = doc
    return evaluate


def compare(
    console: Console,
    which: LoadingTwo,
    data: Data,
    models: Annotated[
        list[str],
        typer.Option(
            "-m", "--model", metavar="NAME", help="The two models, or one with --quantize."
        ),
    ],
    limit: Limit = None,
    stride: Stride = None,
    bos: Bos = None,
    as_json: AsJson = False,
    quantize: Annotated[
        str | None,
        typer.Option(
            metavar="int8",
            help="Let the second model compute in 8-bit integers. (CPU only)",
            rich_help_panel=flags.MODEL_PANEL,
        ),
    ] = None,
) -> None:
    """Compare two models on the same rows, of any of the other kinds.

    hfgen evaluate compare rows.jsonl -m gpt2 -m ./mine
    hfgen evaluate compare text.txt -m gpt2 --quantize int8

    Paired: McNemar's exact test, bootstrap intervals over rows, and where both
    have one vocabulary, how far their distributions are apart.
    """
    most, step = _number("--limit", limit), _number("--stride", stride)
    job = Job(console, data, most, step, bos, is_json=as_json)
    if len(models) > 2 or (len(models) == 1 and quantize is None):
        raise UsageError(f"compare takes two models, not {len(models)}", hint="-m ONE -m OTHER")
    which = replace(which, name=models[0])
    other = replace(which, name=models[-1], quantize=quantize)
    flags.check_model(other)
    with noticing_unread_input(console, is_read="-" in data, instead=_HOW_TO_READ):
        job.compare(which, other)


app = command_group(
    "How good a model is on rows with known answers.",
    {
        "perplexity": _task_command("perplexity", _PERPLEXITY),
        "cloze": _task_command("cloze", _CLOZE),
        "choice": _task_command("choice", _CHOICE),
        "compare": compare,
    },
)
