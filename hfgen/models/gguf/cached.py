"""GGUF files: converted once into an ordinary checkpoint, which is what is loaded from then on.

Contract
    The checkpoint lies in hfgen's cache, in a folder named by the SHA-256 of the file, so that a
    moved, copied or renamed file finds it again. A stamp per path, with the file's size and times,
    spares a second start the hashing. Weights are dequantized to float32, which is exact;
    tokenizer, chat template and generation configuration come along.

    The conversion runs under a lock of the operating system (a killed process gives it back), into
    a folder beside its place, and is renamed into it when everything is written and checked. What
    a killed conversion leaves is never loaded, and the next one removes it.

Transformers and the package `gguf` do the dequantizing. Both are imported for a conversion only.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import importlib.util
import os
import shutil
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from hfgen.errors import (
    HfgenError,
    MissingExtra,
    ModelDamaged,
    ModelUnsupported,
    OutputError,
)
from hfgen.models.cache_dir import CACHE_VARIABLE, gguf_folder
from hfgen.models.checkpoint.layout import missing_from
from hfgen.models.checkpoint.weights import FETCH_AGAIN
from hfgen.models.gguf.header import GgufHeader, read_header
from hfgen.models.naming.resolve import Progress, ResolvedModel

# Raised when a conversion comes out differently than before.
_FORMAT = 2
_SPARE_BYTES = 64 * 2**20
_LARGE_BYTES = 2**30
# A file that changed this recently may change again within the same tick of its clock.
_SETTLED_S = 2.0
_ROOM = f"make room, or set {CACHE_VARIABLE} to a folder on a larger disk"


def as_folder(resolved: ResolvedModel, progress: Progress | None = None) -> ResolvedModel:
    """Return the same model, its path that of the converted checkpoint (see `checkpoint_of`)."""
    return replace(resolved, path=checkpoint_of(resolved, progress), source="folder")


def checkpoint_of(resolved: ResolvedModel, progress: Progress | None = None) -> Path:
    """Return the folder with the converted model, converting the file when there is none.

    Raises `ModelDamaged`, `ModelUnsupported` (an architecture or quantization that Transformers
    cannot read), `MissingExtra`, `OutputError` or `OutOfMemory`.
    """
    tell = progress or (lambda line: None)
    try:
        return _checkpoint_of(resolved, tell)
    except OSError as error:
        raise _translate_os_error(error, resolved) from error


def _checkpoint_of(resolved: ResolvedModel, tell: Progress) -> Path:
    home = gguf_folder()
    file = resolved.path
    stamp = _stamp_of(file, home)
    key = _read_stamp(stamp)
    if key is not None and _is_whole(home / key):
        return home / key
    header = read_header(file)
    _check_contents(header, resolved)
    if key is None:
        key = _hashed(file, stamp, tell)
    folder = home / key
    if _is_whole(folder):
        return folder
    if importlib.util.find_spec("gguf") is None:
        raise MissingExtra("reading a GGUF file", "gguf")
    home.mkdir(parents=True, exist_ok=True)
    with _locked(home / f"{key}.lock", resolved, tell):
        if not _is_whole(folder):
            _convert_aside(resolved, header, folder, tell)
    return folder


# Which checkpoint ---------------------------------------------------------------------------


def _stamp_of(file: Path, home: Path) -> Path:
    """The stamp's path; it has another name as soon as the file is another or was written to."""
    found = file.stat()
    facts = (
        str(file.resolve()), found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns,
        found.st_ctime_ns,
    )  # fmt: skip
    return home / "stamps" / hashlib.sha256(repr(facts).encode()).hexdigest()[:32]


def _read_stamp(stamp: Path) -> str | None:
    try:
        key = stamp.read_text("ascii")
    except (OSError, ValueError):
        return None
    return key if key.endswith(f"-{_FORMAT}") and key.replace("-", "").isalnum() else None


