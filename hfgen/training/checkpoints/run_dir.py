"""The folder of a run: what may be written where, what belongs to a run, and how it is resumed.

    OUT/                          the result: an ordinary checkpoint or adapter, and its report
    OUT/checkpoints/run.json      what the run was begun with
    OUT/checkpoints/checkpoint-N
    OUT/checkpoints/result.json   which files in OUT are a result's (`layout`)
    OUT/checkpoints/.lock         held while a process trains here

The result appears when training is done, checkpoints before.
Other things in OUT, and in its `checkpoints`, stay as they are.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from hfgen.atomic import write_whole
from hfgen.errors import OptionConflict, OutputError, OutputExists, UsageError
from hfgen.mentions import mention
from hfgen.training.checkpoints.checkpoints import last_checkpoint
from hfgen.training.checkpoints.run_start import RunStart
from hfgen.training.layout import (
    CHECKPOINTS,
    LOCK,
    RUN,
    files_in_the_way,
    holds_configuration,
    is_of_result,
    is_of_run,
    list_replaceable,
    replaceable_files,
)

_REMOVED = ".removed"


def default_output(model: str, *, suffix: str = "finetuned") -> Path:
    """`./<model>-<suffix>`, for a model's name, path or Hub id."""
    name = Path(re.sub(r"@[^/@]*$", "", model.rstrip("/"))).name
    name = re.sub(r"\.gguf$", "", name, flags=re.IGNORECASE)
    return Path(f"{re.sub(r'[^0-9A-Za-z._-]+', '-', name).strip('-.') or 'model'}-{suffix}")


