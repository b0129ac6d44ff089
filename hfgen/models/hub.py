"""Downloads from the Hugging Face Hub: the needed files only, and errors that say what to do.

`huggingface_hub` does the transfer (resuming, locking, checking, renaming into place); this module
chooses the files, keeps it silent, reports progress as single lines and translates its exceptions
into hfgen's.
"""

from __future__ import annotations

import errno
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from hfgen.errors import (
    HfgenError,
    HubRefused,
    HubUnreachable,
    ModelNotFound,
    ModelUnsupported,
    OutputError,
)
from hfgen.models import reach
from hfgen.models.cache import Snapshot, cache_folder
from hfgen.models.folder import (
    ADAPTER_CONFIG,
    CONFIG,
    check_tokenizer_names,
    missing_from,
    needed_files,
)
from hfgen.models.quiet import quiet
from hfgen.models.weights import WEIGHT_FILES, read_json, shards_of

Progress = Callable[[str], None]

_LARGE_BYTES = 20_000_000
"""From this size on a file's download is reported by tenths."""

_DISK_FULL = (errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC))  # Windows has no quota error


def is_offline() -> bool:
    """Tell whether `HF_HUB_OFFLINE` or `TRANSFORMERS_OFFLINE` forbids the network."""
    from huggingface_hub import constants

    return bool(constants.is_offline_mode())


def is_hub_reachable() -> bool:
    """Tell whether the Hub (`HF_ENDPOINT`) answers, in less than three seconds."""
    from huggingface_hub import constants

    return reach.is_reachable(constants.ENDPOINT)


def download(
    repo_id: str, revision: str | None = None, progress: Progress | None = None
) -> Snapshot:
    """Download what is needed of a repository into the Hub's cache, and return the snapshot.

    Files that are there already are not fetched again. Raises `ModelNotFound`, `ModelUnsupported`
    (nothing in it that hfgen can run), `HubRefused`, `HubUnreachable` or `OutputError`.
    """
    import huggingface_hub

    with quiet():
        try:
            return _download(huggingface_hub, repo_id, revision, progress or (lambda line: None))
        except HfgenError:
            raise
        except Exception as error:
            raise translate(error, repo_id, revision) from error


def _download(hub: Any, repo_id: str, revision: str | None, progress: Progress) -> Snapshot:
    endpoint = hub.constants.ENDPOINT
    api = hub.HfApi(endpoint=endpoint)
    pinned = api.resolve_revision(repo_id, revision=revision, cache_dir=cache_folder())
    listing = api.list_repo_tree(repo_id, revision=pinned.resolved, recursive=False)
    sizes = {item.path: item.size for item in listing if isinstance(item, hub.hf_api.RepoFile)}
    _check_contents(repo_id, sizes)

    def fetch(name: str, report: Progress | None = None) -> Path:
        path = hub.hf_hub_download(
            repo_id,
            name,
            revision=pinned,
            cache_dir=cache_folder(),
            endpoint=endpoint,
            tqdm_class=partial(_Meter, report, set()),
        )
        return Path(path)

    *small, last = needed_files(sizes)
    for name in small:
        path = fetch(name)
        if name == CONFIG and "auto_map" in read_json(path):
            # The code is data until somebody says --trust-remote-code.
            for code in sorted(name for name in sizes if name.endswith(".py")):
                fetch(code)
    shards = list(shards_of(fetch(last))) if last.endswith(".index.json") else [last]
    folder = path.parent
    needed = sum(sizes.get(name, 0) for name in shards if not (folder / name).exists())
    _check_space(repo_id, needed, folder)
    progress(f"downloading {repo_id} ({_megabytes(needed)})")
    for number, name in enumerate(shards, 1):
        what = f"{repo_id} file {number} of {len(shards)}" if len(shards) > 1 else repo_id
        fetch(name, partial(_report, progress, what))
    return Snapshot(folder, repo_id, pinned.resolved, missing_from(folder))


def _report(progress: Progress, what: str, line: str) -> None:
    progress(f"downloading {what}: {line}")


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


