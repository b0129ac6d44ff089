"""`hfgen explain attribute|positions|heads`: why an answer, where a token stands, what heads do."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from hfgen.cli.explaining import text as shown
from hfgen.cli.explaining.job import AsJson, Explaining, File, Output, Overwrite, Text, read_text
from hfgen.cli.flags import common as flags
from hfgen.cli.flags.shared import LoadingToExplain
from hfgen.cli.program.console import Console
from hfgen.errors import UsageError


def attribute(
    console: Console,
    which: LoadingToExplain,
    text: Text = None,
    file: File = None,
    target: Annotated[
        str | None,
        typer.Option(
            metavar="TEXT",
            help="What is explained: this continuation, its leading blank included. "
            "(default the most likely next token)",
            show_default=False,
        ),
    ] = None,
    instead: Annotated[
        str | None,
        typer.Option(metavar="TEXT", help="Why the target rather than this continuation."),
    ] = None,
    method: Annotated[
        str,
        typer.Option(
            metavar="METHOD",
            help="integrated-gradients, gradient-x-input or occlusion. "
            "(default integrated-gradients)",
            show_default=False,
        ),
    ] = "integrated-gradients",
    baseline: Annotated[
        str,
        typer.Option(
            metavar="KIND",
            help="What stands for no token: zero, eos or mean embedding. (default zero)",
            show_default=False,
        ),
    ] = "zero",
    output: Output = None,
    overwrite: Overwrite = False,
    as_json: AsJson = False,
) -> None:
    """Which tokens drove what comes next, or why one answer rather than another.

    hfgen explain attribute "The king lived in a" --target " castle" --instead " house"
    """
    job = Explaining(console, which, output, overwrite, as_json)
    for flag, value, known in (
        ("--method", method, ("integrated-gradients", "gradient-x-input", "occlusion")),
        ("--baseline", baseline, ("zero", "eos", "mean")),
    ):
        if value not in known:
            raise UsageError(
                f"{flag} {flags.shortened(value)}: must be {', '.join(known)}",
                hint=f"leave {flag} out for {known[0]}",
            )
    prompt, source = read_text(text, file)

    def compute(lm: Any) -> Any:
        from hfgen import explain

        return explain.attribute(
            lm,
            prompt,
            target=target,
            instead=instead,
            method=method,  # type: ignore[arg-type]
            baseline=baseline,  # type: ignore[arg-type]
        )

    job.run("attribute", compute, shown.attribute_text, source)


def positions(
    console: Console,
    which: LoadingToExplain,
    length: Annotated[
        str | None, typer.Option(metavar="N", help="The first N positions. (default all)")
    ] = None,
    output: Output = None,
    overwrite: Overwrite = False,
    as_json: AsJson = False,
) -> None:
    """How the model knows where a token stands, beside the published sinusoidal encoding.

    hfgen explain positions -m gpt2 -o positions.png
    """
    job = Explaining(console, which, output, overwrite, as_json)
    count = None if length is None else flags.whole_number("--length", length, low=2, high=10**6)

    def compute(lm: Any) -> Any:
        from hfgen import explain

        return explain.positions(lm, length=count)

    job.run("positions", compute, shown.positions_text)


def heads(
    console: Console,
    which: LoadingToExplain,
    no_first: Annotated[
        bool,
        typer.Option(
            "--no-first", help="Leave the weight on the first token, the usual sink, out."
        ),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """What each head is known to do: previous token, duplicate token, induction.

    hfgen explain heads -m gpt2

    Measured on random tokens that are written twice.
    """
    job = Explaining(console, which, is_json=as_json)

    def compute(lm: Any) -> Any:
        from hfgen import explain

        return explain.head_scores(lm, no_first=no_first)

    job.run("heads", compute, shown.heads_text)
