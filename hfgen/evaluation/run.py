"""The rows of a task through the scoring path, to results and a report."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

from hfgen.errors import DataError
from hfgen.evaluation.task import Report, Result, Task
from hfgen.scoring.texts import TextScorer
from hfgen.training.reading.rows import RawRow

_ROWS_AT_ONCE = 128


@dataclass(frozen=True)
class Settings:
    """What the figures of an evaluation depend on, besides model and rows."""

    bos: bool | None = None
    """Whether a text without context follows the token that begins texts; None where there is."""
    stride: int | None = None
    limit: int | None = None
    """Most rows; for the caller, who knows which are done."""


@dataclass(frozen=True)
class Progress:
    """How far an evaluation is."""

    rows: int
    elapsed_s: float


def results(
    lm: Any,
    task: Task,
    rows: Iterable[RawRow],
    settings: Settings,
    listen: Callable[[Progress], None] = lambda progress: None,
    *,
    first: int = 0,
) -> Iterator[Result]:
    """Yield the result of each row, in order; `index` is its number, from `first` on."""
    scorer = TextScorer(lm.scorer(), lm.tokenizer, bos=settings.bos)
    source = iter(rows)
    began = time.monotonic()
    done = 0
    while batch := list(islice(source, _ROWS_AT_ONCE)):
        asked = [task.texts(row) for row in batch]
        scores = scorer.scores(
            (text for texts in asked for text in texts), by=task.by, stride=settings.stride
        )
        for row, texts in zip(batch, asked, strict=True):
            own = list(islice(scores, len(texts)))
            yield {"index": first + done, **task.judge(row, own)}
            done += 1
            listen(Progress(done, time.monotonic() - began))


def report(lm: Any, task: Task, found: list[Result], settings: Settings) -> Report:
    """Sum results up. Raises `DataError` where there are none."""
    if not found:
        raise DataError("no rows to evaluate", hint="check the file, or raise --limit")
    method = {
        "window": lm.window,
        "stride": settings.stride or lm.window,
        "bos": settings.bos is not False and lm.tokenizer.bos_token_id is not None,
        "dtype": str(lm.model.dtype).removeprefix("torch."),
    }
    return Report(task.name, lm.name, len(found), tuple(task.metrics(found)), method)
