"""What models are on this machine, fetching one ahead of its use, and removing one.

Sizes and names are read from the cache's documented layout (see `hfgen.models.hub.cache`), which
takes milliseconds; what is removed is worked out and removed by `huggingface_hub`'s own cache
functions.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from hfgen.errors import ModelDamaged, ModelNotFound, OutputError, UsageError
from hfgen.models.gguf.conversions import Conversion, find_conversion, remove
from hfgen.models.hub.cache import (
    Snapshot,
    cache_folder,
    cached_repos,
    find_snapshot,
    only_snapshot,
)
from hfgen.models.hub.retry import Progress
from hfgen.models.naming import catalogue
from hfgen.models.naming.aliases import find_alias
from hfgen.models.naming.names import hub_name
from hfgen.models.naming.packaged import packaged_model
from hfgen.models.naming.resolve import ResolvedModel, bundled_folder, resolve


@dataclass(frozen=True)
class CachedModel:
    """A repository of the Hub in the cache."""

    repo_id: str
    size_bytes: int
    """Space that it takes, unfinished downloads included."""
    commit: str | None
    path: Path | None
    """The folder to load from, at the reference `main` or else the newest commit."""
    problem: str | None
    """What is missing of it, in words."""


@dataclass(frozen=True)
class Pulled:
    """A model that is on this machine, whole and verified."""

    name: str
    repo_id: str | None
    commit: str | None
    path: Path
    size_bytes: int
    was_here: bool
    """Whether nothing had to be downloaded."""
    notices: tuple[str, ...] = ()


@dataclass(frozen=True)
class Removal:
    """What removing a model takes away; nothing is gone before `execute`."""

    repo_id: str
    """Or the name of a GGUF file, whose conversion goes."""
    size_bytes: int
    commits: tuple[str, ...]
    folder: Path
    execute: Callable[[], None]


def cached_models() -> list[CachedModel]:
    """Return the models in the Hub's cache, whole or not, by name."""
    return [_cached(repo_id) for repo_id in cached_repos()]


def pull(
    name: str,
    *,
    offline: bool = False,
    progress: Progress | None = None,
    watch: Callable[[str, int, int], None] | None = None,
) -> Pulled:
    """Fetch the newest version of a model, or find that it is here; its hashes are checked.

    A model in a Python package is here: pip checked it.
    Without the network a cached model is verified and stays as it is. Raises the errors of
    `hfgen.models.hub.client.download`, and `UsageError` for what cannot be fetched.
    """
    from hfgen.models.hub import client

    meant = find_alias(name) or name
    if (packaged := packaged_model(meant)) is not None:
        file = packaged[1]
        return Pulled(name, None, None, file, file.stat().st_size, True)
    target = hub_name(meant)
    if target is None:
        return _not_to_be_pulled(name, meant)
    repo_id, revision, entry = target
    announced = catalogue.stand_in_notice(entry) if entry else None
    notices = (announced,) if announced else ()
    before = find_snapshot(repo_id, revision)
    is_off = offline or client.is_offline()
    if is_off or not client.is_hub_reachable():
        if before is None or before.problem is not None:
            return _found(name, resolve(name, offline=is_off))  # as a rule an error, in its words
        _verify(before)
        why = "offline mode is on" if is_off else "the Hugging Face Hub cannot be reached"
        notices = (*notices, f"{why}: the copy that is here was checked, and not renewed")
        return _pulled(name, before, True, notices)
    found = client.download(repo_id, revision, progress, watch=watch, is_thorough=True)
    return _pulled(name, found, before == found, notices)


def plan_removal(name: str) -> Removal:
    """Find out what removing a model from the cache takes away.

    Of a GGUF file, one in a package included, it is the conversion.
    Raises `UsageError` for a model that is not the cache's,
    `ModelNotFound` for one that is not there.
    """
    meant = find_alias(name) or name
    packaged = packaged_model(meant)
    if packaged is not None and (converted := find_conversion(packaged[1].name)) is not None:
        return _removal_of_conversion(converted)
    target = hub_name(meant)
    if target is None:
        if (converted := find_conversion(meant)) is not None:
            return _removal_of_conversion(converted)
        _refuse_removal(name, meant)
        repo_ids, revision = [meant], None
    else:
        repo_id, revision, entry = target
        repo_ids = [repo_id, *(entry.legacy_ids if entry else ())]
    for repo_id in repo_ids:
        folder = cache_folder() / ("models--" + repo_id.replace("/", "--"))
        if folder.is_dir():
            return _removal(repo_id, folder, revision)
    if packaged is not None:
        package = packaged[0].package
        raise UsageError(
            f"{name} comes with the package {package}", hint=f"pip uninstall {package}"
        )
    near = catalogue.suggest(name, cached_repos())
    is_near = near in cached_repos()
    raise ModelNotFound(
        f"{name} is not in the cache ({cache_folder()})",
        hint=f"did you mean {near}?" if is_near else "hfgen models list shows what is",
    )


