"""What a training shows on standard error while it runs.

`TrainingDisplay` writes lines: one for each evaluation, and notices; that is what a log and a pipe
get. `LiveDisplay` draws on a terminal: a bar and the figures of the moment, and above them, to
stay, a line and a sample for each evaluation. Both are `Listener`s; neither knows what is trained,
and neither ever fails because nobody reads standard error any more.
"""

from __future__ import annotations

import contextlib
import io
import os
from collections.abc import Iterator
from typing import IO, Any, cast

from hfgen.cli.flags.flag_spelling import FlagSpelling
from hfgen.cli.program.console import Console, has_cursor, write_all
from hfgen.cli.program.printable import one_line
from hfgen.models.sizing.quantities import in_bytes, in_digits, in_time
from hfgen.training.events import Evaluation, Listener, Sample, Step

STOPPING = "stopping after this step; press Ctrl-C again to stop at once"

_SAMPLE_LINES = 3
_SMOOTHING = 0.9
_BAR_WIDTH = 50
# Each refresh takes some milliseconds of a core that trains.
_REFRESHES_PER_S = 4


class TrainingDisplay(Listener):
    """Lines on standard error, and what the command has to know of the run."""

    spelling = FlagSpelling()

    def __init__(self, console: Console) -> None:
        self.console = console
        self.is_training = False
        """Whether steps are being done, so that stopping is worth a checkpoint."""
        self.last_saved: int | None = None
        """The step of the last complete checkpoint of this process."""
        self._latest: Step | None = None
        self._losses: list[float] = []
        self._said: set[str] = set()
        self._held: list[str] | None = None

    def stage(self, text: str) -> None:
        """Show what is going on before the first step or after the last one."""
        self.is_training = False
        self._show_stage(text)

    def notice(self, text: str) -> None:
        """Tell it in one line, once."""
        if self._held is not None:
            self._held.append(text)
        elif text not in self._said:
            self._said.add(text)
            self._show_notice(text)

    @contextlib.contextmanager
    def holding_notices(self) -> Iterator[list[str]]:
        """Tell notices at the end only: those that are left in the list then."""
        held = self._held = []
        try:
            yield held
        finally:
            self._held = None
            for text in held:
                self.notice(text)

    def step(self, event: Step) -> None:
        """Take in the figures."""
        self.is_training = True
        self._latest = event
        self._losses.append(event.loss)

    def evaluation(self, event: Evaluation) -> None:
        """Write the evaluation's line."""
        self.is_training = True
        self._show_evaluation(event, self._described(event))
        self._losses.clear()

    def saved(self, step: int) -> None:
        """Remember the checkpoint."""
        self.last_saved = step

    def stopping(self) -> None:
        """Tell that the run will stop after this step. Safe in a signal handler."""
        self.notice(STOPPING)

    def _show_stage(self, text: str) -> None:
        self.console.status(text)

    def _show_notice(self, text: str) -> None:
        self.console.notice(text)

    def _show_evaluation(self, event: Evaluation, figures: list[str]) -> None:
        # Before the first step, without validation, there is nothing to tell in a line.
        if self.console.is_quiet or (event.step == 0 and event.loss is None):
            return
        if (latest := self._latest) is not None:
            figures.append(f"{latest.tokens_per_s:,.0f} tokens/s")
            if event.step < latest.steps:
                figures.append(f"{in_time(latest.remaining_s)} left")
        self.console.report("  ".join(figures))

    def _described(self, event: Evaluation) -> list[str]:
        """`step 200/1000`, `loss 2.310`, `validation 2.400 (perplexity 11.02, best)`."""
        figures = [f"step {event.step}"]
        if self._latest is not None:
            figures = [f"step {event.step}/{self._latest.steps}"]
        if self._losses:
            figures.append(f"loss {sum(self._losses) / len(self._losses):.3f}")
        if event.loss is not None and event.perplexity is not None:
            best = ", best" * event.is_best
            said = f"perplexity {figure(event.perplexity)}"
            if event.bits_per_byte is not None:
                said = f"{event.bits_per_byte:.3f} bits per byte"
            if event.accuracy is not None:
                said += f", accuracy {event.accuracy:.1%}"
            figures.append(f"validation {event.loss:.3f} ({said}{best})")
        return figures


