"""What was found for each row, in a file that an evaluation goes on from."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from hfgen.batch.output.record_file import RecordFile
from hfgen.errors import DataError, OutputError, OutputExists


class ResultFile:
    """Results as JSON lines; without a path, nothing is kept."""

    def __init__(self, path: Path | None, lines: list[dict[str, Any]]) -> None:
        self._path = path
        self._lines = lines
        self._file = None if path is None else RecordFile(path, is_new=not path.exists())

    @classmethod
    def open(cls, name: str | None, *, resume: bool) -> ResultFile:
        """Claim the file. Raises `OutputExists` for one that is there and not to be resumed."""
        if name is None:
            return cls(None, [])
        path = Path(name)
        if not path.exists():
            return cls(path, [])
        if not resume:
            raise OutputExists(
                f"{name} already exists", hint="continue with --resume, or rename it"
            )
        return cls(path, _complete(path))

    def __enter__(self) -> ResultFile:
        return self

    def __exit__(self, *error: object) -> None:
        if self._file is not None:
            self._file.close()

    def known(self, task: str, model: str) -> list[dict[str, Any]]:
        """The results that are there. Raises `DataError` for those of another run."""
        for line in self._lines:
            if (line.pop("task", task), line.pop("model", model)) != (task, model):
                raise DataError(
                    f"{self._path} is of another task or model", hint="name another file with -o"
                )
        return self._lines

    def write(self, task: str, model: str, result: dict[str, Any]) -> None:
        """Add a row's result."""
        if self._file is not None:
            line = json.dumps({"task": task, "model": model, **result}, ensure_ascii=False)
            self._file.write(line.encode() + b"\n")


def _complete(path: Path) -> list[dict[str, Any]]:
    """The rows of a file; a last line that was cut off is taken away."""
    try:
        data = path.read_bytes()
        whole = data[: data.rfind(b"\n") + 1]
        lines = [json.loads(line) for line in whole.splitlines()]
        if len(whole) < len(data):
            with path.open("r+b") as file:
                file.truncate(len(whole))
    except (OSError, ValueError) as error:
        raise OutputError(
            f"cannot go on with {path}: {error}", hint="name another file with -o"
        ) from error
    if [line.get("index") for line in lines] != list(range(len(lines))):
        raise DataError(f"{path} holds no results from the first row on", hint="rename it")
    return lines
