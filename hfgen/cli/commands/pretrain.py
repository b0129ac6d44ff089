"""`hfgen pretrain`: train a new model on raw text."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any

import typer

from hfgen.cli.commands.training_command import AsJson, DryRun, Overwrite, Resume, TrainingCommand
from hfgen.cli.flags import common as flags
from hfgen.cli.flags.training import PRETRAIN
from hfgen.cli.io.colours import Style
from hfgen.cli.program.console import Console
from hfgen.training.options.pretrain import PretrainOptions

_NONE_GIVEN = PretrainOptions()


@PRETRAIN.taken_by
def pretrain(
    ctx: typer.Context,
    data: Annotated[
        list[str],
        typer.Argument(
            metavar="DATA",
            help="Files or folders of text: .txt, or .jsonl .json .csv .tsv .parquet with a text "
            "column, also with .gz; - is standard input.",
            show_default=False,
        ),
    ],
    # Not `model`: no setting must turn a new model into an old one.
    checkpoint: Annotated[
        str | None,
        typer.Option(
            "-m",
            "--model",
            metavar="NAME",
            help="Go on with this model instead of making a new one.",
            show_default=False,
        ),
    ] = None,
    output: Annotated[
        str | None,
        typer.Option(
            "-o",
            "--output",
            metavar="DIR",
            help="The folder of the model. (default ./gpt2-SIZE-pretrained)",
        ),
    ] = None,
    options: PretrainOptions = _NONE_GIVEN,
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
    """Train a new model on raw text.

    hfgen pretrain books/ -o ./mine --dry-run
    hfgen pretrain books/ -o ./mine --size 3m --budget 90m
    hfgen pretrain notes.txt -m gpt2 -o ./mine --epochs 1

    A tokenizer is trained on the text, and then a GPT-2. Text is cut into
    documents at headings and runs of blank lines; one in a hundred is kept
    for validation, whose loss is shown in bits per byte of text.
    """
    console: Console = ctx.obj
    console.configure(quiet=quiet, verbose=verbose, debug=debug)
    command = Pretraining(
        console, data, checkpoint, output, options, resume, overwrite, as_json, device, offline,
        trust_remote_code,
    )  # fmt: skip
    command.call(dry_run=dry_run)


class Pretraining(TrainingCommand):
    """What the command line asks for."""

    default_output = "./gpt2-SIZE-pretrained"
    options: PretrainOptions

    def library(self) -> Any:
        """The module that trains."""
        from hfgen.training.runs import pretraining

        return pretraining

    def train(self, data: list[str], **arguments: Any) -> Any:
        """Train."""
        return self.library().pretrain(data, **arguments)

    def first_line(self, dry: Any) -> str:
        """How the text is cut."""
        return str(dry.data.description)

    def shown_rehearsal(self, dry: Any) -> Iterable[tuple[str, Style]]:
        """The estimate, and how some documents begin."""
        from hfgen.cli.io.pretrain_results import rehearsal_text

        return [(rehearsal_text(dry, self.options), Style.PLAIN)]
