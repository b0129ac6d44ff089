"""A folder that appears whole under its name, or not at all.

Contract
    A folder is written beside its place under a hidden name, and renamed when it is complete and
    on the disk. Where a folder is replaced, the two change places in one step of the system: at
    every moment the name stands for the old model or for the new one. Where the system cannot do
    that, the old one steps aside first; when the process is killed in that instant, the next run
    that writes there puts it back.

    What a killed process left goes with the next run of the same name; what a running process is
    writing is locked and stays.

Knows nothing of what is in the folder, but that only a model may be replaced by a model.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import re
import secrets
import shutil
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from hfgen.errors import HfgenError, OutputError, OutputExists, UsageError
from hfgen.mentions import mention
from hfgen.models.checkpoint.layout import CONFIG
from hfgen.models.sizing.quantities import in_bytes

_PARTIAL, _REPLACED = ".partial", ".replaced"
_ELSEWHERE = f"name another folder: {mention('output', 'DIR')}"
_ROOM = f"free some space on the disk, or write elsewhere: {mention('output', 'DIR')}"
# torch and NumPy do not tell why they could not write.
_UNTOLD = re.compile(r"\[enforce fail at inline_container|\d+ requested and \d+ written")
_AT_FDCWD = {"linux": -100, "darwin": -2}
_EXCHANGE = 2


def check_target(folder: str | Path, *, overwrite: bool, sources: Iterable[Path]) -> Path:
    """Return where to write, or raise what would make writing fail; writes nothing.

    `sources` are folders and files that are read for it, and must not be replaced. Raises
    `OutputExists` for what already exists, `OutputError` where nothing can be written, and
    `UsageError` for one of the sources.
    """
    if not str(folder):
        raise UsageError(f"{mention('output')} needs a name", hint=f"as {mention('output', 'DIR')}")
    with explained(Path(folder)):
        path = Path(os.path.realpath(Path(folder).expanduser()))
        for source in sources:
            if source.resolve().is_relative_to(path):
                raise UsageError(f"{folder} holds what is read for it", hint=_ELSEWHERE)
        if path.exists() and not path.is_dir():
            raise OutputExists(f"{folder} is a file", hint=_ELSEWHERE)
        _put_back(path)
        if not _is_free(path):
            _check_replaceable(path, folder, overwrite)
        if not path.parent.is_dir():
            raise OutputError(f"there is no folder {path.parent}", hint="make it first")
        if not os.access(path.parent, os.W_OK | os.X_OK):
            raise OutputError(f"cannot write to {path.parent}: Permission denied", hint=_ELSEWHERE)
    return path


def check_space(target: Path, needed_bytes: int) -> None:
    """Raise `OutputError` when the disk has less than this left."""
    free = shutil.disk_usage(target.parent).free
    if needed_bytes > free:
        raise OutputError(
            f"{target.name} needs {in_bytes(needed_bytes)}, but only {in_bytes(free)} are left in "
            f"{target.parent}",
            hint=_ROOM,
        )


@contextlib.contextmanager
def written_aside(target: Path, *, overwrite: bool) -> Iterator[Path]:
    """Give a new folder to write to, which takes the target's name when the block is done.

    Nothing is left of it when the block raises. Errors of the system become `OutputError`.
    """
    with explained(target):
        _tidy(target)
        aside = _hidden(target, _PARTIAL)
        aside.mkdir()
        with _locked(aside):
            try:
                yield aside
                mode = aside.stat().st_mode & 0o666
                for file in aside.rglob("*"):
                    if file.is_file():  # safetensors lets the owner alone read
                        file.chmod(mode)
                    _sync(file)
                _sync(aside)
                _publish(aside, target, overwrite=overwrite)
            finally:
                shutil.rmtree(aside, ignore_errors=True)


@contextlib.contextmanager
def explained(target: Path, *, hint: str | None = None) -> Iterator[None]:
    """Translate what the system, or a library in its name, says about writing.

    `hint` is what helps where there is no room.
    """
    try:
        yield
    except HfgenError:
        raise
    except Exception as error:
        if _UNTOLD.match(str(error)):
            message = f"cannot write {target}: is the disk full?"
            raise OutputError(message, hint=hint or _ROOM) from error
        number = _system_error(error)
        if number in (errno.ENOSPC, errno.EDQUOT):
            raise OutputError(f"no space left to write {target}", hint=hint or _ROOM) from error
        if number in (errno.ENOTEMPTY, errno.EEXIST):
            raise OutputExists(f"{target} already exists", hint=_ELSEWHERE) from error
        if number is not None:
            message = f"cannot write {target}: {os.strerror(number)}"
            raise OutputError(message, hint=hint or _ELSEWHERE) from error
        raise


def _system_error(error: Exception) -> int | None:
    """The system's number for what went wrong; safetensors and tokenizers only write it out."""
    if isinstance(error, OSError):
        return error.errno
    written = re.search(r"\(os error (\d+)\)", str(error))
    return int(written[1]) if written else None


