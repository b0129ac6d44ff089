"""`hfgen finetune`: train a model on a file of examples.

What can be refused without a model is refused before torch is imported. The library trains; here
are the flags, what is shown on the way, signals, and the result on standard output.
"""

from __future__ import annotations

import signal
from dataclasses import dataclass
from typing import Annotated, Any

import typer

from hfgen.cli import options as flags
from hfgen.cli.console import Console, standard_input
from hfgen.cli.failures import Terminated
from hfgen.cli.options import check_flag
from hfgen.cli.stopping import how_to_go_on, interruption, stopping_on_signals, typed_command
from hfgen.cli.stored import takes_settings
from hfgen.cli.training_flags import takes_training_options
from hfgen.errors import OptionConflict, UsageError
from hfgen.models.devices import check_device_name
from hfgen.training.options import TrainingOptions

_NONE_GIVEN = TrainingOptions()


@takes_settings
@takes_training_options
def finetune(
    ctx: typer.Context,
    data: Annotated[
        list[str],
        typer.Argument(
            metavar="DATA",
            help="Files or folders of examples: .jsonl .json .csv .tsv .parquet .txt, also with "
            ".gz; - is standard input.",
            show_default=False,
        ),
    ],
    model: flags.Model = None,
    output: Annotated[
        str | None,
        typer.Option(
            "-o",
            "--output",
            metavar="DIR",
            help="The folder of the new model. (default ./MODEL-finetuned)",
        ),
    ] = None,
    options: TrainingOptions = _NONE_GIVEN,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run",
            help="Show what would be trained, how, and what it takes; train nothing.",
        ),
    ] = False,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with a run that was stopped.")
    ] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Let --output replace an earlier run.")
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="The result, or the dry run's, as one JSON document.")
    ] = False,
    device: flags.Device = "auto",
    offline: flags.Offline = False,
    trust_remote_code: flags.TrustRemoteCode = False,
    quiet: flags.Quiet = False,
    verbose: flags.Verbose = False,
    debug: flags.Debug = False,
) -> None:
    """Train a model on your own examples.

    hfgen finetune data.jsonl --dry-run
    hfgen finetune data.jsonl -m gpt2 -o ./mine --epochs 3
    hfgen finetune chats.jsonl -m HuggingFaceTB/SmolLM2-135M-Instruct --lora

    Rows are recognised by their columns: text, prompt and completion,
    instruction and output, question and answer, messages, conversations.
    Answers are learned, prompts are not.
    """
    console: Console = ctx.obj
    console.configure(quiet=quiet, verbose=verbose, debug=debug)
    training = Training(
        console, data, model, output, options, resume, overwrite, as_json, device, offline,
        trust_remote_code,
    )  # fmt: skip
    training.check()
    if dry_run:
        training.rehearse()
    else:
        training.run()


@dataclass(frozen=True)
class Training:
    """What the command line asks for."""

    console: Console
    data: list[str]
    model: str | None
    output: str | None
    options: TrainingOptions
    is_resumed: bool
    is_overwrite: bool
    is_json: bool
    device: str
    offline: bool
    trust_remote_code: bool

    def check(self) -> None:
        """Refuse what is misspelt or contradicts itself."""
        check_flag("--device", check_device_name, self.device, command="finetune")
        self.options.columns.check()
        _ = self.options.columns.names  # a template is parsed
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
                f"--output {flags.shortened(self.output)}: allowed is the name of a folder",
                hint="leave --output out for ./MODEL-finetuned",
            )
        self.console.require_output()

    def rehearse(self) -> None:
        """Write what a run would do."""
        from hfgen.cli.training_display import showing_training
        from hfgen.cli.training_results import dry_run_json, dry_run_pieces
        from hfgen.training import finetuning

        console = self.console
        with (
            showing_training(console) as display,
            console.isolated(),
            display.holding_notices() as held,
        ):
            dry = finetuning.dry_run(self.data, listener=display, **self._arguments())
            held.extend(dry.notices)
            # The first line of the output says this.
            held[:] = [notice for notice in held if notice != dry.summary.description]
        if self.is_json:
            console.write(dry_run_json(dry))
            return
        for text, style in dry_run_pieces(dry, self.options, has_colours=console.has_colours):
            console.write(text, style=style)

    def run(self) -> None:
        """Train, and write what came out."""
        from hfgen.cli.training_display import showing_training
        from hfgen.cli.training_results import result_json, result_text
        from hfgen.training import finetuning

        stop = finetuning.StopRequest()
        with (
            showing_training(self.console) as display,
            self.console.isolated(),
            stopping_on_signals(stop, display) as asked,
        ):
            try:
                done = finetuning.finetune(
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
                    error.add_note(how_to_go_on())
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
            "stdin": standard_input() if "-" in (*self.data, self.options.val_data) else None,
        }