def _hashed(file: Path, stamp: Path, tell: Progress) -> str:
    """Hash the file, and leave a stamp if it cannot have changed meanwhile."""
    size = file.stat().st_size
    if size >= _LARGE_BYTES:
        tell(f"reading {file.name} ({size / 1e9:.1f} GB) to see whether it was converted before")
    with file.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    key = f"{digest[:40]}-{_FORMAT}"
    is_settled = time.time() - max(file.stat().st_mtime, file.stat().st_ctime) > _SETTLED_S
    if is_settled and _stamp_of(file, stamp.parent.parent) == stamp:
        with contextlib.suppress(OSError):
            stamp.parent.mkdir(parents=True, exist_ok=True)
            aside = stamp.with_name(f"{stamp.name}.{os.getpid()}")
            aside.write_text(key, "ascii")
            aside.replace(stamp)
    return key


def _is_whole(folder: Path) -> bool:
    return folder.is_dir() and missing_from(folder) is None


def _check_contents(header: GgufHeader, resolved: ResolvedModel) -> None:
    """Refuse a whole file that holds something else than one language model."""
    parts = header.metadata.get("split.count")
    if isinstance(parts, int) and parts > 1:
        raise ModelUnsupported(
            f"{resolved.name} is one of {parts} parts of a model",
            hint="join them first: llama-gguf-split --merge FIRST-PART WHOLE.gguf",
        )
    kind = header.metadata.get("general.type", "model")
    if kind != "model" or header.architecture == "clip":
        raise ModelUnsupported(
            f"{resolved.name} holds no language model but {kind if kind != 'model' else 'vision'}",
            hint="name the GGUF file of the language model itself",
        )
    if not header.architecture or not header.tensors:
        raise ModelDamaged(f"{resolved.name} holds no weights", hint=FETCH_AGAIN)


# Converting -----------------------------------------------------------------------------------


@contextlib.contextmanager
def _locked(lock_file: Path, resolved: ResolvedModel, tell: Progress) -> Iterator[None]:
    """Hold the lock of one conversion, waiting for another process that has it."""
    from filelock import FileLock, Timeout

    lock = FileLock(lock_file)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        tell(f"waiting for another process that converts {resolved.name}")
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def _convert_aside(
    resolved: ResolvedModel, header: GgufHeader, folder: Path, tell: Progress
) -> None:
    """Convert into a folder beside its place, and rename it; called under the lock."""
    aside = folder.with_name(f"{folder.name}.partial")
    for leftover in (aside, folder):
        shutil.rmtree(leftover, ignore_errors=True)
    needed = header.count * 4 + _SPARE_BYTES
    if needed > (free := shutil.disk_usage(folder.parent).free):
        raise OutputError(
            f"{resolved.name} becomes {needed / 1e9:.1f} GB when it is converted, but only "
            f"{free / 1e9:.1f} GB are left in {folder.parent}",
            hint=_ROOM,
        )
    tell(f"converting {resolved.name} ({header.parameters / 1e6:.0f}M parameters), once")
    try:
        from hfgen.models.gguf.convert import convert

        convert(resolved, aside, tell)
        for file in (*aside.iterdir(), aside):
            _flush(file)
        aside.rename(folder)
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def _flush(path: Path) -> None:
    """Have the disk hold a file before the folder gets its name, as a crash may come any time."""
    with contextlib.suppress(OSError):
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


# What can go wrong ----------------------------------------------------------------------------


def _translate_os_error(error: OSError, resolved: ResolvedModel) -> HfgenError:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return OutputError(f"no space left to convert {resolved.name}", hint=_ROOM)
    if error.filename is not None and Path(os.fsdecode(error.filename)) == resolved.path:
        return ModelDamaged(f"cannot read {resolved.name}: {error.strerror}")
    return OutputError(
        f"cannot write the converted {resolved.name} to {gguf_folder()}: {error.strerror or error}",
        hint=f"set {CACHE_VARIABLE} to a folder that you may write to",
    )