class LiveDisplay(TrainingDisplay):
    """A bar and figures that change, on a terminal; a context manager."""

    def __init__(self, console: Console, terminal: Any) -> None:
        super().__init__(console)
        self._terminal = terminal
        self._stage = ""
        self._is_stopping = False
        # A mean that forgets, without a bias towards its beginning.
        self._sum = self._weight = 0.0
        self._best: float | None = None
        self._validation: float | None = None
        self._shown: tuple[Sample, ...] = ()

    def __rich__(self) -> Any:
        from rich.console import Group
        from rich.progress_bar import ProgressBar
        from rich.table import Table

        parts = []
        if (latest := self._latest) is not None:
            count = f"{latest.step:,}/{latest.steps:,}  {in_time(latest.remaining_s)} left"
            room = self._terminal.width - len(count) - 3
            bar = ProgressBar(
                total=latest.steps, completed=latest.step, width=max(8, min(_BAR_WIDTH, room))
            )
            line = Table.grid(padding=(0, 2))
            line.add_row(bar, _cropped(count))
            parts += [line, _cropped("  ".join(self._figures(latest)))]
        if self._is_stopping:
            parts.append(_cropped(STOPPING, style="bold"))
        elif self._stage:
            parts.append(_cropped(one_line(self._stage), style="dim"))
        return Group(*parts)

    def step(self, event: Step) -> None:
        """Take in the figures; the bar shows them with its next refresh."""
        super().step(event)
        self._stage = ""
        self._sum = _SMOOTHING * self._sum + event.loss
        self._weight = _SMOOTHING * self._weight + 1

    def evaluation(self, event: Evaluation) -> None:
        """Write the evaluation's line and a sample above the bar, to stay."""
        self._stage = ""
        self._validation = event.loss
        super().evaluation(event)
        if event.is_best or event.step == 0:
            self._best = event.loss

    def stopping(self) -> None:
        """Tell it below the bar: the handler of a signal must not draw."""
        self._is_stopping = True

    def _figures(self, latest: Step) -> list[str]:
        figures = [f"loss {self._sum / self._weight:.3f}"]
        if self._validation is not None:
            is_known = self._best is None or self._best == self._validation
            best = "" if is_known else f" (best {self._best:.3f})"
            figures.append(f"validation {self._validation:.3f}{best}")
        return [*figures, f"{latest.tokens_per_s:,.0f} tokens/s", in_bytes(latest.memory_bytes)]

    def _show_stage(self, text: str) -> None:
        self._stage = text

    def _show_notice(self, text: str) -> None:
        from rich.text import Text

        label = Text("notice: ", style="bold")
        self._terminal.print(label + Text(one_line(text), style="not bold"), soft_wrap=True)

    def _show_evaluation(self, event: Evaluation, figures: list[str]) -> None:
        from rich.text import Text

        line = Text(figures[0], style="bold") + Text(
            "  ".join(["", *figures[1:]]), style="not bold"
        )
        self._terminal.print(line)
        shown, self._shown = self._shown, event.samples[:1]
        for sample in self._shown if self._shown != shown else ():
            for text in sample_lines(sample, width=self._terminal.width):
                self._terminal.print(_cropped(text, style="dim"))


class _ErrorStream(io.TextIOBase):
    """Standard error as it is now, whatever libraries do to it later; writing never fails."""

    encoding = "utf-8"

    def __init__(self) -> None:
        self._fd = os.dup(2)

    def write(self, text: str) -> int:
        with contextlib.suppress(OSError):
            write_all(self._fd, text.encode("utf-8", "backslashreplace"))
        return len(text)

    def fileno(self) -> int:
        return self._fd

    def isatty(self) -> bool:
        return os.isatty(self._fd)

    def close(self) -> None:
        if not self.closed:
            os.close(self._fd)
        super().close()


@contextlib.contextmanager
def showing_training(console: Console) -> Iterator[TrainingDisplay]:
    """Yield the display that fits standard error; enter it before that is put away.

    With `-v` and `--debug` libraries write to the terminal, too: lines, no drawing.
    """
    is_shared = console.is_quiet or console.is_verbose or console.is_debug
    if not console.is_error_terminal or not has_cursor() or is_shared:
        yield TrainingDisplay(console)
        return
    from rich.live import Live

    with contextlib.closing(_ErrorStream()) as stream:
        terminal = _terminal_on(stream)
        display = LiveDisplay(console, terminal)
        live = Live(
            display, console=terminal, transient=True, refresh_per_second=_REFRESHES_PER_S,
            redirect_stdout=False, redirect_stderr=False,
        )  # fmt: skip
        with live:
            yield display


def figure(value: float) -> str:
    """A perplexity with as many digits as say something: 11.02, 1,234, 29,100."""
    return f"{value:.2f}" if value < 1000 else in_digits(value)


def sample_lines(sample: Sample, *, width: int) -> list[str]:
    """A sample in a few lines: the end of its prompt, and the beginning of what follows."""
    prompt = one_line(" ".join(sample.prompt[-2 * width :].split()))
    room = max(8, width - 4)
    is_cut = len(prompt) > room or len(sample.prompt) > 2 * width
    lines = [line for raw in sample.completion.split("\n") if (line := one_line(raw))]
    shown = lines[:_SAMPLE_LINES] or [""]
    if len(lines) > _SAMPLE_LINES or sample.finish_reason == "length":
        shown[-1] += " …"
    first = f"  {'…' if is_cut else ' '} {prompt[-room + 1 :] if is_cut else prompt}".rstrip()
    return [first, f"  → {shown[0]}", *(f"    {line}" for line in shown[1:])]


def _cropped(text: str, style: str = "") -> Any:
    from rich.text import Text

    return Text(text, style=style, no_wrap=True, overflow="ellipsis")


def _terminal_on(stream: _ErrorStream) -> Any:
    """A Rich console that knows its own terminal's width, not that of descriptors put away."""
    from rich.console import Console as RichConsole
    from rich.console import ConsoleDimensions

    class Terminal(RichConsole):
        @property  # type: ignore[misc]
        def size(self) -> ConsoleDimensions:
            try:
                columns, lines = os.get_terminal_size(stream.fileno())
            except OSError:
                columns, lines = 0, 0
            return ConsoleDimensions(columns or 80, lines or 25)

    return Terminal(file=cast("IO[str]", stream), highlight=False, markup=False, emoji=False)
