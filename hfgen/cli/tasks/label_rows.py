"""Labelled rows, examples and labels, as files hold them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import BinaryIO

from hfgen.errors import DataError
from hfgen.tasks.few_shot import Shot
from hfgen.tasks.labels import Label
from hfgen.text_io import decoded, lines_of, reading
from hfgen.training.data.columns import optional_text, quoted, text_of
from hfgen.training.data.labels import LABELS
from hfgen.training.reading.files import read_rows
from hfgen.training.reading.rows import RawRow

_TEXTS = ("text", "sentence", "question", "review", "article", "content", "input", "prompt")
_VERBALIZERS = ("verbalizer", "words", "token")


@dataclass(frozen=True)
class TextRow:
    """A text to classify."""

    text: str
    gold: str | None = None
    """The right label, where the row has one."""
    id: str | None = None
    place: str = ""


def labelled_rows(
    paths: Sequence[str], column: str, *, stdin: BinaryIO | None = None
) -> Iterator[TextRow]:
    """Read rows; `column` is the text's where they have it, else it is known by its name.

    The first row is read at once. Raises `DataError` with the place of a row without a text.
    """
    rows = (_read(row, column) for row in read_rows(paths, stdin=stdin, columns=[column]))
    first = next(rows)

    def read() -> Iterator[TextRow]:
        yield first
        yield from rows

    return read()


def examples(path: str, column: str) -> list[Shot]:
    """Labelled examples. Raises `DataError` for a row without text or label."""
    found = []
    for row in labelled_rows([path], column):
        if row.gold is None:
            raise DataError(f"{row.place}: the example has no label", hint='write {"label": …}')
        found.append(Shot(row.text, row.gold, row.place))
    return found


def labels_of(path: str) -> list[Label]:
    """Labels with what the model reads and what they mean.

    A text file has a label on each line, `name` or `name: description`; rows of other files have
    `label`, and perhaps `verbalizer` and `description`.
    """
    if path.endswith(".txt"):
        return [_from_line(line) for line in _lines(path) if line.strip()]
    found = []
    for row in read_rows([path], columns=["label", "name"]):
        name = next((key for key in ("label", "name") if key in row.values), "label")
        found.append(
            Label(
                text_of(row, name, may_be_bool=True),
                optional_text(row, _VERBALIZERS),
                optional_text(row, ("description",)),
            )
        )
    return found


def _from_line(line: str) -> Label:
    name, _, description = line.partition(":")
    return Label(name.strip(), description=description.strip())


def _lines(path: str) -> Iterator[str]:
    with reading(path), open(path, "rb") as stream:  # noqa: PTH123
        for number, line in enumerate(lines_of(stream), 1):
            yield decoded(line, path, number)


def _read(row: RawRow, column: str) -> TextRow:
    names = {name.casefold(): name for name in row.values}
    text = next((names[name] for name in (column.casefold(), *_TEXTS) if name in names), None)
    if text is None:
        raise row.error(
            f"no text to classify among {quoted(row.values) or 'no values'}",
            hint='write {"text": …}, or name the column in the template',
        )
    label = next((names[n] for n in LABELS if n in names and row.values[names[n]] is not None), "")
    row_id = row.values.get("id")
    return TextRow(
        text_of(row, text),
        text_of(row, label, may_be_bool=True).strip() if label else None,
        None if row_id is None else str(row_id),
        row.place,
    )
