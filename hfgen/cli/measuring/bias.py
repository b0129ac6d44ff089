"""`hfgen bias`: which of two sentences that differ in a group a model finds likelier."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from hfgen.cli.flags import common as flags
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
    ctx: typer.Context,
    method: Method,
    given: dict[str, Any],
    files: tuple[str, ...] = (),
    templates: tuple[str, ...] = (),
) -> None:
    """Check what all these commands share, and do it."""
    console: Console = ctx.obj
    console.configure(quiet=given["quiet"], verbose=given["verbose"], debug=given["debug"])
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
    which = LoadOptions(
        name=given["model"],
        device=given["device"],
        dtype=given["dtype"],
        offline=given["offline"],
        trust_remote_code=given["trust_remote_code"],
        quantize=given["quantize"],
        threads=given["threads"],
        stock=False,
        progress=console.status,
        notify=console.notice,
    )
    flags.check_model(which)
    job.run(which)


def builtin(
    ctx: typer.Context,
    model: flags.Model = None,
    score: Score = "sum",
    limit: Limit = None,
    plot: Plot = None,
    output: Rows = None,
    as_json: AsJson = False,
    device: flags.Device = "auto",
    dtype: flags.Dtype = "auto",
    quantize: flags.Quantize = None,
    threads: flags.Threads = None,
    offline: flags.Offline = False,
    trust_remote_code: flags.TrustRemoteCode = False,
    quiet: flags.Quiet = False,
    verbose: flags.Verbose = False,
    debug: flags.Debug = False,
) -> None:
    """Forty pairs of our own: gender, age, income and nationality.

    hfgen bias -m gpt2
    """
    _run(ctx, "builtin", locals())


def crows(
    ctx: typer.Context,
    file: File,
    model: flags.Model = None,
    score: Score = "sum",
    limit: Limit = None,
    plot: Plot = None,
    output: Rows = None,
    as_json: AsJson = False,
    device: flags.Device = "auto",
    dtype: flags.Dtype = "auto",
    quantize: flags.Quantize = None,
    threads: flags.Threads = None,
    offline: flags.Offline = False,
    trust_remote_code: flags.TrustRemoteCode = False,
    quiet: flags.Quiet = False,
    verbose: flags.Verbose = False,
    debug: flags.Debug = False,
) -> None:
    """CrowS-Pairs: a .csv file with sent_more, sent_less and bias_type.

    hfgen bias crows crows_pairs_anonymized.csv -m gpt2
    """
    _run(ctx, "crows", locals(), (file,))


def stereoset(
    ctx: typer.Context,
    file: File,
    model: flags.Model = None,
    limit: Limit = None,
    plot: Plot = None,
    output: Rows = None,
    as_json: AsJson = False,
    device: flags.Device = "auto",
    dtype: flags.Dtype = "auto",
    quantize: flags.Quantize = None,
    threads: flags.Threads = None,
    offline: flags.Offline = False,
    trust_remote_code: flags.TrustRemoteCode = False,
    quiet: flags.Quiet = False,
    verbose: flags.Verbose = False,
    debug: flags.Debug = False,
) -> None:
    """StereoSet's dev.json: language modelling, stereotype score and ICAT.

    hfgen bias stereoset dev.json -m gpt2

    Intrasentence only: the published intersentence figures come from a head that
    was fine-tuned for them, and no likelihood gives them.
    """
    _run(ctx, "stereoset", locals(), (file,))


def pairs(
    ctx: typer.Context,
    data: Annotated[
        list[str],
        typer.Argument(
            metavar="FILE",
            help="Rows with more, less and category; or two .txt files of sentences, the "
            "stereotypes first, as WinoBias has them.",
            show_default=False,
        ),
    ],
    model: flags.Model = None,
    score: Score = "sum",
    limit: Limit = None,
    plot: Plot = None,
    output: Rows = None,
    as_json: AsJson = False,
    device: flags.Device = "auto",
    dtype: flags.Dtype = "auto",
    quantize: flags.Quantize = None,
    threads: flags.Threads = None,
    offline: flags.Offline = False,
    trust_remote_code: flags.TrustRemoteCode = False,
    quiet: flags.Quiet = False,
    verbose: flags.Verbose = False,
    debug: flags.Debug = False,
) -> None:
    """Pairs of your own: which side is the likelier one.

    hfgen bias pairs mine.jsonl -m gpt2
    hfgen bias pairs pro_stereotyped.txt anti_stereotyped.txt -m gpt2
    """
    _run(ctx, "pairs", locals(), tuple(data))


def template(
    ctx: typer.Context,
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
    model: flags.Model = None,
    score: Score = "sum",
    limit: Limit = None,
    plot: Plot = None,
    output: Rows = None,
    as_json: AsJson = False,
    device: flags.Device = "auto",
    dtype: flags.Dtype = "auto",
    quantize: flags.Quantize = None,
    threads: flags.Threads = None,
    offline: flags.Offline = False,
    trust_remote_code: flags.TrustRemoteCode = False,
    quiet: flags.Quiet = False,
    verbose: flags.Verbose = False,
    debug: flags.Debug = False,
) -> None:
    """Sentences with a word exchanged: which one suits the model better.

    hfgen bias template '{x} was good at maths.' --swap words.txt -m gpt2

    What follows {x} is scored after it; where nothing follows, the word itself is.
    """
    _run(ctx, "template", locals(), (swap,), tuple(templates))


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