def _cached(repo_id: str) -> CachedModel:
    folder = cache_folder() / ("models--" + repo_id.replace("/", "--"))
    named = find_snapshot(repo_id) or only_snapshot(repo_id)
    snapshot = named or _newest(repo_id, folder)
    if snapshot is None:
        return CachedModel(repo_id, _size(folder), None, None, "the download is unfinished")
    problem = snapshot.problem
    if problem is None and named is None:
        problem = f"without a branch main: name its commit, {repo_id}@{snapshot.commit}"
    return CachedModel(repo_id, _size(folder), snapshot.commit, snapshot.path, problem)


def _newest(repo_id: str, folder: Path) -> Snapshot | None:
    try:
        commits = sorted(
            (folder / "snapshots").iterdir(), key=lambda path: path.stat().st_mtime, reverse=True
        )
    except OSError:
        return None
    found = [find_snapshot(repo_id, path.name) for path in commits]
    whole = [snapshot for snapshot in found if snapshot and snapshot.problem is None]
    return next(iter(whole or [snapshot for snapshot in found if snapshot]), None)


def _size(folder: Path) -> int:
    """Bytes of the files below a folder, each once; links are not followed."""
    total = 0
    for place, _, names in os.walk(folder):
        for name in names:
            path = Path(place, name)
            if not path.is_symlink():
                try:
                    total += path.stat().st_size
                except OSError:
                    continue
    return total


def _pulled(name: str, found: Snapshot, was_here: bool, notices: tuple[str, ...]) -> Pulled:
    size = sum(file.stat().st_size for file in found.path.iterdir() if file.is_file())
    return Pulled(name, found.repo_id, found.commit, found.path, size, was_here, notices)


def _found(name: str, found: ResolvedModel) -> Pulled:
    size = sum(file.stat().st_size for file in found.path.iterdir() if file.is_file())
    return Pulled(
        name, found.repo_id, found.revision, found.path, size, True, notices=found.notices
    )


def _not_to_be_pulled(name: str, meant: str) -> Pulled:
    found = resolve(meant, offline=True)  # or its error: no such folder, no such model, …
    if found.source == "bundled":
        return Pulled(name, None, None, bundled_folder(), _size(bundled_folder()), True)
    if found.repo_id is not None:
        return _found(name, found)
    raise UsageError(
        f"{name} is on this machine already, at {found.path}",
        hint="only models of the Hub are pulled: hfgen models pull org/name",
    )


def _verify(snapshot: Snapshot) -> None:
    """Check the hashes of a cached model, which name its blobs."""
    from hfgen.models.hub.transfer import is_intact

    for link in sorted(snapshot.path.iterdir()):
        blob = link.resolve()
        if blob.is_file() and blob != link and not is_intact(blob, blob.name):
            raise ModelDamaged(
                f"{link} is damaged (its contents do not have its hash)",
                hint=f"hfgen models pull {snapshot.repo_id} when the network is there",
            )


def _refuse_removal(name: str, meant: str) -> None:
    entry = catalogue.find(meant)
    if entry is not None:
        raise UsageError(
            f"{name} ships with hfgen and cannot be removed",
            hint="pip uninstall hfgen removes both",
        )
    if Path(meant).expanduser().exists():
        raise UsageError(
            f"{name} is a folder or file of your own, not the cache's",
            hint="delete it yourself if you are sure",
        )


def _removal_of_conversion(converted: Conversion) -> Removal:
    def execute() -> None:
        remove(converted)
        if converted.path.exists():
            raise OutputError(
                f"cannot remove all of {converted.path}", hint="check who may write there"
            )

    return Removal(converted.name, converted.size_bytes, (), converted.path, execute)


def _removal(repo_id: str, folder: Path, revision: str | None) -> Removal:
    from huggingface_hub import scan_cache_dir

    from hfgen.models.silence import quiet

    with quiet():
        scan = scan_cache_dir(cache_folder())
    repos = [r for r in scan.repos if r.repo_id == repo_id and r.repo_type == "model"]
    every = sorted(commit.commit_hash for repo in repos for commit in repo.revisions)
    commits = every
    if revision is not None:
        found = find_snapshot(repo_id, revision)
        if found is None:
            raise ModelNotFound(
                f"{repo_id}@{revision} is not in the cache", hint=f"hfgen models rm {repo_id}"
            )
        commits = [found.commit]
    strategy = scan.delete_revisions(*commits)
    is_all = commits == every
    size = _size(folder) if is_all else strategy.expected_freed_size

    def execute() -> None:
        with quiet():
            strategy.execute()
        if is_all and folder.is_dir():  # unfinished downloads, which the scan does not count
            shutil.rmtree(folder, ignore_errors=True)
        left = [commit for commit in commits if (folder / "snapshots" / commit).exists()]
        if left or (is_all and folder.exists()):
            raise OutputError(f"cannot remove all of {folder}", hint="check who may write there")

    return Removal(repo_id, size, tuple(commits), folder, execute)