# What is there ----------------------------------------------------------------------------------


def _is_free(path: Path) -> bool:
    return not path.exists() or next(path.iterdir(), None) is None


def _check_replaceable(path: Path, folder: str | Path, overwrite: bool) -> None:
    is_model = (path / CONFIG).is_file()
    if not overwrite:
        hint = (
            f"{mention('overwrite', True)} replaces it, or {_ELSEWHERE}" if is_model else _ELSEWHERE
        )
        raise OutputExists(f"{folder} already exists", hint=hint)
    if not is_model or any(entry.is_dir() for entry in path.iterdir()):
        what = "more than a model" if is_model else "no model"
        raise OutputExists(f"{folder} holds {what}, and is not replaced", hint=_ELSEWHERE)


def _hidden(target: Path, ending: str) -> Path:
    return target.with_name(f".{target.name[:100]}.{secrets.token_hex(4)}{ending}")


def _leftovers(target: Path, ending: str) -> list[Path]:
    start = f".{target.name[:100]}."
    length = len(start) + 8 + len(ending)
    found = target.parent.iterdir() if target.parent.is_dir() else ()
    return [
        path
        for path in found
        if path.name.startswith(start) and path.name.endswith(ending) and len(path.name) == length
    ]


def _put_back(target: Path) -> None:
    """Give a folder its name back that a killed process had moved aside."""
    if not target.exists():
        for replaced in _leftovers(target, _REPLACED):
            replaced.rename(target)
            return


def _tidy(target: Path) -> None:
    """Remove what killed processes left."""
    for partial in _leftovers(target, _PARTIAL):
        with contextlib.suppress(OSError), _locked(partial):
            shutil.rmtree(partial, ignore_errors=True)
    if target.exists():
        for replaced in _leftovers(target, _REPLACED):
            shutil.rmtree(replaced, ignore_errors=True)


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Hold the folder; raises `OSError` when another process does."""
    try:
        import fcntl
    except ImportError:  # Windows
        yield
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(descriptor)


# Taking the name --------------------------------------------------------------------------------


def _publish(aside: Path, target: Path, *, overwrite: bool) -> None:
    """Give a complete folder its name; afterwards `aside` is gone, or holds what was replaced."""
    if _is_free(target) or not overwrite:
        aside.rename(target)  # refused by the system where something came up meanwhile
        _sync(target.parent)
        return
    _check_replaceable(target, target, overwrite)  # once more: it may be another one by now
    if not _exchange(aside, target):
        replaced = _hidden(target, _REPLACED)
        target.rename(replaced)
        try:
            aside.rename(target)
        except OSError:
            replaced.rename(target)
            raise
        shutil.rmtree(replaced, ignore_errors=True)
    _sync(target.parent)


def _exchange(one: Path, other: Path) -> bool:
    """Have two folders change names in one step, where the system and the disk can do that."""
    place = _AT_FDCWD.get(sys.platform)
    name = "renameat2" if sys.platform == "linux" else "renameatx_np"
    function = getattr(ctypes.CDLL(None), name, None) if place is not None else None
    if function is None:
        return False
    paths = os.fsencode(one), os.fsencode(other)
    return bool(function(place, paths[0], place, paths[1], ctypes.c_uint(_EXCHANGE)) == 0)


def _sync(path: Path) -> None:
    with contextlib.suppress(OSError):  # some file systems sync no folders
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
