"""`hfgen pretrain`: train a new model on raw text."""

from __future__ import annotations

from typing import Annotated

import typer

from hfgen.cli.commands.training_command import AsJson, DryRun, Overwrite, Resume, TrainingCommand
from hfgen.cli.flags import common as flags
from hfgen.cli.flags.training import PRETRAIN
from hfgen.cli.program.console import Console
from hfgen.training.options.pretrain import PretrainOptions
from hfgen.training.request import TrainingRequest

_NONE_GIVEN = PretrainOptions()


@PRETRAIN.taken_by
def pretrain(
    console: Console,
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
) -> None:
    """Train a new model on raw text.

    hfgen pretrain books/ -o ./mine --dry-run
    hfgen pretrain books/ -o ./mine --size 3m --budget 90m
    hfgen pretrain notes.txt -m gpt2 -o ./mine --epochs 1

    A tokenizer is trained on the text, and then a GPT-2. Text is cut into
    documents at headings and runs of blank lines; one in a hundred is kept
    for validation, whose loss is shown in bits per byte of text.
    """
    request = TrainingRequest(
        data, options, model=checkpoint, output=output, device=device, offline=offline,
        trust_remote_code=trust_remote_code, resume=resume, overwrite=overwrite,
    )  # fmt: skip
    command = TrainingCommand(console, request, default_output="./gpt2-SIZE-pretrained")
    command.check()
    from hfgen.training.runs.pretraining import PretrainRun

    if not dry_run:
        with command.training() as request:
            done = PretrainRun(request).execute()
        command.write(done, is_json=as_json)
        return
    from hfgen.cli.io.pretrain_results import rehearsal_text
    from hfgen.cli.io.training_results import dry_run_json

    with command.rehearsing() as request:
        told = PretrainRun(request).rehearse()
    console.write(dry_run_json(told) if as_json else rehearsal_text(told, options))
