"""What `finetune` trains and validates on: rows read, encoded, split and made ready for batches."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, BinaryIO

from hfgen.errors import InvalidOption, ModelUnsupported
from hfgen.generation.options.config import end_of_text_ids
from hfgen.generation.options.options import GenerationOptions
from hfgen.mentions import mention
from hfgen.models.checkpoint.chat_template import chosen_template
from hfgen.models.silence import quiet
from hfgen.training.data.collators import LEAK_LIMIT, Dense, Packed, PackedRow, Padded, leak, pack
from hfgen.training.data.data_notices import data_notices
from hfgen.training.data.dataset import Prepared, prepare
from hfgen.training.data.encode import EncodedExample, ExampleEncoder
from hfgen.training.data.long_rows import Fitter
from hfgen.training.data.split import MIN_ROWS, Split, fingerprint, split
from hfgen.training.distributed import processes
from hfgen.training.events import Listener
from hfgen.training.model.load import Base
from hfgen.training.options.finetune import TrainingOptions
from hfgen.training.planning.plan import Batches, Facts
from hfgen.training.planning.precision import choose
from hfgen.training.reading.files import read_rows
from hfgen.training.reading.rows import BadRows
from hfgen.training.reading.validation_files import part_notices, validation_paths
from hfgen.training.report.record import DataFacts
from hfgen.training.runs.prepared import DEFAULT_LENGTH, TrainingData

DEFAULT_VAL_ROWS = (16, 1000)
"""Unless it is asked for, so many rows at least and at most are held out."""
_MOST_HELD_OUT = 0.2
_ROWS_BETWEEN_NOTES = 1000


def finetuning_data(
    base: Base,
    paths: Sequence[str],
    options: TrainingOptions,
    *,
    device: str,
    stdin: BinaryIO | None = None,
    listener: Listener,
) -> TrainingData:
    """Read the rows, encode them for the model, and hold some out.

    The model's tokenizer keeps the chat template that is used. Raises the errors of reading, and
    `InvalidOption` for a length beyond the model's window.
    """
    length = _length(options, base.window)
    encoder = _encoder(base, options)
    data = _read(paths, encoder, options, length, stdin, listener)
    if data.shape.is_chat and not encoder.has_own_template:
        base.tokenizer.chat_template = encoder.chat_template
    long_rows = options.value("long_rows")
    notices = data_notices(data, length=length, window=base.window, long_rows=long_rows)
    notices += part_notices(paths, options)
    parts, digest = _parts(data, paths, encoder, options, length, listener)
    train, validation = parts.train, parts.validation
    notices += [parts.notice] if parts.notice else []
    if options.early_stopping and not validation:
        notices.append("early stopping has nothing to go by: there is no validation")
    kind = _batches(base, options)
    rows, val_rows = _rows(train, kind, length), _rows(validation, kind, length)
    facts = Facts(
        train_rows=len(rows),
        train_tokens=sum(len(row.ids) for row in train),
        val_rows=len(val_rows),
        val_tokens=sum(row.learned_tokens for row in validation),
        parameters=base.parameters,
        max_length=length,
        processes=processes()[1],
        precision=choose(options.value("precision"), device, base.model),
        batches=kind,
    )
    return TrainingData(
        train=rows,
        validation=val_rows,
        collate=_collator(kind, _pad_id(base.tokenizer, encoder), length),
        shown=validation or train,
        facts=facts,
        reported=_reported(data, base, facts, parts, digest),
        notices=tuple(notices),
        details=data,
    )


def _parts(
    data: Prepared,
    paths: Sequence[str],
    encoder: ExampleEncoder,
    options: TrainingOptions,
    length: int,
    listener: Listener,
) -> tuple[Split, str]:
    """Rows to train and to validate on, and the hash of all of them."""
    if held_out := validation_paths(paths, options):
        held = _read(held_out, encoder, options, length, None, listener)
        return Split(data.examples, held.examples), fingerprint([*data.rows, *held.rows])
    parts = split(data.rows, _fraction(options, data.rows), options.value("seed"))
    return parts, fingerprint(data.rows)


def _reported(data: Prepared, base: Base, facts: Facts, parts: Split, digest: str) -> DataFacts:
    return DataFacts(
        description=data.description,
        rows=len(data.rows),
        tokens=facts.train_tokens,
        learned_tokens=sum(row.learned_tokens for row in parts.train),
        asking=data.asking(has_template=bool(base.tokenizer.chat_template)),
        labels=tuple(sorted(data.survey.labels)),
        skipped=data.skipped,
        fingerprint=digest,
        validation_rows=facts.val_rows,
        validation_tokens=facts.val_tokens,
        no_validation=parts.notice,
        split=data.long_rows.split,
        windows=data.long_rows.windows,
        truncated=data.long_rows.truncated,
        dropped=data.long_rows.dropped,
    )


def _encoder(base: Base, options: TrainingOptions) -> ExampleEncoder:
    if options.chat_template is not None:  # the result's only one, then
        base.tokenizer.chat_template = chosen_template(base.tokenizer, options.chat_template)
    return ExampleEncoder(
        base.tokenizer,
        stop_ids=end_of_text_ids(GenerationOptions(), base.model, base.tokenizer),
        train_on_prompt=bool(options.train_on_prompt),
    )


def _length(options: TrainingOptions, window: int | None) -> int:
    if options.max_length is None:
        return min(window or DEFAULT_LENGTH, DEFAULT_LENGTH)
    if window is not None and options.max_length > window:
        raise InvalidOption(
            "max_length", options.max_length, f"at most the model's window, {window}"
        )
    return options.max_length


def _fraction(options: TrainingOptions, rows: Sequence[Sequence[EncodedExample]]) -> float:
    """The part held out: unasked, enough rows to tell something, and no more than that takes."""
    if options.val_split is not None:
        return options.val_split
    # Few long texts are split by their windows.
    count = len(rows) if len(rows) >= MIN_ROWS else sum(map(len, rows))
    least, most = (number / count for number in DEFAULT_VAL_ROWS)
    return min(max(float(options.value("val_split")), least), _MOST_HELD_OUT, most)


def _read(
    paths: Sequence[str],
    encoder: ExampleEncoder,
    options: TrainingOptions,
    length: int,
    stdin: BinaryIO | None,
    listener: Listener,
) -> Prepared:
    bad = BadRows(options.value("on_bad_row"))
    columns = [
        name for name in (options.text_column, options.prompt_column, options.completion_column)
        if name is not None
    ]  # fmt: skip
    listener.stage(f"reading {', '.join(paths)} …")

    def note(count: int) -> None:
        if count % _ROWS_BETWEEN_NOTES == 0:
            listener.stage(f"rows read: {count:,}")

    with quiet():
        return prepare(
            read_rows(paths, stdin=stdin, bad=bad, columns=columns),
            encoder,
            Fitter(length, options.value("long_rows")),
            choice=options.columns,
            bad=bad,
            progress=note,
        )


def _batches(base: Base, options: TrainingOptions) -> Batches:
    """How rows become tensors; several examples in a row only where they do not see each other."""
    try:
        is_tight = leak(base.model) <= LEAK_LIMIT
    except (TypeError, ValueError):  # it takes no positions
        is_tight = False
    if options.packing and not is_tight:
        raise ModelUnsupported(
            f"{base.name} would see from one example into the next in a packed row",
            hint=f"leave {mention('packing')} out",
        )
    return "packed" if options.packing else "dense" if is_tight else "padded"


def _rows(
    examples: Sequence[EncodedExample], kind: Batches, length: int
) -> Sequence[EncodedExample] | Sequence[PackedRow]:
    return pack(examples, length) if kind == "packed" else examples


def _collator(kind: Batches, pad_id: int, length: int) -> Any:
    if kind == "packed":
        return Packed(pad_id, length=length)
    return Dense(pad_id) if kind == "dense" else Padded(pad_id)


def _pad_id(tokenizer: Any, encoder: ExampleEncoder) -> int:
    """Any id will do: padding is told by its place."""
    own = tokenizer.pad_token_id
    return encoder.eos_id if own is None else int(own)
