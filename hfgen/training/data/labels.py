"""Classification sets: a text, and a short label beside it that is to be learned.

    {"text": "one long string of cliches .", "label": "negative"}

is written by the template

    {text}\nLabel: {label}

of which the label and the end of the text are learned. The template and the labels that were seen
are kept in the result's `training.json` (`data.asking.form`, `data.labels`).

A label's column is known by its name, and by values that are short texts or numbers. A text beside
any other column is learned alone, unless that column looks like what was to be learned: see
`hfgen.training.data.refusals`.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import replace

from hfgen.generation.prompts.row_template import RowTemplate
from hfgen.training.data.columns import is_missing, quoted
from hfgen.training.data.prompt_template import template_of
from hfgen.training.data.shapes import CHAT, Shape, template_shape
from hfgen.training.reading.rows import RawRow

_LABELS_IN_WORDS = ("label_text", "label_name", "label_str")
LABELS = (
    *_LABELS_IN_WORDS, "label", "labels", "sentiment", "category", "class", "target", "intent",
    "topic", "emotion", "stance", "gold_label",
)  # fmt: skip
ABOUT = frozenset(
    (
        "id", "_id", "idx", "index", "uid", "uuid", "guid", "key", "row", "line", "number", "url",
        "uri", "link", "source", "src", "domain", "date", "time", "timestamp", "created", "year",
        "created_at", "meta", "metadata", "author", "user", "username", "lang", "language",
        "language_score", "license", "licence", "name", "file", "filename", "file_name", "path",
        "split", "dump", "dataset", "subset", "length", "token_count", "tokens", "n_tokens",
        "num_tokens", "score", "int_score", "version", "hash", "sha", "md5", "__index_level_0__",
        "label_id", "page", "chapter", "book", "repo", "title",
    )
)  # fmt: skip
"""Columns of these names say something about the text; nobody learns them from it."""
_LONGEST_LABEL = 40


def find_labels(sample: Sequence[RawRow], text: str | None) -> Shape | None:
    """How a classification set is read; None where the rows are none, or say so less clearly.

    `text` is the text's column where its name says so, else it is the only one left.
    """
    columns = list(dict.fromkeys(name for row in sample for name in row.values))
    label = _label_column(sample, columns)
    if label is None:
        return None
    if text is None:
        left = [n for n in columns if n != label and n.casefold() not in (*ABOUT, *LABELS)]
        if len(left) != 1 or not holds_text(sample, left[0]):
            return None
        (text,) = left
    template = template_of([text], label)
    if template is None:
        return None
    written = f"written as '{template}'"
    return replace(
        template_shape(RowTemplate(template)),
        words=f"texts in {quoted([text])}, labels in {quoted([label])}",
        ways=(f"{written}; the labels are learned", f"{written}, {CHAT}; the labels are learned"),
        label=label,
        advice=f"to learn the texts alone: --text-column {shlex.quote(text)}",
    )


def _label_column(sample: Sequence[RawRow], columns: Sequence[str]) -> str | None:
    """The one column with labels; words go before the numbers that stand for them."""
    found = [n for n in columns if n.casefold() in LABELS and are_labels(sample, n)]
    in_words = [name for name in found if name.casefold() in _LABELS_IN_WORDS]
    found = in_words or found
    return found[0] if len(found) == 1 else None


def are_labels(sample: Sequence[RawRow], column: str) -> bool:
    """Whether the column holds short texts, numbers or truth values, and nothing else."""
    values = present_values(sample, column)
    return bool(values) and all(map(_is_label, values))


def holds_text(sample: Sequence[RawRow], column: str) -> bool:
    """Whether the column holds texts, and nothing else."""
    values = present_values(sample, column)
    return bool(values) and all(isinstance(value, str) for value in values)


def present_values(sample: Sequence[RawRow], column: str) -> list[object]:
    """The values of a column, where rows have one."""
    found = (row.values.get(column) for row in sample)
    return [value for value in found if not is_missing(value) and value != ""]


def _is_label(value: object) -> bool:
    if isinstance(value, str):
        return len(value) <= _LONGEST_LABEL and "\n" not in value
    return isinstance(value, int | float)
