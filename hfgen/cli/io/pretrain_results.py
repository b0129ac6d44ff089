"""What `hfgen pretrain --dry-run` writes for people: the text, the model, what it takes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from hfgen.cli.io.training_results import cost_facts, fact_line, plan_facts
from hfgen.models.sizing.quantities import in_bytes, in_short
from hfgen.training.options.pretrain import PretrainOptions

if TYPE_CHECKING:
    from hfgen.training.runs.outcome import Rehearsal

_BEGINNINGS_SHOWN = 4
_CHARACTERS = 160


def rehearsal_text(dry: Rehearsal, options: PretrainOptions) -> str:
    """The whole estimate."""
    groups = [_data(dry), [*_model(dry, options), *plan_facts(dry.plan, options)], cost_facts(dry)]
    parts = ["".join(map(fact_line, facts)) for facts in groups]
    begun = "".join(f"  {_one_line(text)}\n" for text in dry.beginnings[:_BEGINNINGS_SHOWN])
    return "\n".join([f"{dry.data.description}\n", *parts, f"documents begin:\n{begun}"])


def _data(dry: Rehearsal) -> Iterator[tuple[str, str]]:
    data = dry.data
    documents = f"{data.rows:,}"
    yield "documents", documents + f", skipped {data.skipped:,}" * bool(data.skipped)
    yield "text", f"{in_bytes(data.bytes)}, {data.tokens:,} tokens"
    count = f"{data.validation_rows:,} document{'s' * (data.validation_rows != 1)}"
    held = f"{count}, {data.validation_tokens:,} tokens"
    yield "validation", held if data.validation_tokens else "none"


def _model(dry: Rehearsal, options: PretrainOptions) -> Iterator[tuple[str, str]]:
    yield "model", f"{dry.model}, {in_short(dry.parameters)} parameters"
    if not dry.is_new:
        return
    size = options.new_size
    yield "shape", f"{size.in_words}, window {size.n_positions:,}"
    yield "vocabulary", f"{dry.vocab_size:,} tokens"
    each = dry.plan.epochs * dry.data.tokens / max(1, dry.parameters)
    yield "learning", f"{each:,.2g} tokens per parameter"


def _one_line(text: str) -> str:
    shown = " ".join(text.split())
    return shown if len(shown) <= _CHARACTERS else shown[:_CHARACTERS] + " …"
