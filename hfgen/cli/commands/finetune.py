"""`hfgen finetune`: train a model on a file of examples."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any

import typer

from hfgen.cli.commands.training_command import AsJson, DryRun, Overwrite, Resume, TrainingCommand
from hfgen.cli.flags import common as flags
from hfgen.cli.flags.training import FINETUNE
from hfgen.cli.io.colours import Style
from hfgen.cli.program.console import Console
from hfgen.training.options.finetune import TrainingOptions

_NONE_GIVEN = TrainingOptions()


@FINETUNE.taken_by
def finetune(
    ctx: typer.Context,
    data: Annotated[
        list[str],
        typer.Argument(
            metavar="DATA",
            help="Files or folders of examples: .jsonl .json .csv .tsv .parquet .arrow .txt, also "
            "with .gz; - is standard input.",
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
    dry_run: DryRun = False,
    resume: Resume = False,
    overwrite: Overwrite = False,
    as_json: AsJson = False,
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
    command = Finetuning(
        console, data, model, output, options, resume, overwrite, as_json, device, offline,
        trust_remote_code,
    )  # fmt: skip
    command.call(dry_run=dry_run)


class Finetuning(TrainingCommand):
    """What the command line asks for."""

    default_output = "./MODEL-finetuned"
    options: TrainingOptions

    def check(self) -> None:
        """Refuse what is misspelt or contradicts itself."""
        self.options.columns.check()
        _ = self.options.columns.names  # a template is parsed
        super().check()

    def library(self) -> Any:
        """The module that trains."""
        from hfgen.training.runs import finetuning

        return finetuning

    def train(self, data: list[str], **arguments: Any) -> Any:
        """Train."""
        return self.library().finetune(data, **arguments)

    def first_line(self, dry: Any) -> str:
        """How the rows were recognised."""
        return str(dry.summary.description)

    def shown_rehearsal(self, dry: Any) -> Iterable[tuple[str, Style]]:
        """The estimate and a few rows."""
        from hfgen.cli.io.training_results import dry_run_pieces

        return dry_run_pieces(dry, self.options, has_colours=self.console.has_colours)
