"""The progress of a download: bars on a terminal, single lines elsewhere."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from typing import Any

from hfgen.cli.program.console import Console, has_cursor

Progress = Callable[[str], None]
Watch = Callable[[str, int, int], None]

_SMALL_BYTES = 1_000_000
"""Files below this size come too fast for a bar."""


@contextlib.contextmanager
def showing_progress(console: Console) -> Iterator[tuple[Progress, Watch | None]]:
    """Yield what a download reports to; enter it before standard error is put away."""
    if console.is_quiet:
        yield (lambda line: None), None
    elif not console.is_error_terminal or not has_cursor():
        # Lines that matter also in a log: what is fetched, and why it takes so long.
        yield console.notice, (lambda name, count, size: None)
    else:
        with _bars() as bars:
            yield bars.console.print, _Watcher(bars)


class _Watcher:
    """One bar for each file of some size."""

    def __init__(self, bars: Any) -> None:
        self._bars = bars
        self._tasks: dict[str, Any] = {}

    def __call__(self, name: str, count: int, size: int) -> None:
        if size < _SMALL_BYTES:
            return
        if name not in self._tasks:
            self._tasks[name] = self._bars.add_task(name, total=size)
        self._bars.update(self._tasks[name], completed=count)


@contextlib.contextmanager
def _bars() -> Iterator[Any]:
    from rich.console import Console as RichConsole
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )

    columns = (
        TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn(),
        TimeRemainingColumn(),
    )  # fmt: skip
    with (
        open(os.dup(2), "w", encoding="utf-8") as stream,  # noqa: PTH123 -- a descriptor
        Progress(
            *columns, console=RichConsole(file=stream, highlight=False, markup=False),
            transient=True, redirect_stdout=False, redirect_stderr=False,
        ) as bars,
    ):  # fmt: skip
        yield bars
