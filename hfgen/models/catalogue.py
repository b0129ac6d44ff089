"""The catalogue: short names of models and the Hugging Face repositories they stand for.

Owns the aliases and nothing else; standard library only, so that help pages and suggestions cost
nothing.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass

DEFAULT_ALIAS = "gpt2"
"""Used when nobody named a model."""

BUNDLED_ALIAS = "storyteller"
"""The model that ships inside the package."""


@dataclass(frozen=True)
class Entry:
    """One model of the catalogue."""

    alias: str
    repo_id: str | None
    """Repository on the Hugging Face Hub; None for a bundled model."""
    summary: str
    legacy_ids: tuple[str, ...] = ()
    """Earlier ids of the repository, under which a cache may still hold it."""

    @property
    def is_bundled(self) -> bool:
        """Whether the model ships inside the package."""
        return self.repo_id is None


CATALOGUE: dict[str, Entry] = {
    entry.alias: entry
    for entry in (
        Entry("gpt2", "openai-community/gpt2", "GPT-2, 124M parameters", ("gpt2",)),
        Entry(
            "gpt2-medium",
            "openai-community/gpt2-medium",
            "GPT-2, 355M parameters",
            ("gpt2-medium",),
        ),
        Entry(
            "gpt2-large", "openai-community/gpt2-large", "GPT-2, 774M parameters", ("gpt2-large",)
        ),
        Entry("gpt2-xl", "openai-community/gpt2-xl", "GPT-2, 1.5B parameters", ("gpt2-xl",)),
        Entry(
            "distilgpt2",
            "distilbert/distilgpt2",
            "distilled GPT-2, 82M parameters",
            ("distilgpt2",),
        ),
        Entry("storyteller", None, "small GPT-2 trained on old children's books, bundled"),
    )
}


def find(name: str) -> Entry | None:
    """Return the entry of that alias."""
    return CATALOGUE.get(name)


def suggest(name: str, others: Iterable[str] = ()) -> str | None:
    """Return the alias, or the name among `others`, that is nearest to a wrong `name`."""
    candidates = {candidate.lower(): candidate for candidate in (*CATALOGUE, *others)}
    near = difflib.get_close_matches(name.lower(), candidates, n=1)
    return candidates[near[0]] if near else None
