"""What rows hold: recognised by their columns, read into one normal form, `Example`.

| columns | example |
| --- | --- |
| `text` | a text; all of it is learned |
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

import shlex
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from hfgen.errors import DataError, OptionConflict
from hfgen.mentions import mention
from hfgen.training.columns import (
    INSTANCES,
    closest,
    conversation_of,
    items_of,
    optional_text,
    quoted,
    text_of,
)
from hfgen.training.placeholders import RowTemplate
from hfgen.training.rows import RawRow

_COMPLETIONS = ("completion", "response", "answer", "output")
_INSTRUCTIONS = ("instruction", "question", "query")
_INPUTS = ("input", "context")
_SYSTEMS = ("system", "system_prompt")
_CONVERSATIONS = ("messages", "conversations", "conversation")
KNOWN_COLUMNS = frozenset(
    ("text", "prompt", *_COMPLETIONS, *_INSTRUCTIONS, *_INPUTS, *_CONVERSATIONS)
)
SAMPLE_ROWS = 32
"""How many rows are looked at."""

Kind = Literal["text", "pair", "instruction", "instances", "conversation", "template"]


@dataclass(frozen=True, slots=True)
class Example:
    """One thing to learn: `text`, or `prompt` and `completion`, or `messages`."""

    file: str
    line: int
    text: str | None = None
    prompt: str | None = None
    completion: str | None = None
    messages: tuple[tuple[str, str], ...] | None = None
    """(role, content) of each turn; roles are system, user and assistant."""

    def error(self, reason: str) -> DataError:
        """The error that names the row which the example came from."""
        return RawRow({}, self.file, self.line).error(reason)


@dataclass(frozen=True)
class ColumnChoice:
    """What the user says about the columns."""

    text: str | None = None
    prompt: str | None = None
    completion: str | None = None
    template: str | None = None

    def check(self) -> None:
        """Raise `OptionConflict` for choices that contradict each other."""
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

    @property
    def names(self) -> tuple[str, ...]:
        """The column names that the user gave."""
        named = tuple(n for n in (self.text, self.prompt, self.completion) if n is not None)
        return named + (RowTemplate(self.template).columns if self.template is not None else ())


@dataclass(frozen=True)
class Shape:
    """How the rows of a run are read."""

    kind: Kind
    columns: tuple[str, ...]
    """The columns that every row must have."""
    description: str
    """One line for the user."""
    reader: Callable[[RawRow], list[Example]]

    @property
    def is_chat(self) -> bool:
        """Whether its examples are messages, which need a chat template."""
        return self.kind in ("instruction", "instances", "conversation")

    def read(self, row: RawRow) -> list[Example]:
        """The examples of a row, mostly one. Raises `DataError` for a row of another shape."""
        return self.reader(row)


def recognise(sample: Sequence[RawRow], choice: ColumnChoice | None = None) -> Shape:
    """Decide from the first rows how all are read; the shape that most of them have wins.

    Raises `DataError` with the columns and what to type where they do not tell.
    """
    choice = choice or ColumnChoice()
    choice.check()
    if not sample:
        raise DataError("no usable rows", hint="put one example on each line")
    present = Counter(name for row in sample for name in row.values)
    if choice.names:
        shape = _chosen(choice, sample[0].file, present)
    else:
        votes = Counter(tuple(_candidates(row)) for row in sample)
        found, _ = max(votes.items(), key=lambda item: (bool(item[0]), item[1]))
        if len(found) != 1:
            raise _undecided(sample[0].file, list(present), found)
        shape = _shape(*found[0])
    optional: set[str] = set(_SYSTEMS if shape.kind in ("instruction", "conversation") else ())
    optional |= set(_INPUTS if shape.kind == "instruction" else ())
    unused = [
        name for name in present if name not in shape.columns and name.casefold() not in optional
    ]
    if unused:
        shape = replace(shape, description=f"{shape.description}; not used: {quoted(unused)}")
    return shape


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


def _undecided(
    file: str, columns: list[str], found: Sequence[tuple[Kind, tuple[str, ...]]]
) -> DataError:
    ways = [
        f"--text-column {names[0]}"
        if len(names) == 1
        else f"--prompt-column {names[0]} --completion-column {names[1]}"
        for _, names in found[:3]
    ]
    if not found:
        first, second = (*columns, "NAME", "NAME")[:2]
        pair = f"--prompt-column {shlex.quote(first)} --completion-column {shlex.quote(second)}"
        ways = [f"--text-column {shlex.quote(first)}", pair, "--template"]
    what = "fit more than one reading" if found else "do not say what to learn"
    names = quoted(columns) or "(none)"
    return DataError(f"{file}: the columns {names} {what}", hint=", or ".join(ways))


def _chosen(choice: ColumnChoice, file: str, present: Counter[str]) -> Shape:
    for name in choice.names:
        if name not in present:
            raise DataError(
                f"{file}: no column {quoted([name])}; the columns are {quoted(present)}",
                hint=closest(name, list(present)),
            )
    if choice.text is not None:
        return _shape("text", (choice.text,))
    if choice.template is not None:
        return _template_shape(RowTemplate(choice.template))
    prompt = choice.prompt or _only(("prompt", *_INSTRUCTIONS, "input"), file, present, "prompt")
    completion = choice.completion or _only(_COMPLETIONS, file, present, "completion")
    return _shape("pair", (prompt, completion))


def _only(names: Sequence[str], file: str, present: Counter[str], what: str) -> str:
    found = [name for name in present if name.casefold() in names]
    if len(found) != 1:
        raise DataError(
            f"{file}: which column is the {what}? The columns are {quoted(present)}",
            hint=f"--{what}-column NAME",
        )
    return found[0]


def _shape(kind: Kind, columns: tuple[str, ...]) -> Shape:
    readers: dict[Kind, tuple[str, Callable[[RawRow, tuple[str, ...]], list[Example]]]] = {
        "text": ("texts in {}, learned whole", _read_text),
        "pair": ("prompts in {}, completions in {}, joined as they are", _read_pair),
        "instruction": ("instructions in {}, answers in {}", _read_instruction),
        "instances": ("instructions in {} with their {}", _read_instances),
        "conversation": ("conversations in {}; the assistant's turns are learned", _read_messages),
    }
    words, read = readers[kind]
    description = words.format(*(quoted([name]) for name in columns))
    return Shape(kind, columns, description, lambda row: read(row, columns))


def _template_shape(template: RowTemplate) -> Shape:
    last = template.columns[-1]

    def read(row: RawRow) -> list[Example]:
        prompt, completion = template.fill(
            {name: text_of(row, name, may_be_empty=name != last) for name in template.columns}
        )
        if not prompt:
            return [Example(row.file, row.line, text=completion)]
        return [Example(row.file, row.line, prompt=prompt, completion=completion)]

    description = f"rows written by the template; learned from {quoted([last])} on"
    return Shape("template", template.columns, description, read)


def _read_text(row: RawRow, columns: tuple[str, ...]) -> list[Example]:
    return [Example(row.file, row.line, text=text_of(row, columns[0]))]


def _read_pair(row: RawRow, columns: tuple[str, ...]) -> list[Example]:
    prompt = text_of(row, columns[0], may_be_empty=True)
    completion = text_of(row, columns[1])
    return [Example(row.file, row.line, prompt=prompt, completion=completion)]


def _read_instruction(row: RawRow, columns: tuple[str, ...]) -> list[Example]:
    taken = [column for column in columns if column.casefold() in _INPUTS]
    details = "" if taken else optional_text(row, _INPUTS)
    system = optional_text(row, _SYSTEMS)
    return [_asked(row, text_of(row, columns[0]), details, text_of(row, columns[1]), system)]


def _asked(row: RawRow, instruction: str, details: str, answer: str, system: str = "") -> Example:
    question = f"{instruction}\n\n{details}" if details.strip() else instruction
    turns = [("user", question), ("assistant", answer)]
    if system.strip():
        turns.insert(0, ("system", system))
    return Example(row.file, row.line, messages=tuple(turns))


def _read_instances(row: RawRow, columns: tuple[str, ...]) -> list[Example]:
    instruction = text_of(row, columns[0])
    examples = []
    for item in items_of(row, columns[1]):
        inner = RawRow(item, row.file, row.line)
        answer = text_of(inner, "output")
        examples.append(_asked(row, instruction, optional_text(inner, _INPUTS), answer))
    return examples


def _read_messages(row: RawRow, columns: tuple[str, ...]) -> list[Example]:
    turns = conversation_of(row, columns[0])
    system = optional_text(row, _SYSTEMS)
    if system.strip() and turns[0][0] != "system":
        turns = (("system", system), *turns)
    return [Example(row.file, row.line, messages=turns)]
