"""`Shape`: how the rows of a run are read, and what the user is told about it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from hfgen.generation.prompts.row_template import RowTemplate
from hfgen.training.data.columns import (
    conversation_of,
    items_of,
    optional_text,
    quoted,
    text_of,
)
from hfgen.training.data.examples import Example
from hfgen.training.reading.rows import RawRow

INPUTS = ("input", "context")
SYSTEMS = ("system", "system_prompt")

Kind = Literal["text", "pair", "instruction", "instances", "conversation", "template"]
_Reader = Callable[[RawRow, tuple[str, ...]], list[Example]]

CHAT = "through the model's chat template"
_PLAIN_CHAT = "through a plain chat template, which is saved with the model"


@dataclass(frozen=True)
class Shape:
    """How the rows of a run are read."""

    kind: Kind
    columns: tuple[str, ...]
    """The columns that every row must have."""
    words: str
    """What is read, in words."""
    ways: tuple[str, str]
    """How it becomes the model's text: without a chat template of its own, and with one."""
    reader: Callable[[RawRow], list[Example]]
    unused: tuple[str, ...] = ()
    """Columns that are left out."""
    template: RowTemplate | None = None
    """What writes the rows, of kind `template`."""
    label: str | None = None
    """The column with the label, of a classification set."""
    advice: str = ""
    """What reads the rows otherwise."""

    @property
    def is_chat(self) -> bool:
        """Whether its examples are messages, which need a chat template."""
        return self.kind in ("instruction", "instances", "conversation")

    @property
    def form(self) -> str | None:
        """A prompt's form in the notation of `--template`, where a template writes it."""
        return None if self.template is None else self.template.prompt_form

    def described(self, *, has_template: bool) -> str:
        """One line for the user, for a model with or without a chat template of its own."""
        parts = [f"{self.words}, {self.ways[has_template]}"]
        if self.unused:
            parts.append(f"not used: {quoted(self.unused)}")
        return "; ".join([*parts, self.advice] if self.advice else parts)

    def read(self, row: RawRow) -> list[Example]:
        """The examples of a row, mostly one. Raises `DataError` for a row of another shape."""
        return self.reader(row)


def shape_of(kind: Kind, columns: tuple[str, ...]) -> Shape:
    """The shape of a kind that needs no template."""
    words, ways, read = _READERS[kind]
    filled = words.format(*(quoted([name]) for name in columns))
    return Shape(kind, columns, filled, ways, lambda row: read(row, columns))


def template_shape(template: RowTemplate) -> Shape:
    """Rows written by `--template`."""
    last = template.columns[-1]

    def read(row: RawRow) -> list[Example]:
        prompt, completion = template.fill(
            {
                name: text_of(row, name, may_be_empty=name != last, may_be_bool=True)
                for name in template.columns
            }
        )
        if not prompt:
            return [Example(row.place, text=completion)]
        return [Example(row.place, prompt=prompt, completion=completion)]

    words = f"rows written by the template, learned from {quoted([last])} on"
    ways = ("joined as they are", CHAT)
    if not template.prompt_form:
        words, ways = "rows written by the template, learned whole", _TEXT_WAYS
    return Shape("template", template.columns, words, ways, read, template=template)


def _read_text(row: RawRow, columns: tuple[str, ...]) -> list[Example]:
    return [Example(row.place, text=text_of(row, columns[0]))]


def _read_pair(row: RawRow, columns: tuple[str, ...]) -> list[Example]:
    prompt = text_of(row, columns[0], may_be_empty=True)
    completion = text_of(row, columns[1])
    return [Example(row.place, prompt=prompt, completion=completion)]


def _read_instruction(row: RawRow, columns: tuple[str, ...]) -> list[Example]:
    taken = [column for column in columns if column.casefold() in INPUTS]
    details = "" if taken else optional_text(row, INPUTS)
    system = optional_text(row, SYSTEMS)
    return [_asked(row, text_of(row, columns[0]), details, text_of(row, columns[1]), system)]


def _asked(row: RawRow, instruction: str, details: str, answer: str, system: str = "") -> Example:
    question = f"{instruction}\n\n{details}" if details.strip() else instruction
    turns = [("user", question), ("assistant", answer)]
    if system.strip():
        turns.insert(0, ("system", system))
    return Example(row.place, messages=tuple(turns))


def _read_instances(row: RawRow, columns: tuple[str, ...]) -> list[Example]:
    instruction = text_of(row, columns[0])
    examples = []
    for item in items_of(row, columns[1]):
        inner = RawRow(item, row.file, row.line, row.item)
        answer = text_of(inner, "output")
        examples.append(_asked(row, instruction, optional_text(inner, INPUTS), answer))
    return examples


def _read_messages(row: RawRow, columns: tuple[str, ...]) -> list[Example]:
    turns, unlearned = conversation_of(row, columns[0])
    system = optional_text(row, SYSTEMS)
    if system.strip() and turns[0][0] != "system":
        turns = (("system", system), *turns)
        unlearned = frozenset(place + 1 for place in unlearned)
    return [Example(row.place, messages=turns, unlearned=unlearned)]


_TEXT_WAYS = ("as they are", "as they are, without the model's chat template")
_READERS: dict[Kind, tuple[str, tuple[str, str], _Reader]] = {
    "text": ("texts in {}, learned whole", _TEXT_WAYS, _read_text),
    "pair": ("prompts in {}, completions in {}", ("joined as they are", CHAT), _read_pair),
    "instruction": ("instructions in {}, answers in {}", (_PLAIN_CHAT, CHAT), _read_instruction),
    "instances": ("instructions in {} with their {}", (_PLAIN_CHAT, CHAT), _read_instances),
    "conversation": (
        "conversations in {}, of which the assistant's turns are learned",
        (_PLAIN_CHAT, CHAT),
        _read_messages,
    ),
}
