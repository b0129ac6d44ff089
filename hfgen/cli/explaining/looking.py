"""`hfgen explain tokens|attention|lens`: what the model does with a text."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from hfgen.cli.explaining import text as shown
from hfgen.cli.explaining.job import (
    AsJson,
    File,
    Heads,
    Layers,
    Output,
    Overwrite,
    Text,
    explaining,
    numbers,
    read_text,
)
from hfgen.cli.flags import common as flags
from hfgen.errors import UsageError


def tokens(
    ctx: typer.Context,
    text: Text = None,
    model: flags.Model = None,
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
    device: flags.Device = "auto",
    offline: flags.Offline = False,
    trust_remote_code: flags.TrustRemoteCode = False,
    quiet: flags.Quiet = False,
    verbose: flags.Verbose = False,
    debug: flags.Debug = False,
) -> None:
    """How likely each token was, what else was expected, and from which layer on.

    hfgen explain tokens "The king lived in a castle"
    """
    job = explaining(
        ctx, (quiet, verbose, debug), model, device, offline, trust_remote_code, output,
        overwrite, as_json,
    )  # fmt: skip
    count = flags.whole_number("--top", top, low=1, high=100)
    prompt, source = read_text(text, file)

    def compute(lm: Any) -> Any:
        from hfgen import explain

        return explain.tokens(lm, prompt, top=count, bos=bos)

    job.run("tokens", compute, shown.tokens_text, source)


def attention(
    ctx: typer.Context,
    text: Text = None,
    model: flags.Model = None,
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
    device: flags.Device = "auto",
    offline: flags.Offline = False,
    trust_remote_code: flags.TrustRemoteCode = False,
    quiet: flags.Quiet = False,
    verbose: flags.Verbose = False,
    debug: flags.Debug = False,
) -> None:
    """Where each head looks. Attention shows what is read, not why an answer is given.

    hfgen explain attention "The king lived in a castle" -o attention.html
    hfgen explain attention "The king lived in a castle" --layers 2 --heads 0-3
    hfgen explain attention "The king lived in a castle" --verify
    """
    job = explaining(
        ctx, (quiet, verbose, debug), model, device, offline, trust_remote_code, output,
        overwrite, as_json,
    )  # fmt: skip
    which, of_each = numbers("--layers", layers), numbers("--heads", heads)
    prompt, source = read_text(text, file)
    if verify and output is not None:
        raise UsageError("--verify compares and draws nothing", hint="drop --verify or --output")

    def compute(lm: Any) -> Any:
        from hfgen import explain

        if verify:
            return explain.verify(lm, prompt)
        return explain.attention(lm, prompt, layers=which, heads=of_each)

    if verify:
        job.run("verify", compute, shown.verify_text, source)
    else:
        job.run("attention", compute, shown.attention_text, source)


def lens(
    ctx: typer.Context,
    text: Text = None,
    model: flags.Model = None,
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
    device: flags.Device = "auto",
    offline: flags.Offline = False,
    trust_remote_code: flags.TrustRemoteCode = False,
    quiet: flags.Quiet = False,
    verbose: flags.Verbose = False,
    debug: flags.Debug = False,
) -> None:
    """What the model would say if it stopped after a layer (the logit lens).

    hfgen explain lens "The king lived in a"
    """
    job = explaining(
        ctx, (quiet, verbose, debug), model, device, offline, trust_remote_code, output,
        overwrite, as_json,
    )  # fmt: skip
    which = numbers("--layers", layers)
    count = flags.whole_number("--top", top, low=1, high=100)
    prompt, source = read_text(text, file)

    def compute(lm: Any) -> Any:
        from hfgen import explain

        return explain.lens(lm, prompt, top=count, layers=which)

    job.run("lens", compute, shown.lens_text, source)
