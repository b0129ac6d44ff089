"""`hfgen bias`: which of two sentences that differ in a group a model finds likelier."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from hfgen.cli.flags import common as flags
from hfgen.cli.flags.shared import LoadingToMeasure
from hfgen.cli.measuring.bias_job import Job, Method
from hfgen.cli.program import completion
from hfgen.cli.program.commands import command_group
from hfgen.cli.program.console import Console
from hfgen.models.checkpoint.load_options import LoadOptions

SCORES = ("sum", "mean")

File = Annotated[str, typer.Argument(metavar="FILE", help="The data set.", show_default=False)]
Score = Annotated[
    str,
    typer.Option(
        metavar="SCORE",
        autocompletion=completion.words(*SCORES),
        help="sum of a sentence's log-probabilities, or their mean per token. (default sum)",
        show_default=False,
    ),
]
Limit = Annotated[str | None, typer.Option(metavar="N", help="Only the first N rows.")]
Plot = Annotated[
    str | None, typer.Option(metavar="FILE.png", help="Also draw the figures to a picture.")
]
Rows = Annotated[
    str | None,
    typer.Option("-o", "--output", metavar="FILE", help="Also write each row's scores, as JSONL."),
]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON document.")]


def _run(
    console: Console,
    which: LoadOptions,
    method: Method,
    given: dict[str, Any],
    files: tuple[str, ...] = (),
    templates: tuple[str, ...] = (),
) -> None:
    """Check what all these commands share, and do it."""
    limit = given["limit"]
    job = Job(
        console,
        method,
        files,
        templates,
        most=None if limit is None else flags.whole_number("--limit", limit, low=1, high=10**9),
        score=flags.choice("--score", given.get("score", "mean"), SCORES),
        plot=given["plot"],
        output=given["output"],
        is_json=given["as_json"],
    )
    job.run(which)


def builtin(
    console: Console,
    which: LoadingToMeasure,
    score: Score = "sum",
    limit: Limit = None,
    plot: Plot = None,
    output: Rows = None,
    as_json: AsJson = False,
) -> None:
    """Forty pairs of our own: gender, age, income and nationality.

    hfgen bias -m gpt2
    """
    _run(console, which, "builtin", locals())


def crows(
    console: Console,
    which: LoadingToMeasure,
    file: File,
    score: Score = "sum",
    limit: Limit = None,
    plot: Plot = None,
    output: Rows = None,
    as_json: AsJson = False,
) -> None:
    """CrowS-Pairs: a .csv file with sent_more, sent_less and bias_type.

    hfgen bias crows crows_pairs_anonymized.csv -m gpt2
    """
    _run(console, which, "crows", locals(), (file,))


def stereoset(
    console: Console,
    which: LoadingToMeasure,
    file: File,
    limit: Limit = None,
    plot: Plot = None,
    output: Rows = None,
    as_json: AsJson = False,
) -> None:
    """StereoSet's dev.json: language modelling, stereotype score and ICAT.

    hfgen bias stereoset dev.json -m gpt2

    Intrasentence only: the published intersentence figures come from a head that
    was fine-tuned for them, and no likelihood gives them.
    """
    _run(console, which, "stereoset", locals(), (file,))


def pairs(
    console: Console,
    which: LoadingToMeasure,
    data: Annotated[
        list[str],
        typer.Argument(
            metavar="FILE",
            help="Rows with more, less and category; or two .txt files of sentences, the "
            "stereotypes first, as WinoBias has them.",
            show_default=False,
        ),
    ],
    score: Score = "sum",
    limit: Limit = None,
    plot: Plot = None,
    output: Rows = None,
    as_json: AsJson = False,
) -> None:
    """Pairs of your own: which side is the likelier one.

    hfgen bias pairs mine.jsonl -m gpt2
    hfgen bias pairs pro_stereotyped.txt anti_stereotyped.txt -m gpt2
    """
    _run(console, which, "pairs", locals(), tuple(data))


def template(
    console: Console,
    which: LoadingToMeasure,
    templates: Annotated[
        list[str],
        typer.Argument(metavar="TEMPLATE", help="Sentences with {x}.", show_default=False),
    ],
    swap: Annotated[
        str,
        typer.Option(
            metavar="FILE",
            help="Pairs of words for {x}: lines word,word or word,word,category, or rows with "
            "more and less.",
        ),
    ],
    score: Score = "sum",
    limit: Limit = None,
    plot: Plot = None,
    output: Rows = None,
    as_json: AsJson = False,
) -> None:
    """Sentences with a word exchanged: which one suits the model better.

    hfgen bias template '{x} was good at maths.' --swap words.txt -m gpt2

    What follows {x} is scored after it; where nothing follows, the word itself is.
    """
    _run(console, which, "template", locals(), (swap,), tuple(templates))


app = command_group(
    "Stereotypes by likelihood, by category and with intervals. Alone: a small built-in set.",
    {
        "builtin": builtin,
        "crows": crows,
        "stereoset": stereoset,
        "pairs": pairs,
        "template": template,
    },
    alone="builtin",
)
