"""`hfgen explain tokens|attention|lens`: what the model does with a text."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from hfgen.cli.explaining import text as shown
from hfgen.cli.explaining.job import (
    AsJson,
    Explaining,
    File,
    Heads,
    Layers,
    Output,
    Overwrite,
    Text,
    numbers,
    read_text,
)
from hfgen.cli.flags import common as flags
from hfgen.cli.flags.shared import LoadingToExplain
from hfgen.cli.program.console import Console
from hfgen.errors import UsageError


def tokens(
    console: Console,
    which: LoadingToExplain,
    text: Text = None,
    file: File = None,
    top: Annotated[
        str,
        typer.Option(
            metavar="N",
            help="How many alternatives to show. (1 to 100; default 3)",
            show_default=False,
        ),
    ] = "3",
    bos: Annotated[
        bool,
        typer.Option(
            "--bos/--no-bos",
            help="Begin with the token that begins texts, or leave the first token out. "
            "(default --bos)",
            show_default=False,
        ),
    ] = True,
    output: Output = None,
    overwrite: Overwrite = False,
    as_json: AsJson = False,
) -> None:
    """How likely each token was, what else was expected, and from which layer on.

    hfgen explain tokens "The king lived in a castle"
    """
    job = Explaining(console, which, output, overwrite, as_json)
    count = flags.whole_number("--top", top, low=1, high=100)
    prompt, source = read_text(text, file)

    def compute(lm: Any) -> Any:
        from hfgen import explain

        return explain.tokens(lm, prompt, top=count, bos=bos)

    job.run("tokens", compute, shown.tokens_text, source)


def attention(
    console: Console,
    which: LoadingToExplain,
    text: Text = None,
    file: File = None,
    layers: Layers = None,
    heads: Heads = None,
    verify: Annotated[
        bool,
        typer.Option(
            "--verify",
            help="Recompute softmax(QK^T/sqrt(d))V from each layer's queries, keys and values, "
            "and compare.",
        ),
    ] = False,
    output: Output = None,
    overwrite: Overwrite = False,
    as_json: AsJson = False,
) -> None:
    """Where each head looks. Attention shows what is read, not why an answer is given.

    hfgen explain attention "The king lived in a castle" -o attention.html
    hfgen explain attention "The king lived in a castle" --layers 2 --heads 0-3
    hfgen explain attention "The king lived in a castle" --verify
    """
    job = Explaining(console, which, output, overwrite, as_json)
    of_layers, of_each = numbers("--layers", layers), numbers("--heads", heads)
    prompt, source = read_text(text, file)
    if verify and output is not None:
        raise UsageError("--verify compares and draws nothing", hint="drop --verify or --output")

    def compute(lm: Any) -> Any:
        from hfgen import explain

        if verify:
            return explain.verify(lm, prompt)
        return explain.attention(lm, prompt, layers=of_layers, heads=of_each)

    if verify:
        job.run("verify", compute, shown.verify_text, source)
    else:
        job.run("attention", compute, shown.attention_text, source)


def lens(
    console: Console,
    which: LoadingToExplain,
    text: Text = None,
    file: File = None,
    layers: Layers = None,
    top: Annotated[
        str,
        typer.Option(
            metavar="N",
            help="How many tokens of each place. (1 to 100; default 3)",
            show_default=False,
        ),
    ] = "3",
    output: Output = None,
    overwrite: Overwrite = False,
    as_json: AsJson = False,
) -> None:
    """What the model would say if it stopped after a layer (the logit lens).

    hfgen explain lens "The king lived in a"
    """
    job = Explaining(console, which, output, overwrite, as_json)
    of_layers = numbers("--layers", layers)
    count = flags.whole_number("--top", top, low=1, high=100)
    prompt, source = read_text(text, file)

    def compute(lm: Any) -> Any:
        from hfgen import explain

        return explain.lens(lm, prompt, top=count, layers=of_layers)

    job.run("lens", compute, shown.lens_text, source)
