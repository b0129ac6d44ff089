"""Classifications and their evaluation for people."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hfgen.cli.measuring.evaluation_text import shown

if TYPE_CHECKING:
    from hfgen.evaluation.labelled import LabelReport
    from hfgen.tasks.classification import Classification

_LONGEST = 60


def line(found: Classification) -> str:
    """Label, its probability and the text, on one line."""
    text = " ".join(found.text.split())
    text = text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"
    return f"{found.label or '-':<16}{found.confidence:.3f}  {text}\n"


def report_text(found: LabelReport) -> str:
    """Figures with their intervals, then which label was taken for which."""
    report = found.report
    calibration = report.method["calibration"]
    lines = [
        f"{report.task}: {report.model} on {report.rows:,} row{'s' * (report.rows != 1)}, "
        f"{len(report.method['examples'])} examples, calibration {calibration}"
    ]
    lines += [f"  {one.name:<18}{shown(one):<28}{one.meaning}" for one in report.metrics]
    columns = list(next(iter(found.confusion.values())))
    width = max(map(len, (*found.confusion, *columns))) + 2
    lines.append("  right label, by chosen label:")
    lines.append(" " * (width + 2) + "".join(f"{name:>{width}}" for name in columns))
    for gold, row in found.confusion.items():
        lines.append(f"  {gold:<{width}}" + "".join(f"{count:>{width}}" for count in row.values()))
    return "\n".join([*lines, "  95% intervals", ""])
