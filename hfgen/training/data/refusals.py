"""What `recognise` refuses because it would teach something else than the user thinks.

| rows | what would be learned |
| --- | --- |
| `chosen` and `rejected` | one of two answers, perhaps the wrong one |
| an answer and a judgement of it (`label` true or false) | the bad answers as well as the good |
| `choices`, or columns A to D, and the number or letter of one | a number, the choices unseen |
| a text beside a column that looks like its target | the text, without the target |
| a CSV file whose first line is a row | everything but that row |

Each error says what to type for what was probably meant. A user who names columns or gives a
template is never refused.
"""

from __future__ import annotations

import re
import shlex
from collections import Counter
from collections.abc import Sequence

from hfgen.errors import DataError
from hfgen.mentions import mention
from hfgen.training.data.columns import is_missing, quoted
from hfgen.training.data.labels import ABOUT, LABELS, holds_text, present_values
from hfgen.training.data.prompt_template import template_of
from hfgen.training.reading.rows import RawRow

_PREFERENCES = ("chosen", "rejected")
_CHOICES = ("choices", "options", "endings", "candidates")
_CHOICE = re.compile(r"(?:option|choice|op|opt|ending|sol)?[ _-]?(?:[a-e]|[0-5])", re.IGNORECASE)
_INDEX_NAMES = ("answer", "label", "gold", "target", "correct", "output", "answerkey", "answer_idx")
_INDEX = re.compile(r"-?[0-9]{1,2}|\(?[A-Ea-e][).]?")
_TARGETS = frozenset(
    (
        *LABELS, "completion", "response", "answer", "output", "answers", "summary", "highlights",
        "abstract", "translation", "entities", "tags", "ner_tags", "reply", "correction",
        "corrected", "rewrite", "paraphrase", "keywords", "rating", "stars", "reasoning",
    )
)  # fmt: skip
_NAME_CHARACTERS = 40
_NAME_WORDS = 4
_TELLING_ROWS = 8
"""From so many rows on, repeated values say that a column is a label's."""


def refuse_ambiguous_answers(sample: Sequence[RawRow], learned: Sequence[str]) -> None:
    """Raise `DataError` for rows with several answers of which one is meant.

    `learned` are the columns that would be read, the answer's last.
    """
    file = sample[0].file
    names = {name.casefold(): name for row in sample for name in row.values}
    if all(name in names for name in _PREFERENCES):
        chosen, rejected = (names[name] for name in _PREFERENCES)
        raise DataError(
            f"{file}: {quoted([chosen, rejected])} are answers to prefer and to avoid; "
            "finetune learns from single answers",
            hint=_chosen_hint(sample, names.get("prompt") or names.get("question"), chosen),
        )
    _refuse_choices(sample, names, learned)
    judged = names.get("label")
    if len(learned) == 2 and judged is not None and _are_judgements(sample, judged):
        raise DataError(
            f"{file}: {quoted([judged])} says which rows are good, and all of them would be "
            "learned",
            hint=f"keep the good rows only; to learn all: {_pair(*learned)}",
        )


def refuse_lost_target(sample: Sequence[RawRow], text: str) -> None:
    """Raise `DataError` where a text would be learned without what looks like its target."""
    sample = [row for row in sample if not is_missing(row.values.get(text))]
    others = list(dict.fromkeys(n for row in sample for n in row.values if n != text))
    lost = [name for name in others if _looks_like_target(sample, name)]
    if not lost:
        return
    alone = mention("text_column", text)
    readable = [name for name in lost if _is_readable(sample, name)]
    template = template_of([text], readable[0]) if readable else None
    if template is None:
        hint = f"to learn the text alone: {alone}; to learn {quoted(lost[:1])}, write it as text"
    else:
        hint = f"to learn {quoted(readable[:1])}: {mention('template', template)}"
        hint += f"; to learn the text alone: {alone}"
    raise DataError(
        f"{sample[0].file}: {quoted([text])} would be learned without {quoted(lost)}", hint=hint
    )


def refuse_missing_header(sample: Sequence[RawRow]) -> None:
    """Raise `DataError` for a table whose first line holds no names but the first row."""
    row = sample[0]
    names = list(row.values)
    if not row.is_table or not any(_looks_like_value(sample, name) for name in names):
        return
    separator = "\\t" if ".tsv" in row.file.casefold() else ","
    header = separator.join(("text", "label", *(f"column{n}" for n in range(3, 100)))[: len(names)])
    file = shlex.quote(row.file)
    raise DataError(
        f"{row.file}: the first line looks like a row, not like the names of columns",
        hint=f"put the names in front, for example: sed -i '1i {header}' {file}",
    )


