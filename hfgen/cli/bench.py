"""`hfgen bench`: how fast a model runs here, against what the machine could do."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer

from hfgen.cli import options as flags
from hfgen.cli.console import Console
from hfgen.cli.options import ModelChoice
from hfgen.errors import OptionConflict


def bench(
    ctx: typer.Context,
    model: flags.Model = None,
    batch_size: Annotated[
        str, typer.Option(metavar="N,…", help="Texts at once; several sizes in turn.")
    ] = "1,16,64",
    prompt_tokens: Annotated[str, typer.Option(metavar="N", help="Length of each prompt.")] = "16",
    new_tokens: Annotated[
        str, typer.Option(metavar="N", help="New tokens of each text, 2 or more.")
    ] = "64",
    repetitions: Annotated[
        str, typer.Option(metavar="N", help="Runs of each batch size, after one to warm up.")
    ] = "5",
    against: Annotated[
        str | None,
        typer.Option(metavar="transformers", help="Alternate with a plain script."),
    ] = None,
    shape: Annotated[
        str | None,
        typer.Option(metavar="SIZE", help="A GPT-2 of random weights instead: 124m, 355m, …"),
    ] = None,
    compare: Annotated[
        str | None, typer.Option(metavar="FILE", help="Compare with an earlier --json.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document.")] = False,
    device: flags.Device = "auto",
    dtype: flags.Dtype = "auto",
    offline: flags.Offline = False,
    quiet: flags.Quiet = False,
    verbose: flags.Verbose = False,
    debug: flags.Debug = False,
) -> None:
    """Measure how fast a model runs here.

    hfgen bench -m storyteller --batch-size 1,16
    hfgen bench --shape 124m --against transformers --json
    """
    from hfgen.bench.comparison import compare as compared
    from hfgen.bench.comparison import read_result
    from hfgen.bench.options import BenchOptions, parse_batch_sizes

    console: Console = ctx.obj
    console.configure(quiet=quiet, verbose=verbose, debug=debug)
    is_named = ctx.get_parameter_source("model").name == "COMMANDLINE"  # type: ignore[union-attr]
    if shape is not None and is_named:
        raise OptionConflict("--shape takes the place of --model", hint="drop one of the two")
    with flags.in_words_of_flags({}, command="bench"):
        options = BenchOptions(
            parse_batch_sizes(batch_size),
            flags.whole_number("--prompt-tokens", prompt_tokens, low=1, high=100_000),
            flags.whole_number("--new-tokens", new_tokens, low=2, high=100_000),
            flags.whole_number("--repetitions", repetitions, low=1, high=1000),
            shape,
            against,
        )
    which = ModelChoice(model, device, dtype, offline)
    which.check()
    old = None if compare is None else read_result(compare)
    found = _measured(console, options, which)
    if old is not None:
        found["comparison"] = compared(old, found)
    if as_json:
        console.write(json.dumps(found, indent=2) + "\n")
    else:
        from hfgen.cli.bench_tables import as_text

        console.write(as_text(found))


def _measured(console: Console, options: Any, which: ModelChoice) -> dict[str, Any]:
    from dataclasses import replace

    from hfgen.bench.measurement import measure

    def load(folder: str | None) -> Any:
        chosen = which if folder is None else replace(which, name=folder)
        return chosen.load(progress=console.status, notify=console.notice)

    with console.isolated():
        return measure(options, load, console.status)
