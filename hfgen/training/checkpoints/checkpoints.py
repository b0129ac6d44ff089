"""The checkpoints of a run by name: `checkpoint-N`, each of them complete.

One is written under another name and renamed when it is whole and on the disk; one that is removed
loses its name first. What is in them is not known here.

Found without torch, so that a wrong command line is refused before it is imported.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from hfgen.mentions import mention
from hfgen.models.atomic_folder import explained

PREFIX = "checkpoint-"
_ASIDE = ".saving"
_ROOM = "free some space on the disk, then "
_GO_ON = f"go on with {mention('resume', True)}"
_ANEW = (
    f"begin again with {mention('overwrite', True)}, or write elsewhere: {mention('output', 'DIR')}"
)


def last_checkpoint(folder: Path) -> Path | None:
    """The newest checkpoint of a run; every one that has the name is complete."""
    found = find_checkpoints(folder)
    return found[-1] if found else None


def find_checkpoints(folder: Path) -> list[Path]:
    """The checkpoints of a run, the oldest first."""
    steps = {path: path.name.removeprefix(PREFIX) for path in folder.glob(f"{PREFIX}*")}
    return sorted((p for p, n in steps.items() if n.isdecimal()), key=lambda p: int(steps[p]))


def checkpoint_at(folder: Path, step: int) -> Path:
    """The checkpoint that a run writes after a step, whether it is there or not."""
    return folder / f"{PREFIX}{step}"


def step_of(checkpoint: Path) -> int:
    """The optimizer steps that were done when it was written."""
    return int(checkpoint.name.removeprefix(PREFIX))


@contextlib.contextmanager
def written_checkpoint(folder: Path, step: int, *, is_writer: bool) -> Iterator[Path]:
    """Give the place to write a checkpoint to, which takes its name when the block is done.

    Only one of several processes is the writer, which makes and renames. Nothing is left where the
    block raises: the room that was taken is free again. Raises `OutputError`.
    """
    final, aside = checkpoint_at(folder, step), folder / _ASIDE
    hint = _ROOM + (_GO_ON if find_checkpoints(folder) else _ANEW)
    with explained(final, hint=hint):
        try:
            if is_writer:
                shutil.rmtree(aside, ignore_errors=True)
                aside.mkdir(parents=True)
            yield aside / final.name
            if is_writer:
                _publish(aside / final.name, final)
        finally:
            if is_writer:
                shutil.rmtree(aside, ignore_errors=True)


def rotate(folder: Path, limit: int, *, best: int | None) -> None:
    """Remove the oldest checkpoints but `limit`, never the best or the last one."""
    found = find_checkpoints(folder)
    kept = {found[-1]} | (set() if best is None else {checkpoint_at(folder, best)})
    for path in found:
        if len(found) - limit <= 0:
            return
        if path not in kept:
            doomed = folder / f"{_ASIDE}-removed"
            shutil.rmtree(doomed, ignore_errors=True)
            path.rename(doomed)
            shutil.rmtree(doomed, ignore_errors=True)
            limit += 1


def _publish(written: Path, final: Path) -> None:
    """Give a complete folder its name; what had the name before goes only then."""
    for path in written.rglob("*"):
        if path.is_file():
            _sync(path)
    _sync(written)
    if final.exists():
        final.rename(written.with_name("replaced"))
    written.rename(final)
    _sync(final.parent)


def _sync(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
