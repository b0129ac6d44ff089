"""Models in the Hugging Face Hub's cache, found without the network and without waiting.

Reads the documented layout of the cache (https://huggingface.co/docs/huggingface_hub,
"Understand caching": `models--org--name/refs/REVISION` holds a commit, `snapshots/COMMIT/` the
files). Reading it directly takes a millisecond, where importing the download functions takes
0.2 s; only `huggingface_hub.constants` is imported, for the cache's place.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from hfgen.models.checkpoint.layout import missing_from

_COMMIT = re.compile(r"[0-9a-f]{40}", re.ASCII)


@dataclass(frozen=True)
class Snapshot:
    """A model of the Hub at one commit, on this machine."""

    path: Path
    repo_id: str
    commit: str
    problem: str | None
    """What is missing of it, in words; None when it can be used."""


def cache_folder() -> Path:
    """Return the folder of the Hub's cache (`HF_HUB_CACHE`, `HF_HOME`, or the default)."""
    from huggingface_hub import constants

    return Path(constants.HF_HUB_CACHE)


def find_snapshot(repo_id: str, revision: str | None = None) -> Snapshot | None:
    """Return the cached snapshot of a branch, tag or commit (default: `main`), if there is one."""
    repo = cache_folder() / ("models--" + repo_id.replace("/", "--"))
    commit = _commit_of(repo, revision or "main")
    return None if commit is None else _snapshot(repo, repo_id, commit)


def only_snapshot(repo_id: str) -> Snapshot | None:
    """Return the single snapshot of a repository in which no branch or tag is known.

    So lies here what was copied from another cache without its `refs`, or fetched by its commit.
    """
    repo = cache_folder() / ("models--" + repo_id.replace("/", "--"))
    try:
        commits = [path.name for path in (repo / "snapshots").iterdir()]
    except OSError:
        return None
    if len(commits) != 1 or any(path.is_file() for path in (repo / "refs").rglob("*")):
        return None
    return _snapshot(repo, repo_id, commits[0]) if is_commit(commits[0]) else None


def cached_repos() -> list[str]:
    """Return the ids of all models in the cache, whole or not."""
    try:
        names = sorted(item.name for item in cache_folder().iterdir())
    except OSError:
        return []
    return [
        name.removeprefix("models--").replace("--", "/", 1)
        for name in names
        if name.startswith("models--")
    ]


def usable_repos() -> list[str]:
    """Return the ids of the models in the cache that can be used as they are."""
    return [
        repo_id
        for repo_id in cached_repos()
        if (found := find_snapshot(repo_id) or only_snapshot(repo_id)) is not None
        if found.problem is None
    ]


def is_commit(revision: str) -> bool:
    """Whether a revision is a full commit hash."""
    return _COMMIT.fullmatch(revision) is not None


def _snapshot(repo: Path, repo_id: str, commit: str) -> Snapshot | None:
    path = repo / "snapshots" / commit
    return Snapshot(path, repo_id, commit, missing_from(path)) if path.is_dir() else None


def _commit_of(repo: Path, revision: str) -> str | None:
    if is_commit(revision):
        return revision
    try:
        commit = (repo / "refs" / revision).read_text("utf-8").strip()
    except (OSError, ValueError):
        return None
    return commit if _COMMIT.fullmatch(commit) else None
