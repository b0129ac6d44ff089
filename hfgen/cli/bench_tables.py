"""How a benchmark looks as text: aligned columns, the same in a pipe and on a terminal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hfgen.models.quantities import in_bytes


def as_text(found: dict[str, Any]) -> str:
    """The result of `hfgen.bench.measurement.measure`, and the comparison where there is one."""
    machine, limits = found["machine"], found["limits"]
    lines = [
        f"{found['model']}, {found['dtype']}: {found['prompt_tokens']} prompt tokens, "
        f"{found['new_tokens']} new ones, {found['repetitions']} repetitions",
        f"{machine['gpu'] or machine['cpu']}, {machine['threads']} threads, torch "
        f"{machine['torch']}, transformers {machine['transformers']}",
        f"load {found['load_s']:.2f} s, peak memory {in_bytes(found['peak_bytes'])}; the machine "
        f"reads {limits['bytes_per_s'] / 1e9:.1f} GB/s, computes "
        f"{limits['flops_per_s'] / 1e9:.0f} GFLOP/s",
        "",
    ]
    head = ["batch", "first token", "prefill tokens/s", "decode tokens/s", "of the limit"]
    if any("ratio" in result for result in found["results"]):
        head += ["transformers", "ratio", "equal tokens"]
    lines += _columns([head, *map(_row, found["results"])])
    if "comparison" in found:
        lines.append("")
        rows = [["batch", "measurement", "old", "new", "ratio", ""]]
        for row in found["comparison"]:
            ratio = "-" if row["ratio"] is None else f"{row['ratio']:.2f}"
            mark = "changed" if row["is_beyond_spread"] else "within the spread"
            rows.append(
                [str(row["batch_size"]), row["measurement"], f"{row['old']:.4g}",
                 f"{row['new']:.4g}", ratio, mark]
            )  # fmt: skip
        lines += _columns(rows)
    return "\n".join(lines) + "\n"


def _row(result: dict[str, Any]) -> list[str]:
    size = result["batch_size"]
    limit = "bandwidth" if size == 1 else "flops"
    row = [
        str(size),
        f"{result['first_token_s']['median']:.3f} s",
        _range(result["prefill_tokens_per_s"]),
        _range(result["decode_tokens_per_s"]),
        f"{result[limit + '_share']:.0%} {limit}",
    ]
    if "ratio" in result:
        row += [
            _range(result["transformers_tokens_per_s"]),
            _range(result["ratio"], ".2f"),
            f"{result['equal_tokens']:.1%}",
        ]
    return row


def _range(value: dict[str, float], form: str = ".1f") -> str:
    return f"{value['median']:{form}} ({value['min']:{form}}-{value['max']:{form}})"


def _columns(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]
