"""What `hfgen finetune` and `hfgen pretrain` do alike: checks, display, signals, and the result.

What can be refused without a model is refused before torch is imported. The library trains.
"""

from __future__ import annotations

import signal
from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import typer

from hfgen.cli.flags.common import check_flag
from hfgen.cli.io.colours import Style
from hfgen.cli.io.unread import noticing_unread_input
from hfgen.cli.program.console import Console, standard_input
from hfgen.cli.program.failures import Terminated
from hfgen.cli.program.signals import how_to_go_on, interruption, stopping_on_signals, typed_command
from hfgen.errors import OptionConflict, UsageError
from hfgen.models.checkpoint.devices import check_device_name
from hfgen.setting_names import shortened
from hfgen.training.options.common import RunOptions

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


@dataclass(frozen=True)
class TrainingCommand(ABC):
    """What the command line asks for."""

    console: Console
    data: list[str]
    model: str | None
    output: str | None
    options: RunOptions
    is_resumed: bool
    is_overwrite: bool
    is_json: bool
    device: str
    offline: bool
    trust_remote_code: bool

    default_output: ClassVar[str]
    """The folder that is used where none is named, for the user."""

    @abstractmethod
    def library(self) -> Any:
        """The module with `dry_run` and `StopRequest`."""

    @abstractmethod
    def train(self, data: list[str], **arguments: Any) -> Any:
        """Call the library's function."""

    @abstractmethod
    def first_line(self, dry: Any) -> str:
        """What the output of a dry run begins with, and no notice need say."""

    @abstractmethod
    def shown_rehearsal(self, dry: Any) -> Iterable[tuple[str, Style]]:
        """A dry run for people."""

    def call(self, *, dry_run: bool) -> None:
        """Do what is asked for."""
        self.check()
        is_read = "-" in (*self.data, self.options.val_data)
        how = "write - among the files for its rows"
        with noticing_unread_input(self.console, is_read=is_read, instead=how):
            if dry_run:
                self.rehearse()
            else:
                self.run()

    def check(self) -> None:
        """Refuse what is misspelt or contradicts itself."""
        check_flag("--device", check_device_name, self.device)
        if self.console.is_quiet and self.console.is_verbose:
            raise OptionConflict(
                "--quiet leaves errors only, --verbose asks for more", hint="drop one"
            )
        if self.is_resumed and self.is_overwrite:
            raise OptionConflict(
                "--resume goes on with a run, --overwrite begins anew", hint="drop one of the two"
            )
        if self.output in ("", "-"):
            raise UsageError(
                f"--output {shortened(self.output)}: must be the name of a folder",
                hint=f"leave --output out for {self.default_output}",
            )
        self.console.require_output(hint="give it a reader, as 2>&1 | less, or a file: > report")

    def rehearse(self) -> None:
        """Write what a run would do."""
        from hfgen.cli.io.training_display import showing_training
        from hfgen.cli.io.training_results import dry_run_json

        console = self.console
        with (
            showing_training(console) as display,
            console.isolated(),
            display.holding_notices() as held,
        ):
            dry = self.library().dry_run(self.data, listener=display, **self._arguments())
            held.extend(dry.notices)
            held[:] = [notice for notice in held if notice != self.first_line(dry)]
        if self.is_json:
            console.write(dry_run_json(dry))
            return
        for text, style in self.shown_rehearsal(dry):
            console.write(text, style=style)

    def run(self) -> None:
        """Train, and write what came out."""
        from hfgen.cli.io.training_display import showing_training
        from hfgen.cli.io.training_results import result_json, result_text

        stop = self.library().StopRequest()
        with (
            showing_training(self.console) as display,
            self.console.isolated(),
            stopping_on_signals(stop, display) as asked,
        ):
            try:
                done = self.train(
                    self.data,
                    resume=self.is_resumed,
                    overwrite=self.is_overwrite,
                    listener=display,
                    stop=stop,
                    command=typed_command(),
                    **self._arguments(),
                )
                if done.was_stopped:
                    # Without a signal of its own, another process of the run was told to stop.
                    raise interruption(asked[0] if asked else signal.SIGTERM)
            except (KeyboardInterrupt, Terminated) as error:
                if display.is_training or display.last_saved is not None or self.is_resumed:
                    error.add_note(how_to_go_on(has_piped_input=self._has_piped_input))
                raise
        self.console.write(result_json(done) if self.is_json else result_text(done))

    def _arguments(self) -> dict[str, Any]:
        return {
            "model": self.model,
            "output": self.output,
            "options": self.options,
            "device": self.device,
            "offline": self.offline,
            "trust_remote_code": self.trust_remote_code,
            "stdin": standard_input() if self._has_piped_input else None,
        }

    @property
    def _has_piped_input(self) -> bool:
        return "-" in (*self.data, self.options.val_data)
