"""What went wrong with the Hub, in hfgen's words: errors of the library, of HTTP and the disk."""

from __future__ import annotations

import errno
from typing import Any

from hfgen.errors import HfgenError, HubRefused, HubUnreachable, ModelNotFound, OutputError
from hfgen.models.hub.cache import cache_folder
from hfgen.models.hub.retry import asked_wait
from hfgen.models.sizing.quantities import in_time

_DISK_FULL = (errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC))  # Windows has no quota error
_ANOTHER_FOLDER = "make room, or set HF_HOME to a folder on a larger disk"


def translate(error: Exception, repo_id: str, revision: str | None = None) -> HfgenError:
    """Return hfgen's error for one of huggingface_hub."""
    from huggingface_hub import errors
    from huggingface_hub.utils import httpx

    at = f"{repo_id}@{revision}" if revision else repo_id
    chain = list(_chain(error))
    for link in chain:
        if isinstance(link, errors.GatedRepoError):
            return HubRefused(
                f"{repo_id} is gated: its owner lets only approved users in",
                hint=f"ask for access at https://huggingface.co/{repo_id}, then set HF_TOKEN (or: "
                "hf auth login)",
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
            return _refused(at, link.response)
        if isinstance(link, errors.HFValidationError):
            return ModelNotFound(f"{at} is no valid Hub id", hint="write org/name")
    for link in chain:
        if isinstance(link, OSError) and link.errno in _DISK_FULL:
            return OutputError(
                f"no space left in {cache_folder()} for {repo_id}", hint=_ANOTHER_FOLDER
            )
        if isinstance(link, OSError) and link.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            return OutputError(
                f"cannot write to {cache_folder()}: {link.strerror}",
                hint="set HF_HOME to a folder that you may write to",
            )
    again = "check the network and run the command again; it resumes where it stopped"
    if any(isinstance(link, (TimeoutError, httpx.TimeoutException)) for link in chain):
        return HubUnreachable(f"the Hub stopped answering during the download of {at}", hint=again)
    return HubUnreachable(
        f"the download of {at} broke off: {type(chain[-1]).__name__}: {_first_line(chain[-1])}",
        hint=again,
    )


def no_room(repo_id: str, detail: str) -> OutputError:
    """Return the error of a full disk."""
    return OutputError(f"{repo_id} {detail} in {cache_folder()}", hint=_ANOTHER_FOLDER)


def _refused(at: str, response: Any) -> HfgenError:
    status = response.status_code
    wait_s = asked_wait(response.headers)
    if status == 401:
        reason, hint = "the Hub does not accept the token", "hf auth login (or unset HF_TOKEN)"
    elif status == 403:
        reason, hint = "the Hub forbids access", "hf auth login with a token that may read it"
    elif status == 404:
        return ModelNotFound(f"the Hub does not have {at}", hint="check the spelling")
    elif status == 429:
        reason = "the Hub asks to slow down"
        span = in_time(wait_s) if wait_s else "some minutes"
        hint = f"wait {span} and run it again; it resumes where it stopped (or: hf auth login)"
    else:
        reason = "the Hub has trouble of its own"
        hint = f"try again in {in_time(wait_s)}" if wait_s else "try again later"
    return HubRefused(f"cannot download {at}: {reason} (HTTP {status})", hint=hint)


def _chain(error: BaseException | None) -> Any:
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or ["no details"])[0]
