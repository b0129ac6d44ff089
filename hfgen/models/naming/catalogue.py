"""The catalogue: short names of models and the Hugging Face repositories they stand for.

Owns the aliases and nothing else; standard library only, so that help pages and suggestions cost
nothing. The facts are in `hfgen.models.naming.catalogue_entries`.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable

from hfgen.models.naming.catalogue_entries import ENTRIES, Entry

__all__ = [
    "BUNDLED_ALIAS",
    "CATALOGUE",
    "DEFAULT_ALIAS",
    "Entry",
    "entry_of",
    "find",
    "stand_in_notice",
    "suggest",
]

DEFAULT_ALIAS = "gpt2"
"""Used when nobody named a model."""

BUNDLED_ALIAS = "storyteller"
"""The model that ships inside the package."""

_OTHER_SPELLINGS = {"smollm2-135m": "smollm2"}

CATALOGUE: dict[str, Entry] = {entry.alias: entry for entry in ENTRIES}


def find(name: str) -> Entry | None:
    """Return the entry of that alias, also written otherwise: `GPT2`, `gpt-2-xl`."""
    if name in CATALOGUE:
        return CATALOGUE[name]
    name = re.sub(r"^gpt-(?=[0-9])", "gpt", name.casefold())
    return CATALOGUE.get(_OTHER_SPELLINGS.get(name, name))


def entry_of(repo_id: str) -> Entry | None:
    """Return the entry of a repository on the Hub, under its present or an earlier id."""
    for entry in ENTRIES:
        if repo_id == entry.repo_id or repo_id in entry.legacy_ids:
            return entry
    return None


def stand_in_notice(entry: Entry) -> str | None:
    """Return the line that announces a stand-in; None for a model that is what it is called."""
    if entry.stands_in_for is None:
        return None
    return f"{entry.alias}'s weights are not public: using {entry.repo_id} in its place"


def suggest(name: str, others: Iterable[str] = ()) -> str | None:
    """Return the alias, or the name among `others`, that is nearest to a wrong `name`."""
    candidates = {candidate.lower(): candidate for candidate in (*CATALOGUE, *others)}
    near = difflib.get_close_matches(name.lower(), candidates, n=1)
    return candidates[near[0]] if near else None
