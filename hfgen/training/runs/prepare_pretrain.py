"""What `pretrain` trains and validates on: the new model, and rows cut from the text."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from hfgen.errors import InvalidOption, ModelUnsupported
from hfgen.mentions import mention
from hfgen.models.sizing.quantities import in_bytes, in_short
from hfgen.training.corpus.prepare import Corpus
from hfgen.training.corpus.token_streams import TokenStream, stacked
from hfgen.training.data.collators import LEAK_LIMIT, leak
from hfgen.training.data.encode import EncodedExample
from hfgen.training.distributed import processes
from hfgen.training.model.load import Base, set_dropout
from hfgen.training.model.lora import count_parameters
from hfgen.training.model.new_gpt2 import build_model, model_config
from hfgen.training.options.pretrain import PretrainOptions
from hfgen.training.planning.defaults import Defaults
from hfgen.training.planning.plan import Facts, Plan
from hfgen.training.planning.precision import choose
from hfgen.training.planning.pretrain_defaults import continued_defaults, pretrain_defaults
from hfgen.training.report.asking import Asking
from hfgen.training.report.record import DataFacts
from hfgen.training.runs.prepared import DEFAULT_LENGTH, PreparedRun, TrainingData

MANY_EPOCHS = 10
"""From so many passes on, the user is told that the text is seen very often."""
_SHOWN_TOKENS = 65
_SHOWN_DOCUMENTS = 8
# Tokens that are looked through at a time.
_SEARCHED = 1 << 16


def new_base(options: PretrainOptions, tokenizer: Any) -> Base:
    """A new model of the options' sizes."""
    model = build_model(model_config(options.new_size, tokenizer), options.value("seed"))
    count = count_parameters(model).total
    model.train()
    again = partial(new_base, options, tokenizer)
    return Base(model, tokenizer, None, options.new_size.n_positions, count, count, again)


def pretraining_data(
    corpus: Corpus, base: Base, options: PretrainOptions, *, device: str
) -> TrainingData:
    """Cut the text into rows.

    Raises `InvalidOption` for rows longer than the model's window, and `ModelUnsupported` where
    its documents cannot be kept apart.
    """
    set_dropout(base.model, options.value("dropout"))
    is_isolated = bool(options.isolate_documents)
    if is_isolated and not leak(base.model) <= LEAK_LIMIT:
        raise ModelUnsupported(
            f"{base.name} would see from one document into the next",
            hint=f"leave {mention('isolate_documents')} out",
        )
    length = _length(options, base)
    seed = options.value("seed")
    train = corpus.train.windows(length, seed=seed, is_isolated=is_isolated)
    held = corpus.validation
    validation = held.windows(length, is_isolated=is_isolated) if held else None
    facts = Facts(
        train_rows=len(train),
        train_tokens=corpus.train.tokens,
        val_rows=len(validation) if validation else 0,
        val_tokens=held.tokens if held else 0,
        parameters=base.parameters,
        max_length=train.length,
        processes=processes()[1],
        precision=choose(options.value("precision"), device, base.model),
        batches="windows",
    )
    return TrainingData(
        train=train,
        validation=validation or [],
        collate=stacked,
        shown=beginnings(held or corpus.train, train.length),
        facts=facts,
        reported=_data_facts(corpus, options, base.tokenizer),
        notices=corpus.notices,
    )


def defaults(base: Base, facts: Facts, tokens: float | None) -> Defaults:
    """Those of a new model or of one that is trained further; `tokens` will be learned."""
    if base.resolved is not None:
        return continued_defaults(facts.parameters, facts.max_length)
    return pretrain_defaults(facts.parameters, facts.train_tokens, facts.max_length, tokens=tokens)


def beginnings(stream: TokenStream, length: int) -> list[EncodedExample]:
    """The first tokens, at most `length`, of a few documents, spread over the text."""
    places = np.linspace(0, stream.tokens, _SHOWN_DOCUMENTS, endpoint=False).astype(int)
    starts = {_next_document(stream, int(place)) for place in places}
    found = []
    for start in sorted(starts):
        ids = stream.read(start, min(_SHOWN_TOKENS, length, stream.tokens))
        ends = np.flatnonzero(ids == stream.store.eos_id)
        ids = ids[: int(ends[0])] if len(ends) and ends[0] > 0 else ids
        found.append(EncodedExample(ids.tolist(), [True] * len(ids), is_text=True))
    return found


def _next_document(stream: TokenStream, place: int) -> int:
    """Where the first document from `place` on begins; the place itself in the last one."""
    if place == 0:
        return 0
    for start in range(place - 1, stream.tokens - 1, _SEARCHED):
        count = min(_SEARCHED, stream.tokens - 1 - start)
        ends = np.flatnonzero(stream.read(start, count) == stream.store.eos_id)
        if len(ends):
            return start + int(ends[0]) + 1
    return place


def _length(options: PretrainOptions, base: Base) -> int:
    if options.max_length is None:
        usual = base.window or DEFAULT_LENGTH
        return usual if base.resolved is None else min(usual, DEFAULT_LENGTH)
    if base.window is not None and options.max_length > base.window:
        raise InvalidOption(
            "max_length", options.max_length, f"at most the model's window, {base.window}"
        )
    return options.max_length


def _data_facts(corpus: Corpus, options: PretrainOptions, tokenizer: Any) -> DataFacts:
    held = corpus.validation
    separator = options.value("document_separator")
    return DataFacts(
        description=f"raw text, cut into documents ({separator})",
        rows=corpus.train.documents + (held.documents if held else 0),
        tokens=corpus.train.tokens,
        learned_tokens=corpus.train.tokens,
        asking=Asking(is_raw=bool(getattr(tokenizer, "chat_template", None))),
        skipped=corpus.skipped,
        fingerprint=corpus.fingerprint,
        validation_rows=held.documents if held else 0,
        validation_tokens=held.tokens if held else 0,
        bytes=corpus.train.bytes,
        validation_bytes=held.bytes if held else 0,
        no_validation=corpus.no_validation,
    )


def warnings(plan: Plan) -> list[str]:
    """What the user should know of a plan."""
    if plan.epochs < MANY_EPOCHS:
        return []
    return [
        f"the text will be seen {plan.epochs:,.3g} times: a smaller model or more text would "
        "learn more from it"
    ]


def introduction(prepared: PreparedRun, options: PretrainOptions) -> list[str]:
    """What the user should know before it begins: model, text, and how they go together."""
    base, data, plan = prepared.base, prepared.data.reported, prepared.plan
    model = f"{base.name}: {in_short(base.parameters)} parameters"
    if base.resolved is None:
        size = options.new_size
        model += (
            f" ({size.in_words}, window {size.n_positions:,}), "
            f"{len(base.tokenizer):,} tokens in its vocabulary"
        )
    trained = data.rows - data.validation_rows
    text = f"text: {in_short(data.tokens)} tokens ({in_bytes(data.bytes)}) in {_documents(trained)}"
    if data.validation_tokens:
        held = _documents(data.validation_rows)
        text += f"; {in_short(data.validation_tokens)} in {held} for validation"
    each = plan.epochs * data.tokens / base.parameters
    steps = (
        f"{plan.steps:,} steps = {plan.epochs:,.3g} epoch{'s' * (plan.epochs != 1)}, "
        f"{each:,.2g} tokens per parameter"
    )
    return [model, text, steps]


def _documents(count: int) -> str:
    """How many there are; one that is divided counts on both sides."""
    count = max(1, count)
    return f"{count:,} document{'s' * (count != 1)}"
