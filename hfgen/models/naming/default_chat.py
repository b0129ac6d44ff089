"""Which model a dialogue is held with where nobody named one: a chat model that is here."""

from __future__ import annotations

from collections.abc import Iterator

from hfgen.errors import ModelNotFound
from hfgen.models.hub.cache import Snapshot, find_snapshot, only_snapshot
from hfgen.models.naming import catalogue
from hfgen.models.naming.packaged import install_command, packaged_file

_PACKAGED, _SMALL = catalogue.CATALOGUE["smollm2"], catalogue.CATALOGUE["qwen3-0.6b"]


def default_chat_model(configured: str | None = None) -> str:
    """Return the name of the chat model to take where no flag names one.

    `configured` is the model of the user's settings, which counts if it is a chat model, here or
    not; whatever is wrong with it is raised. Then come a model in a Python package and those of the
    catalogue in the Hub's cache, the most recently fetched first. Nothing is loaded or fetched.
    Raises `ModelNotFound` where there is none.
    """
    if configured is not None and _is_chat(configured):
        return configured
    for entry in catalogue.CATALOGUE.values():
        if entry.kind == "dialogue" and packaged_file(entry) is not None:
            return entry.alias
    newest = max(_cached(), key=lambda found: found[0].path.stat().st_mtime, default=None)
    if newest is None:
        raise ModelNotFound(
            "there is no chat model on this machine",
            hint=f"{install_command(_PACKAGED)} (98 MB), or one of the Hub: -m {_SMALL.alias}",
        )
    return newest[1]


def _is_chat(name: str) -> bool:
    """Whether a model has a chat template, or is known to be made for dialogue."""
    from hfgen.models.sizing.info import describe

    facts = describe(name, offline=True)
    return bool(facts.has_template) or facts.kind == "dialogue"


def _cached() -> Iterator[tuple[Snapshot, str]]:
    """The catalogue's chat models that can be loaded, each with the name to load it by.

    A stand-in goes by its own name: nobody asked for the model it stands in for.
    """
    for entry in catalogue.CATALOGUE.values():
        for repo_id in filter(None, (entry.repo_id, *entry.legacy_ids)):
            found = find_snapshot(repo_id) or only_snapshot(repo_id)
            if entry.kind == "dialogue" and found is not None and found.problem is None:
                yield found, repo_id if entry.stands_in_for else entry.alias
                break