class RunFolder:
    """The output folder of one run."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.checkpoints = path / CHECKPOINTS
        self._lock: Any = None
        self._made: list[Path] = []

    @property
    def has_result(self) -> bool:
        """Whether a model or an adapter is there."""
        return holds_configuration(self.path)

    @contextlib.contextmanager
    def claimed(
        self, *, resume: bool, overwrite: bool, is_first: bool = True
    ) -> Iterator[RunFolder]:
        """Keep other processes from training here, and refuse a folder that the run may not use.

        Claimed first and checked then, before anything is loaded: what was found stays true until
        the end of the block. Of several processes the first one claims for all. Raises
        `OutputExists` for a folder that holds a run or a model already, or other files that the
        result would replace; `OutputError` where it cannot be written, where another process
        trains, or where there is nothing to resume.
        """
        if resume and overwrite:
            raise OptionConflict(
                f"{mention('resume')} and {mention('overwrite')} contradict each other",
                hint="drop one",
            )
        if self.path.exists() and not self.path.is_dir():
            raise OutputExists(
                f"{self.path} is a file", hint=f"name a folder: {mention('output', 'DIR')}"
            )
        self._check_writable()
        if is_first:
            self._claim()
        try:
            self._check_contents(resume=resume, overwrite=overwrite)
            yield self
        finally:
            self._release()

    def _check_contents(self, *, resume: bool, overwrite: bool) -> None:
        checkpoint = last_checkpoint(self.checkpoints)
        if resume:
            if checkpoint is None or not (self.checkpoints / RUN).is_file():
                raise OutputError(
                    f"nothing to resume in {self.path}: it has no checkpoint",
                    hint=f"drop {mention('resume')}, or name the run's folder: "
                    f"{mention('output', 'DIR')}",
                )
        elif not overwrite and (checkpoint or self.has_result):
            what = "a model" if self.has_result else "an unfinished run"
            hint = f"another folder, {mention('output', 'DIR')}, or {mention('overwrite', True)}"
            raise OutputExists(
                f"{self.path} holds {what} already",
                hint=hint
                if self.has_result
                else f"resume it with {mention('resume', True)}; {hint}",
            )
        is_replacing = resume or overwrite
        self._check_free(replaceable_files(self.path) if is_replacing else ())

    def _check_free(self, replaced: Iterable[str]) -> None:
        if found := files_in_the_way(self.path, replaced=replaced):
            raise OutputExists(
                f"{self.path} holds {found[0]}, which is no earlier result's and would be replaced",
                hint=f"name another folder, {mention('output', 'DIR')}, or move the file away",
            )

    def check_inputs(self, models: Iterable[Path], data: Iterable[Path]) -> None:
        """Raise `UsageError` for a model in the folder, and for data that would be replaced.

        A model is a folder or a file; data are files.
        """
        folder = self.path.resolve()
        for model in models:
            if model.resolve().is_relative_to(folder):
                raise UsageError(
                    f"{self.path} holds the model that is to be trained",
                    hint=f"name another folder: {mention('output', 'DIR')}",
                )
        for file in data:
            place = file.resolve()
            if place.is_relative_to(folder) and _is_replaced(place.relative_to(folder)):
                raise UsageError(
                    f"{file} would be replaced by the result",
                    hint=f"name another folder, {mention('output', 'DIR')}, or move the file away",
                )

    def _check_writable(self) -> None:
        folder = self.path
        while not folder.exists() and folder != folder.parent:
            folder = folder.parent
        if not folder.is_dir() or not os.access(folder, os.W_OK | os.X_OK):
            raise OutputError(
                f"cannot write to {self.path}: {folder} is not writable",
                hint=f"name another folder: {mention('output', 'DIR')}",
            )

    def _claim(self) -> None:
        """Make the folders and lock them."""
        from filelock import FileLock, Timeout

        self._made = [one for one in (self.path, *self.path.parents) if not one.exists()]
        try:
            self.checkpoints.mkdir(parents=True, exist_ok=True)
            lock = FileLock(self.checkpoints / LOCK)
            lock.acquire(timeout=0)
            self._lock = lock
        except Timeout:
            raise OutputError(
                f"another hfgen trains in {self.path}",
                hint=f"wait for it, or use another {mention('output')}",
            ) from None
        except OSError as error:
            raise self._unwritable(error) from error

    def _unwritable(self, error: OSError) -> OutputError:
        return OutputError(
            f"cannot write to {self.path}: {error.strerror or error}",
            hint=f"free some space, or name another folder: {mention('output', 'DIR')}",
        )

    def _release(self) -> None:
        """Let others train here; folders of a run that wrote nothing are removed."""
        if self._lock is None:
            return
        with contextlib.suppress(OSError):
            if [entry.name for entry in self.checkpoints.iterdir()] == [LOCK]:
                (self.checkpoints / LOCK).unlink()
                self.checkpoints.rmdir()
                for folder in self._made:
                    folder.rmdir()
        self._lock.release()
        self._lock = None

    def clear_checkpoints(self) -> None:
        """Remove what an earlier run left, and nothing else; a checkpoint loses its name first.

        Raises `OutputError`.
        """
        doomed = self.checkpoints / _REMOVED
        try:
            _remove(doomed)
            for entry in list(self.checkpoints.iterdir()):
                if is_of_run(entry.name):
                    entry.rename(doomed)
                    _remove(doomed)
        except OSError as error:
            raise self._unwritable(error) from error

    def write_start(self, start: RunStart) -> None:
        """Write down what the run was begun with, and what it may replace."""
        text = json.dumps(vars(start), indent=2, ensure_ascii=False, default=list)
        try:
            list_replaceable(self.path, replaceable_files(self.path))
            write_whole(self.checkpoints / RUN, (text + "\n").encode("utf-8", "backslashreplace"))
        except OSError as error:
            raise self._unwritable(error) from error

    def read_start(self) -> RunStart:
        """Read what the run was begun with. Raises `OutputError` where that is damaged."""
        file = self.checkpoints / RUN
        try:
            values = json.loads(file.read_text(encoding="utf-8"))
            return RunStart(**(values | {"resumed_from": tuple(values["resumed_from"])}))
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise OutputError(
                f"{file} is damaged: the run cannot be resumed",
                hint=f"start over: {mention('overwrite', True)}",
            ) from error


def _is_replaced(place: Path) -> bool:
    """Whether a run replaces or removes what has this path in its folder."""
    parts = place.parts
    if parts[0] == CHECKPOINTS:
        return len(parts) > 1 and is_of_run(parts[1])
    return len(parts) == 1 and is_of_result(parts[0])


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
