"""How a benchmark looks as text: tables with lines on a terminal, aligned columns in a pipe."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hfgen.models.sizing.quantities import in_bytes

_NO_VALUE = "-"
_SHORT = {
    "prefill_tokens_per_s": "prefill tokens/s",
    "decode_tokens_per_s": "decode tokens/s",
    "first_token_s": "first token (s)",
}


def as_text(found: dict[str, Any], *, width: int | None = None) -> str:
    """The result of `hfgen.bench.measurement.measure`, and the comparison where there is one.

    `width` is that of the terminal; None in a pipe.
    """
    own = found["dtype"]
    parts = [_heading(found), _table(_speeds(found, own), width)]
    if "comparison" in found:
        parts.append("against the earlier result\n")
        parts.append(_table(_changes(found["comparison"], own), width))
    return "\n".join(parts)


def _heading(found: dict[str, Any]) -> str:
    machine, limits = found["machine"], found["limits"]
    own = {"none": found["dtype"]}
    loads = [f"{own.get(name, name)} {s:.2f} s" for name, s in found["load_s"].items()]
    rates = f"{limits['flops_per_s'] / 1e9:,.0f} GFLOP/s"
    if limits["int8_operations_per_s"]:
        rates += f", {limits['int8_operations_per_s'] / 1e9:,.0f} int8 GOP/s"
    several = "s" if machine["threads"] != 1 else ""
    lines = [
        f"{found['model']}: {found['prompt_tokens']} prompt tokens, {found['new_tokens']} new, "
        f"{found['repetitions']} repetition{'s' * (found['repetitions'] != 1)}: "
        "median ± half the range",
        f"{machine['gpu'] or machine['cpu']}, {machine['threads']} thread{several}",
        f"torch {machine['torch']}, transformers {machine['transformers']}",
        f"this machine reads {limits['bytes_per_s'] / 1e9:.1f} GB/s, computes {rates}",
        f"load {', '.join(loads)}; peak memory of all {in_bytes(found['peak_bytes'])}",
    ]
    return "\n".join(lines) + "\n"


def _speeds(found: dict[str, Any], own: str) -> list[list[str]]:
    head = ["batch", "weights", "first token", "prefill tok/s", "decode tok/s", "of the limit"]
    rows = [
        [
            str(result["batch_size"]),
            result["quantize"] or own,
            f"{result['first_token_s']['median']:.3f} s",
            _range(result["prefill_tokens_per_s"]),
            _range(result["decode_tokens_per_s"]),
            _limit(result),
        ]
        for result in found["results"]
    ]
    return [head, *rows]


def _limit(result: dict[str, Any]) -> str:
    """The nearer of the two limits is the one that binds."""
    if result["bandwidth_share"] is None:
        return _NO_VALUE
    if result["bandwidth_share"] >= result["compute_share"]:
        return f"{result['bandwidth_share']:.0%} memory"
    return f"{result['compute_share']:.0%} compute"


def _changes(changes: Sequence[dict[str, Any]], own: str) -> list[list[str]]:
    head = ["batch", "weights", "measurement", "old", "new", "ratio", ""]
    rows = [
        [
            str(row["batch_size"]),
            row["quantize"] or own,
            _SHORT[row["measurement"]],
            f"{row['old']:.4g}",
            f"{row['new']:.4g}",
            f"{row['ratio']:.2f}",
            "changed" if row["is_beyond_spread"] else "in the spread",
        ]
        for row in changes
    ]
    return [head, *rows]


def _number(value: float, digits: int = 1) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.{digits}f}"


def _range(value: dict[str, float], digits: int = 1) -> str:
    """The median, and half the range from the least to the most as a share of it."""
    half = (value["max"] - value["min"]) / 2 / value["median"]
    return f"{_number(value['median'], digits)} ±{half:.0%}"


def _table(rows: Sequence[Sequence[str]], width: int | None) -> str:
    if width is not None:
        return _lined(rows, width)
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "".join(
        "  ".join(cell.rjust(wide) for cell, wide in zip(row, widths, strict=True)).rstrip() + "\n"
        for row in rows
    )


def _lined(rows: Sequence[Sequence[str]], width: int) -> str:
    import io

    from rich.box import SIMPLE_HEAD
    from rich.console import Console as RichConsole
    from rich.table import Table

    table = Table(box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0), show_edge=False)
    for name in rows[0]:
        table.add_column(name, justify="right")
    for row in rows[1:]:
        table.add_row(*row)
    file = io.StringIO()
    RichConsole(file=file, width=width, color_system=None).print(table)
    lines = (line.rstrip() for line in file.getvalue().splitlines())
    return "".join(f"{line}\n" for line in lines if line)
