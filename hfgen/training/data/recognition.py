"""What rows hold: recognised by their columns, read into one normal form, `Example`.

| columns | example |
| --- | --- |
| `text` | a text; all of it is learned |
| a text and a label (`label`, `sentiment`, `category`, …) | a prompt that ends in `Label:`, and the label: `hfgen.training.data.labels` |
| `prompt` or `input`, and `completion`, `response`, `answer` or `output` | prompt and completion, joined verbatim |
| `instruction`, `question` or `query`, and one of the same four | a user's message and the answer; `input` or `context`, where not empty, follows the instruction after a blank line; `system` or `system_prompt` comes first |
| `instruction` and `instances` (`input`, `output` each) | one such pair of messages for each instance |
| `messages` or `conversations`: `role` and `content`, or `from` and `value` | the conversation |

A question is a message and not a prompt to be joined verbatim: data sets of questions have no
separator between question and answer, and a template puts one there. `--prompt-column` and
`--completion-column` join any two columns verbatim.

A template such as `{question}\nAnswer: {answer}` makes a prompt of what stands before the last
placeholder, and a completion of that placeholder's value and what follows. Spaces just before the
last placeholder belong to the completion: a prompt that ends in a space is split into tokens that
a model has hardly ever seen. `\n`, `\t` and `\\` are escapes, `{{` and `}}` braces.
"""  # noqa: E501

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

from hfgen.errors import DataError, OptionConflict
from hfgen.generation.prompts.row_template import RowTemplate
from hfgen.mentions import mention
from hfgen.training.data.columns import INSTANCES, closest, quoted
from hfgen.training.data.labels import find_labels
from hfgen.training.data.refusals import (
    refuse_ambiguous_answers,
    refuse_lost_target,
    refuse_missing_header,
    undecided,
)
from hfgen.training.data.shapes import INPUTS, SYSTEMS, Kind, Shape, shape_of, template_shape
from hfgen.training.reading.rows import RawRow

_COMPLETIONS = ("completion", "response", "answer", "output")
_INSTRUCTIONS = ("instruction", "question", "query")
_CONVERSATIONS = ("messages", "conversations", "conversation")
KNOWN_COLUMNS = frozenset(
    ("text", "prompt", *_COMPLETIONS, *_INSTRUCTIONS, *INPUTS, *_CONVERSATIONS)
)
SAMPLE_ROWS = 32
"""How many rows are looked at."""


@dataclass(frozen=True)
class ColumnChoice:
    """What the user says about the columns."""

    text: str | None = None
    prompt: str | None = None
    completion: str | None = None
    template: str | None = None

    def check(self) -> None:
        """Raise `OptionConflict` for choices that contradict each other.

        Raises what the template's parser raises, too.
        """
        options = {
            "text_column": self.text,
            "template": self.template,
            "prompt_column": self.prompt or self.completion,
        }
        given = [mention(name) for name, value in options.items() if value is not None]
        if len(given) > 1:
            raise OptionConflict(
                f"{given[0]} and {given[1]} say different things about the same rows",
                hint="give one of them",
            )
        _ = self.names

    @property
    def names(self) -> tuple[str, ...]:
        """The column names that the user gave."""
        named = tuple(n for n in (self.text, self.prompt, self.completion) if n is not None)
        return named + (RowTemplate(self.template).columns if self.template is not None else ())


def recognise(sample: Sequence[RawRow], choice: ColumnChoice | None = None) -> Shape:
    """Decide from the first rows how all are read; the shape that most of them have wins.

    Raises `DataError` with the columns and what to type where they do not tell, or where what
    they tell would teach something else than they hold.
    """
    choice = choice or ColumnChoice()
    choice.check()
    if not sample:
        raise DataError("no usable rows", hint="put one example on each line")
    present = Counter(name for row in sample for name in row.values)
    shape = _chosen(choice, sample[0].file, present) if choice.names else _told(sample)
    optional: set[str] = set(SYSTEMS if shape.kind in ("instruction", "conversation") else ())
    optional |= set(INPUTS if shape.kind == "instruction" else ())
    unused = [
        name for name in present if name not in shape.columns and name.casefold() not in optional
    ]
    return replace(shape, unused=tuple(unused))


def _told(sample: Sequence[RawRow]) -> Shape:
    """The shape that the columns tell."""
    votes = Counter(tuple(_candidates(row)) for row in sample)
    found, _ = max(votes.items(), key=lambda item: (bool(item[0]), item[1]))
    refuse_ambiguous_answers(sample, found[0][1] if found else ())
    if not found or [kind for kind, _ in found] == ["text"]:
        text = found[0][1][0] if found else None
        if (labelled := find_labels(sample, text)) is not None:
            return labelled
        if text is not None:
            refuse_lost_target(sample, text)
        else:
            refuse_missing_header(sample)
    if len(found) != 1:
        raise undecided(sample, [columns for _, columns in found])
    return shape_of(*found[0])


def _candidates(row: RawRow) -> list[tuple[Kind, tuple[str, ...]]]:
    """The shapes that a row may have, as (kind, columns)."""
    names = {name.casefold(): name for name, value in row.values.items() if value is not None}
    for name in _CONVERSATIONS:
        if name in names:
            return [("conversation", (names[name],))]
    if "instruction" in names and INSTANCES in names:
        return [("instances", (names["instruction"], names[INSTANCES]))]
    found: list[tuple[Kind, tuple[str, ...]]] = []
    if "text" in names:
        found.append(("text", (names["text"],)))
    heads = [name for name in (*_INSTRUCTIONS, "prompt") if name in names]
    for head in heads or [name for name in ("input",) if name in names]:
        kind: Kind = "instruction" if head in _INSTRUCTIONS else "pair"
        found += [(kind, (names[head], names[end])) for end in _COMPLETIONS if end in names]
    return found


def _chosen(choice: ColumnChoice, file: str, present: Counter[str]) -> Shape:
    for name in choice.names:
        if name not in present:
            raise DataError(
                f"{file}: no column {quoted([name])}; the columns are {quoted(present)}",
                hint=closest(name, list(present)),
            )
    if choice.text is not None:
        return shape_of("text", (choice.text,))
    if choice.template is not None:
        return template_shape(RowTemplate(choice.template))
    prompt = choice.prompt or _only(("prompt", *_INSTRUCTIONS, "input"), file, present, "prompt")
    completion = choice.completion or _only(_COMPLETIONS, file, present, "completion")
    return shape_of("pair", (prompt, completion))


def _only(names: Sequence[str], file: str, present: Counter[str], what: str) -> str:
    found = [name for name in present if name.casefold() in names]
    if len(found) != 1:
        raise DataError(
            f"{file}: which column is the {what}? The columns are {quoted(present)}",
            hint=f"--{what}-column NAME",
        )
    return found[0]