def undecided(sample: Sequence[RawRow], found: Sequence[tuple[str, ...]]) -> DataError:
    """The error for columns that tell too little, or too much: with what to type."""
    columns = list(dict.fromkeys(name for row in sample for name in row.values))
    ways = [
        mention("text_column", names[0]) if len(names) == 1 else _pair(*names)
        for names in found[:3]
    ]
    what = "fit more than one reading" if found else "do not say what to learn"
    return DataError(
        f"{sample[0].file}: the columns {quoted(columns) or '(none)'} {what}",
        hint=", or ".join(ways or _guesses(sample, columns)),
    )


def _pair(prompt: str, completion: str) -> str:
    """The options that name two columns."""
    return f"{mention('prompt_column', prompt)} {mention('completion_column', completion)}"


def _guesses(sample: Sequence[RawRow], columns: Sequence[str]) -> list[str]:
    """What might be meant: of the columns that can be read, the one that looks like a target."""
    readable = [name for name in columns if _is_readable(sample, name)]
    telling = [name for name in readable if name.casefold() not in ABOUT] or readable
    if not telling:
        return [mention("text_column", "NAME"), mention("template", "{NAME}\\nAnswer: {NAME}")]
    if len(telling) == 1:
        return [mention("text_column", telling[0])]
    targets = [name for name in telling if _looks_like_target(sample, name)]
    target = (targets or telling)[-1]
    rest = [name for name in telling if name != target]
    template = template_of(rest[:3], target)
    ways = [mention("template", template)] if template else [_pair(rest[0], target)]
    return [*ways, mention("text_column", rest[0])]


def _chosen_hint(sample: Sequence[RawRow], prompt: str | None, chosen: str) -> str:
    if not holds_text(sample, chosen):
        file = shlex.quote(sample[0].file)
        return f"keep the good answers: jq -c '{{messages: .{chosen}}}' {file} > good.jsonl"
    if prompt is None or not holds_text(sample, prompt):
        return f"to learn the good answers: {mention('text_column', chosen)}"
    return f"to learn the good answers: {_pair(prompt, chosen)}"


def _refuse_choices(
    sample: Sequence[RawRow], names: dict[str, str], learned: Sequence[str]
) -> None:
    file = sample[0].file
    keys = [*learned[1:], *(names[n] for n in _INDEX_NAMES if n in names)]
    key = next((name for name in keys if _are_indices(sample, name)), None)
    if key is None:
        return
    what = f"{file}: {quoted([key])} is the number or letter of a choice"
    listed = next((names[name] for name in _CHOICES if name in names), None)
    if listed is not None and not holds_text(sample, listed):
        raise DataError(
            f"{what} in {quoted([listed])}, which the prompts would not show",
            hint=f"write the choice itself, of numbers by jq -c '.{key} = .{listed}[.{key}]' "
            f"{shlex.quote(file)} > new.jsonl",
        )
    lettered = [name for folded, name in names.items() if _CHOICE.fullmatch(folded)]
    question = next((names[n] for n in ("question", "query", "prompt") if n in names), None)
    if question is not None and len(lettered) > 1 and key not in lettered:
        shown = [f"{{{question}}}", *(f"{name}) {{{name}}}" for name in lettered)]
        template = "\\n".join([*shown, f"Answer: {{{key}}}"])
        raise DataError(
            f"{what}, and the choices {quoted(lettered)} would be left out",
            hint=mention("template", template),
        )


def _are_indices(sample: Sequence[RawRow], name: str) -> bool:
    values = present_values(sample, name)
    return bool(values) and all(
        not isinstance(value, bool | float)
        and isinstance(value, int | str)
        and _INDEX.fullmatch(str(value)) is not None
        for value in values
    )


def _are_judgements(sample: Sequence[RawRow], name: str) -> bool:
    values = {str(value).casefold() for value in present_values(sample, name)}
    return bool(values) and values <= {"true", "false", "0", "1", "good", "bad"}


def _looks_like_target(sample: Sequence[RawRow], name: str) -> bool:
    """Whether the name says it, or a few short values that come again and again."""
    if name.casefold() in ABOUT:
        return False
    values = present_values(sample, name)
    if name.casefold() in _TARGETS:
        return bool(values)
    short = [v for v in values if isinstance(v, str | int) and len(str(v)) <= _NAME_CHARACTERS]
    different = len(Counter(map(str, short)))
    return len(short) == len(values) >= _TELLING_ROWS and 1 < different <= len(values) // 2


def _is_readable(sample: Sequence[RawRow], name: str) -> bool:
    values = present_values(sample, name)
    return bool(values) and all(isinstance(value, str | int | float) for value in values)


def _looks_like_value(sample: Sequence[RawRow], name: str) -> bool:
    """Whether what should be a column's name is a sentence, a number, or one of its values."""
    is_long = len(name) > _NAME_CHARACTERS or len(name.split()) > _NAME_WORDS
    is_number = re.fullmatch(r"[-+]?[0-9]+(?:[.,][0-9]+)?", name) is not None
    return is_long or is_number or any(row.values.get(name) == name for row in sample)
