"""Downloads from the Hugging Face Hub: the needed files only, whole and verified, or an error.

This module chooses the files, checks the space, and lays each file into the Hub's cache in an order
that makes every interruption harmless: small files, weights, and last the reference by which a
branch or tag is found. A model that is being renewed stays usable as it was until the new one is
complete. `hfgen.models.hub.transfer` moves one file; `hfgen.models.hub.errors` has the words for
what can go wrong; `huggingface_hub` speaks with the server.
"""

from __future__ import annotations

import contextlib
import secrets
import shutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hfgen.errors import HfgenError, HubRefused, ModelDamaged, ModelUnsupported
from hfgen.models.checkpoint.layout import (
    ADAPTER_CONFIG,
    CONFIG,
    check_tokenizer_names,
    missing_from,
    needed_files,
)
from hfgen.models.checkpoint.weights import WEIGHT_FILES, read_json, shards_of
from hfgen.models.hub import probe
from hfgen.models.hub.cache import Snapshot, cache_folder, is_commit
from hfgen.models.hub.errors import no_room, translate
from hfgen.models.hub.retry import Progress, patiently
from hfgen.models.hub.transfer import (
    RemoteFile,
    fetch_blob,
    is_hash,
    is_intact,
    is_whole,
    link,
    partial_file,
)
from hfgen.models.silence import quiet
from hfgen.models.sizing.quantities import in_bytes

__all__ = ["Progress", "download", "is_hub_reachable", "is_offline", "look_up", "translate"]

Watch = Callable[[str, int, int], None]
"""Called with a file's name, the bytes of it that are there, and its size."""

LOOK_UP_TIMEOUT_S = 10.0

_LARGE_BYTES = 20_000_000
"""From this size on a file's download is reported by tenths."""


@dataclass(frozen=True)
class Listing:
    """What the Hub says about a repository at one commit."""

    repo_id: str
    commit: str
    files: dict[str, RemoteFile]
    licence: str | None = None
    parameters: int | None = None
    architecture: str | None = None


def is_offline() -> bool:
    """Tell whether `HF_HUB_OFFLINE` or `TRANSFORMERS_OFFLINE` forbids the network."""
    from huggingface_hub import constants

    return bool(constants.is_offline_mode())


def is_hub_reachable() -> bool:
    """Tell whether the Hub (`HF_ENDPOINT`) answers, in less than three seconds."""
    from huggingface_hub import constants

    return probe.is_reachable(constants.ENDPOINT)


def download(
    repo_id: str,
    revision: str | None = None,
    progress: Progress | None = None,
    *,
    watch: Watch | None = None,
    is_thorough: bool = False,
) -> Snapshot:
    """Download what is needed of a repository into the Hub's cache, and return the snapshot.

    Files that are there already are not fetched again; `is_thorough` has their hashes checked, and
    damaged ones replaced. Raises `ModelNotFound`, `ModelUnsupported` (nothing in it that hfgen can
    run), `ModelDamaged`, `HubRefused`, `HubUnreachable` or `OutputError`.
    """
    say = progress or (lambda line: None)

    def run() -> Snapshot:
        listing = _listing(repo_id, revision, say)
        return _Download(listing, revision, say, watch or _Tenths(repo_id, say), is_thorough).run()

    found: Snapshot = _translated(run, repo_id, revision)
    return found


def look_up(repo_id: str, revision: str | None = None, progress: Progress | None = None) -> Listing:
    """Ask the Hub about a repository, downloading nothing."""
    say = progress or (lambda line: None)
    found: Listing = _translated(lambda: _listing(repo_id, revision, say), repo_id, revision)
    return found


def _translated(run: Callable[[], Any], repo_id: str, revision: str | None) -> Any:
    import huggingface_hub.utils  # sets its log level when it is imported

    with quiet():
        try:
            return run()
        except HfgenError:
            raise
        except (OSError, huggingface_hub.utils.httpx.HTTPError, ValueError) as error:
            raise translate(error, repo_id, revision) from error


def _listing(repo_id: str, revision: str | None, progress: Progress) -> Listing:
    from huggingface_hub import HfApi, constants, hf_hub_url

    api = HfApi(endpoint=constants.ENDPOINT)
    info = patiently(
        lambda: api.model_info(
            repo_id, revision=revision, files_metadata=True, timeout=LOOK_UP_TIMEOUT_S
        ),
        progress,
    )
    files = {}
    for item in info.siblings or ():
        name, size = item.rfilename, item.size
        etag = item.lfs.sha256 if item.lfs else item.blob_id
        # Nothing that hfgen needs lies in a folder; a name is never a path elsewhere.
        if "/" in name or "\\" in name or size is None or not is_hash(etag or ""):
            continue
        url = hf_hub_url(repo_id, name, revision=info.sha, endpoint=constants.ENDPOINT)
        files[name] = RemoteFile(name, size, etag, url)
    if not is_commit(info.sha or "") or (info.siblings and not files):
        raise HubRefused(
            f"{constants.ENDPOINT} does not tell commits, sizes and hashes of files",
            hint="set HF_ENDPOINT to the Hub itself, or to a mirror of all of its API",
        )
    licence = getattr(info.card_data, "license", None)
    weights = getattr(info, "safetensors", None)
    return Listing(
        repo_id, info.sha, files,
        licence=", ".join(licence) if isinstance(licence, list) else licence,
        parameters=getattr(weights, "total", None),
        architecture=(info.config or {}).get("model_type"),
    )  # fmt: skip


