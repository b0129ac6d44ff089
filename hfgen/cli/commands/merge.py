"""`hfgen merge`: an adapter and its base become one model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from hfgen.cli.flags import common as flags
from hfgen.cli.io.training_results import shown_folder
from hfgen.cli.program import completion
from hfgen.cli.program.console import Console
from hfgen.errors import UsageError
from hfgen.models.checkpoint.devices import check_dtype_name
from hfgen.models.sizing.quantities import in_bytes

_DTYPES = ("float32", "bfloat16", "float16")


def merge(
    console: Console,
    adapter: Annotated[
        str,
        typer.Argument(metavar="ADAPTER", help="The adapter's folder.", show_default=False),
    ],
    output: Annotated[
        str | None,
        typer.Option(
            "-o", "--output", metavar="DIR", help="The folder to write.", show_default=False
        ),
    ] = None,
    saved_dtype: Annotated[
        str,
        typer.Option(
            "--dtype",
            metavar="DTYPE",
            autocompletion=completion.words(*_DTYPES),
            help="How weights are written: float32, bfloat16 or float16. Half precision takes half "
            "the space and rounds; the difference is told. (default float32)",
            show_default=False,
        ),
    ] = "float32",
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Let --output replace a model.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Write JSON.")] = False,
    offline: flags.Offline = False,
    trust_remote_code: flags.TrustRemoteCode = False,
) -> None:
    """Merge an adapter into its base: an ordinary model, for every program that reads one.

    hfgen merge poems-lora -o poems

    The result is loaded again and must compute what the adapter does; else nothing is written.
    """
    if output is None:
        raise UsageError("no folder to write was named", hint=f"hfgen merge {adapter} -o DIR")
    flags.check_flag("--dtype", check_dtype_name, saved_dtype)
    with console.isolated():
        from hfgen.models.adapters.merge import merge as merged

        done = merged(
            adapter,
            output,
            dtype=saved_dtype,
            overwrite=overwrite,
            offline=offline,
            trust_remote_code=trust_remote_code,
            progress=console.status,
            notify=console.notice,
        )
    for notice in done.notices:
        console.notice(notice)
    if as_json:
        console.write(json.dumps(done.to_dict(), indent=2) + "\n")
        return
    console.write(
        f"{shown_folder(Path(output))}: {done.base} with {done.adapter}, "
        f"{done.parameters:,} parameters, {done.dtype}, {in_bytes(done.size_bytes)}\n"
        f"its logits differ from the adapter's by {done.difference:.1e} of the largest\n"
    )
