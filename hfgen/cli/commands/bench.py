"""`hfgen bench`: how fast a model runs here, against what the machine could do."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from typing import Annotated, Any

import typer

from hfgen.cli.flags import common as flags
from hfgen.cli.flags.stored import is_typed
from hfgen.cli.program.console import Console
from hfgen.errors import OptionConflict
from hfgen.models.checkpoint.load_options import LoadOptions


def _option(metavar: str, help: str) -> Any:
    return typer.Option(metavar=metavar, help=help, show_default=False)


def bench(
    ctx: typer.Context,
    console: Console,
    name: flags.ModelArgument = None,
    model: flags.Model = None,
    batch_size: Annotated[
        str, _option("N,…", "Texts at once; several sizes in turn. (default 1,16,64)")
    ] = "1,16,64",
    prompt_tokens: Annotated[
        str, _option("N", "Length of each prompt. (1 or more; default 16)")
    ] = "16",
    new_tokens: Annotated[
        str, _option("N", "New tokens of each text. (2 or more; default 64)")
    ] = "64",
    repetitions: Annotated[
        str,
        _option("N", "Runs of each batch size, after one to warm up. (1 to 1000; default 5)"),
    ] = "5",
    quantize: Annotated[
        str,
        _option("none,int8", "The model's own precision, 8-bit integers, both. (default none)"),
    ] = "none",
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
    threads: flags.Threads = None,
    offline: flags.Offline = False,
) -> None:
    """Measure how fast a model runs here.

    hfgen bench storyteller --batch-size 1,16
    hfgen bench --shape 124m --quantize none,int8

    Reports medians and ranges, and the share of the memory's speed or of the
    processor's, measured here, whichever is nearer to its limit.
    """
    from hfgen.bench.comparison import read_result
    from hfgen.bench.options import BenchOptions, parse_batch_sizes, parse_quantize

    model = flags.named_model(ctx, name, model)
    if shape is not None and (name is not None or is_typed(ctx, "model")):
        raise OptionConflict("--shape takes the place of a model", hint="drop one of the two")
    typed = {"batch_size": f"--batch-size {batch_size}", "quantize": f"--quantize {quantize}"}
    typed |= {"shape": f"--shape {shape}"}
    typed = {name: flags.shortened(text) for name, text in typed.items()}
    with flags.in_words_of_flags(typed):
        options = BenchOptions(
            parse_batch_sizes(batch_size),
            flags.whole_number("--prompt-tokens", prompt_tokens, low=1, high=100_000),
            flags.whole_number("--new-tokens", new_tokens, low=2, high=100_000),
            flags.whole_number("--repetitions", repetitions, low=1, high=1000),
            shape,
            parse_quantize(quantize),
        )
    which = LoadOptions(
        name=model,
        device=device,
        dtype=dtype,
        offline=offline,
        threads=threads,
        stock=False,
        progress=console.status,
    )
    flags.check_model(which)
    old = None if compare is None else read_result(compare)
    found = _measured(console, options, which)
    _report(console, found, old, as_json)


def _measured(console: Console, options: Any, which: LoadOptions) -> dict[str, Any]:
    from hfgen.bench.measurement import measure
    from hfgen.loading import load_model

    has_told = False

    def load(folder: str | None, quantize: str | None) -> Any:
        nonlocal has_told
        notify = None if has_told else console.notice
        lm = load_model(replace(which, name=folder or which.name, quantize=quantize, notify=notify))
        for notice in () if has_told or folder else lm.notices:
            console.notice(notice)
        has_told = True
        return lm

    with console.isolated():
        return measure(options, load, console.status)


def _report(
    console: Console, found: dict[str, Any], old: dict[str, Any] | None, as_json: bool
) -> None:
    from hfgen.bench.comparison import compare, differences

    if old is not None:
        found["comparison"] = compare(old, found)
        if other := differences(old, found):
            console.notice(f"the earlier result is of something else: {'; '.join(other)}")
        if not found["comparison"]:
            console.notice("the earlier result has none of these batch sizes and precisions")
    if as_json:
        console.write(json.dumps(found, indent=2) + "\n")
    else:
        from hfgen.cli.io.bench_tables import as_text

        width = shutil.get_terminal_size().columns if console.is_terminal else None
        console.write(as_text(found, width=width))
