"""Extraction tasks that come with a schema, an instruction and examples."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from hfgen.generation.constraints.schemas import object_of

_TEXT = {"type": "string"}
_TEXTS = {"type": "array", "items": _TEXT}


@dataclass(frozen=True)
class Example:
    """A text and what should come of it."""

    text: str
    result: Any


@dataclass(frozen=True)
class Task:
    """What to ask for, and how."""

    instruction: str
    schema: dict[str, Any]
    examples: tuple[Example, ...] = ()
    is_grounded: bool = field(default=True)
    """Whether the strings of an answer are quoted from the text."""


def entities_task(kinds: Sequence[str]) -> Task:
    """Lists of the names of each kind."""
    listed = ", ".join(kinds)
    return Task(
        f"List what the text names, by kind ({listed}), word for word; an empty list where there "
        "is none.",
        object_of(dict.fromkeys(kinds, _TEXTS)),
    )


def _frame(predicate: str, agent: str, patient: str, place: str, time: str) -> dict[str, str]:
    return {
        "predicate": predicate, "agent": agent, "patient": patient, "place": place, "time": time,
    }  # fmt: skip


def _arcs(text: str) -> list[dict[str, str]]:
    triples = [part.split("/") for part in text.split()]
    return [{"word": word, "relation": name, "head": head} for word, name, head in triples]


_NAMED = entities_task(("PERSON", "PLACE", "ORGANIZATION", "DATE"))
TASKS = {
    "entities": Task(
        _NAMED.instruction,
        _NAMED.schema,
        (
            Example(
                "Ada Lovelace met Charles Babbage in London in 1833.",
                {"PERSON": ["Ada Lovelace", "Charles Babbage"], "PLACE": ["London"],
                 "ORGANIZATION": [], "DATE": ["1833"]},
            ),
            Example(
                "The Red Cross opened an office in Geneva.",
                {"PERSON": [], "PLACE": ["Geneva"], "ORGANIZATION": ["Red Cross"], "DATE": []},
            ),
        ),
    ),
    "roles": Task(
        "For each verb of the text say who does what to whom, where and when, word for word; "
        "empty where the text does not say.",
        {"type": "array", "items": object_of(
            dict.fromkeys(("predicate", "agent", "patient", "place", "time"), _TEXT)
        )},
        (
            Example(
                "Yesterday the boy ate an apple in the garden.",
                [_frame("ate", "the boy", "an apple", "in the garden", "Yesterday")],
            ),
            Example(
                "Maria sold her car and Tom bought it.",
                [_frame("sold", "Maria", "her car", "", ""), _frame("bought", "Tom", "it", "", "")],
            ),
        ),
    ),
    "dependencies": Task(
        "For each word of the text name its relation and its head, the word that it depends on; "
        "the head of the root is empty.",
        {"type": "array", "items": object_of(
            {"word": _TEXT, "relation": {"enum": [
                "root", "nsubj", "obj", "iobj", "det", "amod", "advmod", "nmod", "obl", "case",
                "aux", "cop", "conj", "cc", "mark", "compound", "nummod", "xcomp", "ccomp",
                "advcl", "acl", "punct", "other",
            ]}, "head": _TEXT}
        )},
        (
            Example("The dog sleeps", _arcs("The/det/dog dog/nsubj/sleeps sleeps/root/")),
            Example(
                "She reads old books",
                _arcs("She/nsubj/reads reads/root/ old/amod/books books/obj/reads"),
            ),
        ),
    ),
}  # fmt: skip
