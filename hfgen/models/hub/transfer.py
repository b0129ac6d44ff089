"""One file of the Hub into its cache: resumed, verified, and only then given its name.

The cache's layout is documented (https://huggingface.co/docs/huggingface_hub, "Understand
caching"): contents lie in `blobs/`, each named by its hash, and `snapshots/COMMIT/NAME` links to
them. A file is collected in `blobs/HASH.hfgen.incomplete`, which every run continues where the
last one stopped, whatever ended it. When it is whole, its length and its hash (SHA-256, or Git's
for small files) are checked, it reaches the disk, and it is renamed: what has a blob's name is
good.

The transfer is hfgen's own because that of `huggingface_hub` 2.4 begins each file anew after an
interruption; session, headers, locks and errors are the library's. Files come over plain HTTP,
since the library's faster protocol (Xet) cannot resume either.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import secrets
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from hfgen.errors import ModelDamaged
from hfgen.models.hub.retry import TRIES, Progress, pause_after, rest

READ_TIMEOUT_S = 10.0
"""Longest silence of a connection."""

_CHUNK_BYTES = 1 << 20
_SHA256 = re.compile(r"[0-9a-f]{64}", re.ASCII)
_GIT_SHA1 = re.compile(r"[0-9a-f]{40}", re.ASCII)
_PARTIAL = ".hfgen.incomplete"


@dataclass(frozen=True)
class RemoteFile:
    """A file of the Hub, as its listing describes it."""

    name: str
    size: int
    etag: str
    """Its hash where the Hub gives one, and the name of its blob."""
    url: str


class _Broken(Exception):
    """The answer ended early, or was not the part that was asked for."""


def fetch_blob(
    file: RemoteFile,
    blob: Path,
    lock: Path,
    *,
    headers: dict[str, str],
    progress: Progress,
    on_bytes: Callable[[int], None],
) -> None:
    """Have `blob` hold the file's contents; `on_bytes` is told how many bytes are there.

    Raises `ModelDamaged` when what came is not what was announced, the library's errors, or
    `OSError`.
    """
    blob.parent.mkdir(parents=True, exist_ok=True)
    lock.parent.mkdir(parents=True, exist_ok=True)
    with _locked(lock, file, progress):
        if is_whole(blob, file.size):
            return
        partial = partial_file(blob)
        was_resumed = partial.exists()
        try:
            _collect(file, partial, headers, progress, on_bytes)
        except ModelDamaged:
            if not was_resumed:
                raise
            # What an earlier run left was bad, not necessarily what came now.
            progress(f"{file.name} came out damaged: fetching it anew")
            _collect(file, partial, headers, progress, on_bytes)
        partial.replace(blob)


def partial_file(blob: Path) -> Path:
    """Return where a file is collected; the name's end is known to tools that tidy the cache."""
    return blob.with_name(blob.name + _PARTIAL)


def is_hash(etag: str) -> bool:
    """Whether an etag is one of the Hub's hashes, by which a file can be checked."""
    return bool(_SHA256.fullmatch(etag) or _GIT_SHA1.fullmatch(etag))


def is_whole(path: Path, size: int) -> bool:
    """Whether a file is there with that length."""
    try:
        return path.stat().st_size == size
    except OSError:
        return False


def is_intact(path: Path, etag: str) -> bool:
    """Whether a file's contents have that hash; True when `etag` is no hash."""
    digest = _digest(etag, path.stat().st_size)
    if digest is None:
        return True
    with path.open("rb") as stream:
        while chunk := stream.read(_CHUNK_BYTES):
            digest.update(chunk)
    return bool(digest.hexdigest() == etag)


def link(blob: Path, pointer: Path) -> None:
    """Make `pointer` show the blob: a relative link, or the file itself where there are none."""
    pointer.parent.mkdir(parents=True, exist_ok=True)
    # A name of one's own: threads of one process fetch the same model, too.
    aside = pointer.with_name(f".{pointer.name}.{secrets.token_hex(8)}.new")
    try:
        aside.symlink_to(os.path.relpath(blob, pointer.parent))
        aside.replace(pointer)
    except (OSError, NotImplementedError):
        with contextlib.suppress(OSError):
            aside.unlink()
        blob.replace(pointer)


