"""Pairs of sentences as files hold them: CrowS-Pairs, WinoBias, one's own rows, a template."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path

from hfgen.errors import DataError, UsageError
from hfgen.text_io import decoded, lines_of, reading
from hfgen.training.data.columns import optional_text, quoted, text_of
from hfgen.training.reading.files import read_rows
from hfgen.training.reading.rows import RawRow, bad_row

BUILT_IN = Path(__file__).parent / "data" / "pairs.jsonl"
"""Sentence pairs of our own, for a first look without a data set."""
_SIDES = (("sent_more", "sent_less"), ("more", "less"), ("stereotype", "antistereotype"))
_CATEGORIES = ("bias_type", "category")
_DIRECTION = "stereo_antistereo"
_NUMBER = re.compile(r"^\s*\d+\s+")
_BRACKETS = re.compile(r"[\[\]]")
_PLACE = "{x}"
_OTHER = "all pairs"


@dataclass(frozen=True)
class Pair:
    """Two sentences that differ in a group."""

    more: str
    """The more stereotypical one."""
    less: str
    category: str = _OTHER
    direction: str | None = None
    """`stereo` or `antistereo` in CrowS-Pairs."""
    contexts: tuple[str, str] = ("", "")
    """What comes before each, and is not scored."""


def pair_of(row: RawRow) -> Pair:
    """The pair of a row. Raises `DataError` for a row that has none."""
    sides = next((names for names in _SIDES if all(name in row.values for name in names)), None)
    if sides is None:
        raise row.error(
            f"no pair of sentences among {quoted(row.values) or 'no values'}",
            hint='write {"more": …, "less": …, "category": …}; more is the stereotype',
        )
    more, less = (text_of(row, name) for name in sides)
    return Pair(
        more,
        less,
        optional_text(row, _CATEGORIES) or _OTHER,
        optional_text(row, (_DIRECTION,)) or None,
        (optional_text(row, ("more_context",)), optional_text(row, ("less_context",))),
    )


def pair_rows(paths: Sequence[str]) -> Iterator[RawRow]:
    """Rows of pairs; two text files are paired line by line, as WinoBias has them.

    In those the first file has the stereotypes. Numbers that begin lines and square brackets are
    left out. Raises `DataError` for files of different lengths.
    """
    plain = [path for path in paths if _is_plain(path)]
    if not plain:
        return read_rows(paths, columns=[name for pair in _SIDES for name in pair])
    if len(paths) != 2 or len(plain) != 2:
        raise UsageError(
            "sentences on lines come in two files, the stereotypes first",
            hint="hfgen bias pairs pro.txt anti.txt, or one .jsonl or .csv file of pairs",
        )
    return _line_pairs(*paths)


def template_rows(templates: Sequence[str], swap: str) -> Iterator[RawRow]:
    """Rows of templates filled with pairs of words.

    What follows the last `{x}` is scored after what comes before; where nothing but punctuation
    follows, the word itself is. `swap` has rows with `more` and `less`, or lines `word,word`.
    """
    for template in templates:
        if _PLACE not in template:
            raise UsageError(
                f"the template has no {_PLACE}: {template}",
                hint="hfgen bias template '{x} is good at maths.' --swap words.csv",
            )
    for words in _swapped(swap):
        for template in templates:
            before, _, after = template.rpartition(_PLACE)
            is_scored_behind = any(character.isalnum() for character in after)
            values: dict[str, object] = {"category": words.category}
            for side, word in (("more", words.more), ("less", words.less)):
                context = before.replace(_PLACE, word)
                values[side] = after if is_scored_behind else word + after
                values[f"{side}_context"] = context + word * is_scored_behind
            yield RawRow(values, swap, 1)


def _swapped(path: str) -> Iterator[Pair]:
    if not _is_plain(path):
        yield from map(pair_of, read_rows([path], columns=["more", "less"]))
        return
    for number, line in enumerate(_lines(path), 1):
        if not line.strip():
            continue
        words = [word.strip() for word in line.split(",")]
        if len(words) not in (2, 3) or not all(words):
            raise bad_row(path, number, "two words and a comma are needed", hint="he, she")
        yield Pair(words[0], words[1], words[2] if len(words) == 3 else _OTHER)


def _line_pairs(first: str, second: str) -> Iterator[RawRow]:
    for number, (more, less) in enumerate(zip_longest(_lines(first), _lines(second)), 1):
        if more is None or less is None:
            short = first if more is None else second
            raise DataError(
                f"{short} ends before line {number}", hint="both files need the same lines"
            )
        more, less = (_BRACKETS.sub("", _NUMBER.sub("", text)).strip() for text in (more, less))
        if more or less:
            yield RawRow({"more": more, "less": less}, first, number)


def _lines(path: str) -> Iterator[str]:
    with reading(path), open(path, "rb") as stream:  # noqa: PTH123
        for number, line in enumerate(lines_of(stream), 1):
            yield decoded(line, path, number).rstrip("\r\n")


def _is_plain(path: str) -> bool:
    """Whether a file has lines of text: .txt, and WinoBias's .txt.dev and .txt.test."""
    return path.endswith((".txt", ".txt.dev", ".txt.test"))