@dataclass(frozen=True)
class _Download:
    listing: Listing
    revision: str | None
    progress: Progress
    watch: Watch
    is_thorough: bool

    @property
    def _repo(self) -> Path:
        return cache_folder() / ("models--" + self.listing.repo_id.replace("/", "--"))

    @property
    def _folder(self) -> Path:
        return self._repo / "snapshots" / self.listing.commit

    def run(self) -> Snapshot:
        """Fetch everything, the weights last, then the reference."""
        repo_id, files = self.listing.repo_id, self.listing.files
        _check_contents(repo_id, files)
        *small, last = needed_files(files)
        self._fetch(small)
        if "auto_map" in read_json(self._folder / CONFIG):
            # The code is data until somebody says --trust-remote-code.
            self._fetch(sorted(name for name in files if name.endswith(".py")))
        weights = [last]
        if last.endswith(".index.json"):
            self._fetch([last])
            weights = list(shards_of(self._folder / last))
        if absent := [name for name in weights if name not in files]:
            raise ModelDamaged(
                f"{repo_id} on the Hub lacks {absent[0]}, which its index lists",
                hint="name another revision, or another repository",
            )
        if missing := self._missing(weights):
            self.progress(f"downloading {repo_id} ({in_bytes(missing)})")
        self._fetch(weights)
        if problem := missing_from(self._folder):
            raise ModelDamaged(f"{repo_id} on the Hub is damaged: {problem}")
        if not is_commit(self.revision or ""):
            self._refer()
        return Snapshot(self._folder, repo_id, self.listing.commit, None)

    def _fetch(self, names: Iterable[str]) -> None:
        from huggingface_hub.utils import build_hf_headers

        names = list(names)
        self._discard_damaged(names)
        self._check_space(self._missing(names))
        headers = build_hf_headers(library_name="hfgen")
        locks = cache_folder() / ".locks" / self._repo.name
        for name in names:
            file = self.listing.files[name]
            pointer, blob = self._folder / name, self._repo / "blobs" / file.etag
            if is_whole(pointer, file.size):
                continue
            if not is_whole(blob, file.size):
                fetch_blob(
                    file, blob, locks / f"{file.etag}.lock",
                    headers=headers,
                    progress=self.progress,
                    on_bytes=lambda count, file=file: self.watch(file.name, count, file.size),  # type: ignore[misc]
                )  # fmt: skip
            link(blob, pointer)

    def _discard_damaged(self, names: Iterable[str]) -> None:
        if not self.is_thorough:
            return
        for name in names:
            file = self.listing.files[name]
            for path in (self._folder / name, self._repo / "blobs" / file.etag):
                if is_whole(path, file.size) and not is_intact(path, file.etag):
                    self.progress(f"the cached {name} is damaged: fetching it again")
                    path.resolve().unlink()

    def _missing(self, names: Iterable[str]) -> int:
        """Bytes that are still to come."""
        missing = 0
        for file in (self.listing.files[name] for name in names):
            blob = self._repo / "blobs" / file.etag
            if is_whole(self._folder / file.name, file.size) or is_whole(blob, file.size):
                continue
            with contextlib.suppress(OSError):
                missing -= min(file.size, partial_file(blob).stat().st_size)
            missing += file.size
        return missing

    def _check_space(self, needed: int) -> None:
        folder = self._repo
        while not folder.exists():
            folder = folder.parent
        if needed > (free := shutil.disk_usage(folder).free):
            raise no_room(
                self.listing.repo_id,
                f"needs {in_bytes(needed)}, but only {in_bytes(free)} are left",
            )

    def _refer(self) -> None:
        """Have the branch or tag mean this commit, in one step."""
        ref = self._repo / "refs" / (self.revision or "main")
        ref.parent.mkdir(parents=True, exist_ok=True)
        aside = ref.with_name(f".{ref.name}.{secrets.token_hex(8)}.new")
        aside.write_text(self.listing.commit, encoding="utf-8")
        aside.replace(ref)


def _check_contents(repo_id: str, names: Any) -> None:
    """Refuse a repository before any byte of it is downloaded."""
    if CONFIG in names and any(name in names for name in WEIGHT_FILES):
        check_tokenizer_names(names, f"{repo_id} on the Hub")
        return
    if ADAPTER_CONFIG in names:
        reason, hint = "is an adapter", "name its base model"
    elif any(name.endswith(".gguf") for name in names):
        reason, hint = "holds GGUF files only", "name the same model in safetensors format"
    elif CONFIG not in names:
        reason, hint = f"has no {CONFIG}", "name a repository with a Transformers model"
    else:
        reason, hint = "has no safetensors or PyTorch weights", "name another repository"
    raise ModelUnsupported(f"{repo_id} on the Hub {reason}", hint=hint)


class _Tenths:
    """Reports large files as lines, one for each tenth."""

    def __init__(self, repo_id: str, progress: Progress) -> None:
        self._repo_id, self._progress = repo_id, progress
        self._said: dict[str, int] = {}

    def __call__(self, name: str, count: int, size: int) -> None:
        tenth = int(10 * count / size) if size >= _LARGE_BYTES else 0
        if 0 < tenth < 10 and tenth > self._said.get(name, 0):
            self._said[name] = tenth
            what = self._repo_id if name in WEIGHT_FILES else f"{self._repo_id} {name}"
            self._progress(f"downloading {what}: {10 * tenth} % of {in_bytes(size)}")