def _collect(
    file: RemoteFile,
    partial: Path,
    headers: dict[str, str],
    progress: Progress,
    on_bytes: Callable[[int], None],
) -> None:
    """Bring `partial` to the file's full length and check it; a bad one is removed."""
    with partial.open("a+b") as stream:
        body = _Body(stream, file, on_bytes)
        failures = 0
        while body.length < file.size:
            before = body.length
            try:
                _request(file, body, headers)
                continue
            except Exception as error:
                failures = 1 if body.length > before else failures + 1
                is_broken = isinstance(error, _Broken) and body.restarts < 2
                pause_s = 1.0 if is_broken and failures < TRIES else pause_after(error, failures)
                if pause_s is None:
                    raise _final(error, file, body.longest) from error
                rest(pause_s, error, progress)
        stream.flush()
        os.fsync(stream.fileno())
    if problem := body.problem():
        partial.unlink()
        raise ModelDamaged(
            f"{file.name} came damaged from the Hub: {problem}",
            hint="run the command again; if it stays so, the network or a proxy changes the file",
        )


def _final(error: Exception, file: RemoteFile, length: int) -> Exception:
    if not isinstance(error, _Broken):
        return error
    return ModelDamaged(
        f"{file.name} ends after {length:,} of {file.size:,} bytes",
        hint="run the command again; it resumes where it stopped",
    )


def _request(file: RemoteFile, body: _Body, headers: dict[str, str]) -> None:
    """Ask for what is missing, once, and append what comes."""
    from huggingface_hub.utils import get_session, hf_raise_for_status

    asked = {**headers, "Accept-Encoding": "identity"}
    if body.length:
        asked["Range"] = f"bytes={body.length}-"
    with get_session().stream("GET", file.url, headers=asked, timeout=READ_TIMEOUT_S) as response:
        if response.status_code == 416:
            body.restart()
            raise _Broken
        hf_raise_for_status(response)
        span = f"bytes {body.length}-"
        if body.length and (
            response.status_code != 206
            or not response.headers.get("Content-Range", span).startswith(span)
        ):
            body.restart()
            if response.status_code == 206:
                raise _Broken
        for chunk in response.iter_bytes():  # as they come: what has come is kept
            body.append(chunk)
            if body.length > file.size:
                break
    if body.length < file.size:
        raise _Broken


class _Body:
    """The bytes of a file so far, on the disk and in the hash."""

    def __init__(self, stream: BinaryIO, file: RemoteFile, on_bytes: Callable[[int], None]) -> None:
        self._stream, self._file, self._on_bytes = stream, file, on_bytes
        self.length = self.longest = self.restarts = 0
        self._digest = _digest(file.etag, file.size)
        stream.seek(0)
        while chunk := stream.read(_CHUNK_BYTES):
            self._count(chunk)
        if self.length > file.size:
            self.restart()

    def append(self, chunk: bytes) -> None:
        """Take the next bytes; more than were announced are only counted."""
        if self.length + len(chunk) <= self._file.size:
            self._stream.write(chunk)
        self._count(chunk)

    def restart(self) -> None:
        """Forget everything."""
        self._stream.seek(0)
        self._stream.truncate()
        self.length = 0
        self.restarts += 1
        self._digest = _digest(self._file.etag, self._file.size)
        self._on_bytes(0)

    def problem(self) -> str | None:
        """Tell what is wrong with the whole of it, in words."""
        if self.length != self._file.size:
            return f"{self.length:,} bytes instead of {self._file.size:,}"
        if self._digest is not None and self._digest.hexdigest() != self._file.etag:
            return "right length, wrong contents"
        return None

    def _count(self, chunk: bytes) -> None:
        self.length += len(chunk)
        self.longest = max(self.longest, self.length)
        if self._digest is not None:
            self._digest.update(chunk)
        self._on_bytes(min(self.length, self._file.size))


def _digest(etag: str, size: int) -> Any:
    """A hash object for the kind of hash that `etag` is; None for none."""
    if _SHA256.fullmatch(etag):
        return hashlib.sha256()
    if _GIT_SHA1.fullmatch(etag):
        return hashlib.sha1(b"blob %d\0" % size, usedforsecurity=False)
    return None


@contextlib.contextmanager
def _locked(lock: Path, file: RemoteFile, progress: Progress) -> Iterator[None]:
    """Hold the lock that `huggingface_hub` takes for the same file."""
    from filelock import Timeout
    from huggingface_hub.utils import WeakFileLock

    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(WeakFileLock(lock, timeout=0.2))
        except Timeout:
            progress(f"another program is downloading {file.name}: waiting for it")
            stack.enter_context(WeakFileLock(lock))
        yield
