"""The output of a run: refused, begun, resumed, finished."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal, Protocol, Self

from hfgen.batch.output.merging import merge, part_of, parts_of
from hfgen.batch.output.record_file import RecordFile, being_written, explained
from hfgen.batch.output.resume_index import Done, read_groups
from hfgen.batch.output.run_settings import check_settings, read_settings, write_settings
from hfgen.batch.processes import Processes
from hfgen.claims import Claim
from hfgen.errors import OutputError, OutputExists

Mode = Literal["new", "overwrite", "resume", "retry"]


class Output(Protocol):
    """Where records go."""

    done: Done
    """Rows that need not be run."""

    def seed(self, given: Mapping[str, Any]) -> int | None:
        """The seed that was drawn when the output was begun; checks the settings of then."""

    def begin(self, settings: Mapping[str, Any]) -> None:
        """Get ready to write; `settings` are kept, or compared with those of before."""

    def write(self, lines: bytes) -> None:
        """Add a row."""

    def close(self, *, is_complete: bool) -> None:
        """End the output."""

    def __enter__(self) -> Self: ...

    def __exit__(self, *exception: object) -> None: ...


class StreamOutput:
    """Standard output, a pipe or a device: nothing is read back."""

    def __init__(self, write: Callable[[bytes], None]) -> None:
        self.done = Done()
        self._write = write

    def seed(self, given: Mapping[str, Any]) -> int | None:
        """Nothing is known of an earlier run."""
        return None

    def begin(self, settings: Mapping[str, Any]) -> None:
        """Nothing is kept."""

    def write(self, lines: bytes) -> None:
        """Write at once."""
        self._write(lines)

    def close(self, *, is_complete: bool) -> None:
        """Nothing is left to do."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        """Nothing was held."""


class FileOutput:
    """A file that can be resumed, and that no other process can write meanwhile.

    It is claimed before anything is checked and let go by `close`, or by leaving a `with` block; of
    several processes the first one holds it for all.
    """

    def __init__(
        self, name: str, mode: Mode, *, is_ordered: bool, processes: Processes | None = None
    ) -> None:
        """Raises what would make writing fail; changes nothing that is there."""
        self.path = Path(os.path.realpath(name))
        self.done = Done()
        self._mode = mode
        self._is_ordered = is_ordered
        self._processes = processes or Processes()
        self._file: RecordFile | None = None
        self._has_part = False
        self._claim = Claim(self.path)
        try:
            self._check(name)
        except BaseException:
            self._claim.release()
            raise

    def _check(self, name: str) -> None:
        path = self.path
        with explained(path):
            if not name or path.is_dir():
                raise OutputError(f"{name or '(no name)'} is no file", hint="-o FILE")
            if not path.parent.is_dir():
                raise OutputError(f"there is no folder {path.parent}", hint="make it first")
            if self._processes.is_first and not self._claim.take():
                raise being_written(name)
            self.is_begun = path.exists() or bool(parts_of(path))
            if self.is_begun and self._mode == "new":
                hint = "--resume continues it, --overwrite starts over"
                raise OutputExists(f"{name} already exists", hint=hint)
            if not os.access(path if path.exists() else path.parent, os.W_OK):
                raise OutputError(
                    f"cannot write {name}: Permission denied", hint="check the folder"
                )

    @property
    def _is_resumed(self) -> bool:
        return self.is_begun and self._mode in ("resume", "retry")

    def seed(self, given: Mapping[str, Any]) -> int | None:
        """The seed of before; raises where settings of `given` differ from those of before."""
        if not self._is_resumed:
            return None
        kept = read_settings(self.path)
        check_settings(self.path, kept, given)
        return int(kept["seed"])

    def begin(self, settings: Mapping[str, Any]) -> None:
        """Get ready; of several processes the first one does what is to be done once."""
        if self._is_resumed:
            check_settings(self.path, read_settings(self.path), settings)
        self._processes.gather(None)
        if self._processes.is_first:
            self._tidy(settings)
        self._processes.gather(None)
        if self._is_resumed and self.path.exists():
            for group in read_groups(self.path):
                self.done.add(group.index, group.mark, is_failed=group.is_failed)
        is_retry = self._mode == "retry" and self.done.failed > 0
        has_gaps = self._is_ordered and self.done.has_gaps
        self._has_part = self._processes.count > 1 or is_retry or has_gaps
        part = part_of(self.path, self._processes.number)
        self._file = RecordFile(part if self._has_part else self.path, is_new=not self._is_resumed)

    def _tidy(self, settings: Mapping[str, Any]) -> None:
        with explained(self.path):
            if self._is_resumed:
                for file in [*parts_of(self.path), self.path]:
                    if file.exists():
                        RecordFile(file).close()  # refused where somebody writes it
                        for _ in read_groups(file, is_mended=True):
                            pass
                merge(self.path, is_ordered=self._is_ordered)
                return
            if self._mode == "overwrite":
                for file in [self.path, *parts_of(self.path)]:
                    file.unlink(missing_ok=True)
        write_settings(self.path, settings)

    def write(self, lines: bytes) -> None:
        """Append a row."""
        assert self._file is not None
        self._file.write(lines)

    def close(self, *, is_complete: bool) -> None:
        """Close the file; a complete run's parts become one, when all processes are done."""
        if self._file is not None:
            self._file.close()
            self._file = None
            if is_complete:
                self._processes.gather(None)
                if self._processes.is_first:
                    merge(self.path, is_ordered=self._is_ordered)
        self._claim.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        """Let others write, however the run ended."""
        self._claim.release()
