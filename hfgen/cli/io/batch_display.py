"""How far a batch is: a passing line on a terminal, one line at the end."""

from __future__ import annotations

import json
import time

from hfgen.batch.run import Progress
from hfgen.cli.program.console import Console

_REDRAWN_S = 0.2


class BatchDisplay:
    """Shows a running batch."""

    def __init__(self, console: Console, total: int | None) -> None:
        self._console = console
        self._total = total
        self._shown = 0.0
        self.is_training = True
        """What the handler of signals asks: whether the run can be stopped between two steps."""

    def stopping(self) -> None:
        """Tell that the run will stop. Safe in a signal handler."""
        self._console.detail("stopping; once more stops at once")

    def show(self, progress: Progress) -> None:
        """Redraw the line, now and then."""
        now = time.monotonic()
        if now - self._shown < _REDRAWN_S:
            return
        self._shown = now
        self._console.status(line(progress, self._total))

    def finish(self, progress: Progress, malformed: int) -> None:
        """Tell in one line what was done."""
        parts = [f"{_rows(progress.rows)} in {_duration(progress.elapsed_s)}", _speeds(progress)]
        if progress.skipped:
            parts.append(f"{progress.skipped:,} done before")
        if malformed:
            parts.append(f"{_rows(malformed)} skipped as malformed")
        self._console.notice(", ".join(parts))


def line(progress: Progress, total: int | None) -> str:
    """Rows, speeds and the time that is left."""
    done = progress.rows + progress.skipped
    shown = f"{done:,}/{total:,} rows" if total is not None else f"{done:,} rows"
    parts = [shown, _speeds(progress)]
    if progress.failed:
        parts.append(f"{progress.failed:,} failed")
    if total is not None and progress.rows and total > done:
        parts.append(f"{_duration((total - done) * progress.elapsed_s / progress.rows)} left")
    return "  ".join(parts)


def summary(progress: Progress, malformed: int, seed: int | None) -> str:
    """What was done, as JSON."""
    elapsed = progress.elapsed_s
    facts = {
        "rows": progress.rows,
        "failed": progress.failed,
        "skipped": progress.skipped,
        "malformed": malformed,
        "seed": seed,
        "completion_tokens": progress.tokens,
        "elapsed_s": round(elapsed, 3),
        "rows_per_s": round(progress.rows / elapsed, 3),
        "tokens_per_s": round(progress.tokens / elapsed, 3),
    }
    return json.dumps(facts, indent=2) + "\n"


def _rows(count: int) -> str:
    return f"{count:,} row{'s' * (count != 1)}"


def _speeds(progress: Progress) -> str:
    elapsed = max(progress.elapsed_s, 1e-6)
    return f"{progress.rows / elapsed:,.1f} rows/s, {progress.tokens / elapsed:,.0f} tokens/s"


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"
