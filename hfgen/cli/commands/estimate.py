"""`hfgen estimate`: what a model needs, and whether it fits here."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from hfgen.cli.flags import common as flags
from hfgen.cli.program.console import Console
from hfgen.models.sizing.estimate import Estimate, Need, in_gigabytes


def estimate(
    ctx: typer.Context,
    console: Console,
    name: flags.ModelArgument = None,
    model: flags.Model = None,
    context: Annotated[
        str | None,
        typer.Option(
            "--context",
            metavar="N",
            help="Tokens of prompt and text together. (default the model's window)",
            show_default=False,
        ),
    ] = None,
    slots: Annotated[
        str,
        typer.Option(
            metavar="N",
            help="How many sequences are decoded concurrently. (1 to 1024; default 1)",
            show_default=False,
        ),
    ] = "1",
    as_json: Annotated[
        bool, typer.Option("--json", help="One JSON document, with sizes in bytes.")
    ] = False,
    offline: flags.Offline = False,
) -> None:
    """Tell how much memory a model needs, and whether it fits here.

    hfgen estimate gpt2-xl
    hfgen estimate Qwen/Qwen3-8B --context 4096 --slots 4

    The configuration alone is read, no weights. The program itself takes about 0.4 GB more.
    """
    from hfgen.models.sizing.estimate import estimate as estimated

    model = flags.named_model(ctx, name, model)
    tokens = None
    if context is not None:
        tokens = flags.whole_number("--context", context, low=1, high=10**8)
    texts = flags.whole_number("--slots", slots, low=1, high=1024)
    with console.isolated():
        found = estimated(
            model, context=tokens, slots=texts, offline=offline, progress=console.status
        )
        if tokens is not None and found.context < tokens:
            console.notice(f"the window of {found.name} is {found.context:,} tokens")
        if as_json:
            console.write(json.dumps(found.to_dict(), indent=2) + "\n")
        else:
            console.write(_as_text(found))


def _as_text(found: Estimate) -> str:
    window = f"window {found.shape.window:,}" if found.shape.window else "no limit of context"
    texts = "1 text" if found.slots == 1 else f"{found.slots} texts at once"
    lines = [
        f"{found.name}: {found.shape.weights:,} parameters, {window}",
        f"{texts} of {found.context:,} tokens",
        "",
    ]
    header = ["", "weights", "KV cache", "working", "peak"]
    header += ["fits" if m.device == "cpu" else "fits GPU" for m in found.memories]
    rows = [header, *(_row(found, need) for need in found.needs)]
    widths = [max(len(row[i]) for row in rows) for i in range(len(header))]
    for row in rows:
        cells = [cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)]
        lines.append("  ".join([row[0].ljust(widths[0]), *cells]).rstrip())
    lines.append("")
    for memory in found.memories:
        name = "memory" if memory.device == "cpu" else "GPU memory"
        lines.append(
            f"{name}: {in_gigabytes(memory.available_bytes)} free "
            f"of {in_gigabytes(memory.total_bytes)}"
        )
    lines.append("int8: hfgen generate --quantize int8; int4: for comparison")
    return "\n".join(lines) + "\n"


def _row(found: Estimate, need: Need) -> list[str]:
    sizes = (need.weights_bytes, need.kv_bytes, need.working_bytes, need.peak_bytes)
    answers = ["yes" if found.fits(need, memory) else "no" for memory in found.memories]
    return [need.dtype, *map(in_gigabytes, sizes), *answers]