def _check_space(repo_id: str, needed: int, folder: Path) -> None:
    if needed > (free := shutil.disk_usage(folder).free):
        raise OutputError(
            f"{repo_id} needs {_megabytes(needed)}, but only {_megabytes(free)} are left in "
            f"{cache_folder()}",
            hint="make room, or set HF_HOME to a folder on a larger disk",
        )


def _megabytes(count: float) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.1f} MB"


class _Meter:
    """Takes the place of a progress bar: reports every tenth of a large file, shows nothing."""

    def __init__(self, report: Progress | None, said: set[int], **kwargs: Any) -> None:
        self.total: float | None = kwargs.get("total")
        self.n: float = kwargs.get("initial") or 0
        self.format_dict: dict[str, Any] = {}
        self._report = report
        # Shared by the meters of one file: there may be one for the network and one for the disk.
        self._said = said

    def update(self, n: float | None = 1) -> None:
        """Count bytes."""
        self.n += n or 0
        if self._report is None or not self.total or self.total < _LARGE_BYTES:
            return
        tenth = int(10 * self.n / self.total)
        if 0 < tenth < 10 and tenth > max(self._said, default=0):
            self._said.add(tenth)
            self._report(f"{10 * tenth} % of {_megabytes(self.total)}")

    def __enter__(self) -> _Meter:
        return self

    def __exit__(self, *exception: object) -> None:
        return None

    def __getattr__(self, name: str) -> Callable[..., None]:
        # What else a bar can do (descriptions, postfixes, refreshing) concerns its looks.
        return lambda *args, **kwargs: None


def translate(error: Exception, repo_id: str, revision: str | None = None) -> HfgenError:
    """Return hfgen's error for one of huggingface_hub."""
    from huggingface_hub import errors

    at = f"{repo_id}@{revision}" if revision else repo_id
    chain = list(_chain(error))
    for link in chain:
        if isinstance(link, errors.GatedRepoError):
            return HubRefused(
                f"{repo_id} is gated: its owner lets only approved users in",
                hint=f"ask for access at https://huggingface.co/{repo_id}, then: hf auth login",
            )
        if isinstance(link, errors.RevisionNotFoundError):
            return ModelNotFound(
                f"{repo_id} on the Hub has no revision {revision!r}",
                hint=f"name a branch, a tag or a full commit hash, or write -m {repo_id}",
            )
        if isinstance(link, errors.RepositoryNotFoundError):
            return ModelNotFound(
                f"there is no model {repo_id} on the Hub that you may read",
                hint="check the spelling; for a private model: hf auth login",
            )
        if isinstance(link, errors.HfHubHTTPError) and link.response is not None:
            return _refused(at, link.response.status_code)
        if isinstance(link, errors.HFValidationError):
            return ModelNotFound(f"{at} is no valid Hub id", hint="write org/name")
    for link in chain:
        if isinstance(link, OSError) and link.errno in _DISK_FULL:
            return OutputError(
                f"no space left in {cache_folder()} for {repo_id}",
                hint="make room, or set HF_HOME to a folder on a larger disk",
            )
        if isinstance(link, OSError) and link.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            return OutputError(
                f"cannot write to {cache_folder()}: {link.strerror}",
                hint="set HF_HOME to a folder that you may write to",
            )
    return HubUnreachable(
        f"the download of {at} broke off: {type(chain[-1]).__name__}: {_first_line(chain[-1])}",
        hint="check the network and run the command again; it goes on where it stopped",
    )


def _refused(at: str, status: int) -> HfgenError:
    if status == 401:
        reason, hint = "the Hub does not accept the token", "hf auth login (or unset HF_TOKEN)"
    elif status == 403:
        reason, hint = "the Hub forbids access", "hf auth login with a token that may read it"
    elif status == 404:
        return ModelNotFound(f"the Hub does not have {at}", hint="check the spelling")
    elif status == 429:
        reason, hint = "the Hub asks to slow down", "wait some minutes, or: hf auth login"
    else:
        reason, hint = "the Hub has trouble of its own", "try again later"
    return HubRefused(f"cannot download {at}: {reason} (HTTP {status})", hint=hint)


def _chain(error: BaseException | None) -> Any:
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or ["no details"])[0]
