"""What the card of a model says that learned from raw text (`hfgen pretrain`), as Markdown.

The parts that are other than those of a fine-tuned model; `hfgen.training.report.card` puts them
together.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hfgen.models.sizing.quantities import in_bytes, in_digits, in_short
from hfgen.training.report.markdown import plain, table

if TYPE_CHECKING:
    from hfgen.training.report.record import RunReport


def introduction(report: RunReport, base: str) -> str:
    """What it is; `base` names the model that learned further."""
    data = report.data
    text = f"{in_bytes(data.bytes)} of text ({data.tokens:,} tokens)"
    size = f"{in_short(report.parameters)} parameters"
    if report.is_new:
        what = f"A language model of {size}, trained from the beginning with hfgen on {text}."
    else:
        what = f"A language model: {base}, all {size} trained further with hfgen on {text}."
    return f"{what} It continues a text."


def counts(report: RunReport) -> list[tuple[str, str]]:
    """The figures of the data."""
    data = report.data
    learned = report.tokens / max(1, report.parameters)
    rows = [
        ("documents", f"{data.rows:,}"),
        ("text", in_bytes(data.bytes)),
        ("tokens", f"{data.tokens:,}"),
        ("tokens learned for each parameter", f"{learned:,.2g}"),
    ]
    left_out = [
        ("documents left out", data.skipped),
        ("documents for validation", data.validation_rows),
        ("tokens for validation", data.validation_tokens),
    ]
    return rows + [(name, f"{count:,}") for name, count in left_out if count]


def results(report: RunReport, kept: str) -> str:
    """How well it predicts text that it has not seen; `kept` says which model that is."""
    rows = [
        (when, *(in_digits(value) for value in (event.bits_per_byte, event.loss, event.perplexity)))
        for when, event in (("before", report.before), ("after", report.after))
        if event.bits_per_byte is not None and event.loss is not None
        and event.perplexity is not None
    ]  # fmt: skip
    held = in_bytes(report.data.validation_bytes)
    columns = ("validation", "bits per byte", "loss, nats a token", "perplexity")
    return (
        f"On {held} of text that was not trained on; the model here is {kept}.\n\n"
        + table(columns, rows)
        + "\n\nBits per byte can be compared with models of other tokenizers: the loss of all "
        "tokens, ends of documents included, by the bytes of the text."
    )


def limits(report: RunReport) -> str:
    """What it is not good for."""
    terms = "The licence of the data may apply to this model too."
    if not report.is_new:
        licence = report.base.licence
        named = f" ({plain(licence)})" if licence else ", which hfgen could not find out"
        terms = f"The licence of the base model{named} applies, and so may that of the data."
    return (
        f"{terms} It has the biases and mistakes of the text it learned from, and may repeat "
        "pieces of it word for word. What it writes is not checked by anyone: it may be false."
    )
