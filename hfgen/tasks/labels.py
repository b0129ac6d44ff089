"""Labels, and the form in which a model is asked for one; imports no torch.

A form is a template with two placeholders, the text's and then the label's:

    Review: {text}\\nSentiment: {label}

What stands before the label is the prompt, the label is what is scored. Examples (few-shot) are
written by the same template and stand before the text, a blank line between them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import cast

from hfgen.errors import InvalidOption, UsageError
from hfgen.generation.prompts.row_template import RowTemplate
from hfgen.mentions import mention

DEFAULT_TEMPLATE = "{text}\\nLabel: {label}"
_ALLOWED = "a text with two placeholders, the label's last, as '{text}\\nLabel: {label}'"


@dataclass(frozen=True)
class Label:
    """One of the labels to choose from."""

    name: str
    """What results call it."""
    verbalizer: str = ""
    """What the model reads in its place; empty for the name."""
    description: str = ""
    """What it means; stands before everything else in the prompt."""

    @property
    def words(self) -> str:
        """What the model reads."""
        return self.verbalizer or self.name


@dataclass(frozen=True)
class Form:
    """How a model is asked for a label."""

    template: str = DEFAULT_TEMPLATE
    instruction: str = ""
    """Stands once, before examples and text."""
    is_chat: bool = False
    """Whether the prompt is a user's message, written by the model's chat template."""
    is_closed: bool = False
    """Whether the end of the answer is scored with the label, as a fine-tuned model learned it."""

    def __post_init__(self) -> None:
        if len(self.parsed.columns) != 2:
            raise InvalidOption("template", self.template, _ALLOWED)

    @property
    def parsed(self) -> RowTemplate:
        """The template; raises `InvalidOption` where it is none."""
        return RowTemplate(self.template)

    def fill(self, text: str, label: str) -> tuple[str, str]:
        """The prompt for a text, and the continuation that says a label."""
        template = self.parsed
        return template.fill(dict(zip(template.columns, (text, label), strict=True)))


@dataclass(frozen=True)
class Preset:
    """Labels and form of a common task."""

    labels: tuple[str, ...]
    template: str


PRESETS = {
    "sentiment": Preset(("negative", "positive"), "Review: {text}\\nSentiment: {label}"),
    "topic": Preset(
        ("world", "sports", "business", "technology"), "Article: {text}\\nTopic: {label}"
    ),
}


def read_labels(labels: Iterable[str | Label] | Mapping[str, str]) -> tuple[Label, ...]:
    """Labels from names, `Label`s or a mapping of names to what the model reads.

    Raises `UsageError` for fewer than two, and for two that are the same.
    """
    given: Iterable[str | Label] = labels
    if isinstance(labels, Mapping):
        given = [Label(str(name), words) for name, words in labels.items()]
    found = tuple(one if isinstance(one, Label) else Label(str(one).strip()) for one in given)
    if len(found) < 2 or not all(label.words.strip() and label.name for label in found):
        names = ", ".join(label.name for label in found) or "none"
        raise UsageError(
            f"classification needs two labels or more, not {names}", hint="labels are a,b,c"
        )
    _refuse_same([label.name for label in found], "label")
    _refuse_same([label.words for label in found], "verbalizer")
    return found


def find_labels(
    labels: Iterable[str | Label] | Mapping[str, str] | None,
    task: str | None,
    trained: Sequence[str] | None = None,
) -> tuple[Label, ...]:
    """The labels that are given, else the task's, else those that the model was trained on.

    Raises `UsageError` for an unknown task and where there are none.
    """
    if task is not None and task not in PRESETS:
        raise UsageError(
            f"{mention('task', task)}: there is no such task",
            hint=f"choose {' or '.join(PRESETS)}, or give {mention('labels')}",
        )
    if labels is not None:
        return read_labels(labels)
    if task is not None:
        return read_labels(PRESETS[task].labels)
    if trained:
        return read_labels(cast("Sequence[str | Label]", trained))
    raise UsageError(
        "no labels to choose from",
        hint=f"give {mention('labels', 'positive,negative')}, or a model that was fine-tuned on "
        "labelled rows",
    )


def descriptions(labels: Sequence[Label]) -> str:
    """What the labels mean, a line each; empty where none has a description."""
    described = [label for label in labels if label.description]
    return "\n".join(f"{label.words}: {label.description}" for label in described)


def _refuse_same(words: Sequence[str], what: str) -> None:
    for word in words:
        if words.count(word) > 1:
            raise UsageError(f"{what} {word!r} is given twice", hint="leave one of the two out")
