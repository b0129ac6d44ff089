"""What `hfgen finetune` and `hfgen pretrain` do alike: checks, display, signals, and the result.

What can be refused without a model is refused before torch is imported. The library trains.
"""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Annotated, BinaryIO, Generic

import typer

from hfgen.cli.flags.common import check_flag
from hfgen.cli.io.unread import noticing_unread_input
from hfgen.cli.program.console import Console, standard_input
from hfgen.cli.program.failures import Terminated
from hfgen.cli.program.signals import how_to_go_on, interruption, stopping_on_signals, typed_command
from hfgen.errors import OptionConflict, UsageError
from hfgen.models.checkpoint.devices import check_device_name
from hfgen.setting_names import shortened
from hfgen.training.request import Options, TrainingRequest

if TYPE_CHECKING:
    from hfgen.cli.io.training_display import TrainingDisplay
    from hfgen.training.runs.outcome import Trained

DryRun = Annotated[
    bool,
    typer.Option(
        "--dry-run", help="Show what would be trained, how, and what it takes; train nothing."
    ),
]
Resume = Annotated[bool, typer.Option("--resume", help="Go on with a run that was stopped.")]
Overwrite = Annotated[
    bool, typer.Option("--overwrite", help="Let --output replace an earlier run.")
]
AsJson = Annotated[
    bool, typer.Option("--json", help="The result, or the dry run's, as one JSON document.")
]


@dataclass
class TrainingCommand(Generic[Options]):
    """A run of the command line's, with what it shows and how it is stopped."""

    console: Console
    request: TrainingRequest[Options]
    default_output: str
    """The folder that is used where none is named, for the user."""
    _signals: list[int] = field(default_factory=list)
    """Those that asked for a stop."""

    def check(self) -> None:
        """Refuse what is misspelt or contradicts itself."""
        request = self.request
        check_flag("--device", check_device_name, request.device)
        if request.resume and request.overwrite:
            raise OptionConflict(
                "--resume continues a run, --overwrite starts over", hint="drop one of the two"
            )
        if request.output in ("", "-"):
            raise UsageError(
                f"--output {shortened(str(request.output))}: must be the name of a folder",
                hint=f"leave --output out for {self.default_output}",
            )
        self.console.require_output(hint="give it a reader, as 2>&1 | less, or a file: > report")

    @contextlib.contextmanager
    def rehearsing(self) -> Iterator[TrainingRequest[Options]]:
        """The request for a dry run in the block; what it tells is shown at the end."""
        with self._showing() as display, display.holding_notices():
            yield replace(self.request, listener=display, stdin=self._stdin())

    @contextlib.contextmanager
    def training(self) -> Iterator[TrainingRequest[Options]]:
        """The request for a run in the block, which a signal stops."""
        with self._showing() as display:
            request = replace(
                self.request, listener=display, stdin=self._stdin(), command=typed_command()
            )
            try:
                with stopping_on_signals(request.stop, display) as self._signals:
                    yield request
            except (KeyboardInterrupt, Terminated) as error:
                if display.is_training or display.last_saved is not None or request.resume:
                    error.add_note(self._how_to_go_on())
                raise

    def write(self, done: Trained, *, is_json: bool) -> None:
        """Write what came out; a run that was stopped ends as the signal would have ended it."""
        from hfgen.cli.io.training_results import result_json, result_text

        if done.was_stopped:
            # Without a signal of its own, another process of the run was told to stop.
            error = interruption(self._signals[0] if self._signals else signal.SIGTERM)
            error.add_note(self._how_to_go_on())
            raise error
        self.console.write(result_json(done) if is_json else result_text(done))

    @contextlib.contextmanager
    def _showing(self) -> Iterator[TrainingDisplay]:
        from hfgen.cli.io.training_display import showing_training

        with (
            noticing_unread_input(
                self.console,
                is_read=self.request.reads_stdin,
                instead="write - among the files for its rows",
            ),
            showing_training(self.console) as display,
            self.console.isolated(),
        ):
            yield display

    def _stdin(self) -> BinaryIO | None:
        return standard_input() if self.request.reads_stdin else None

    def _how_to_go_on(self) -> str:
        return how_to_go_on(has_piped_input=self.request.reads_stdin)
