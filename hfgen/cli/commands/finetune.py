"""`hfgen finetune`: train a model on a file of examples."""

from __future__ import annotations

from typing import Annotated

import typer

from hfgen.cli.commands.training_command import AsJson, DryRun, Overwrite, Resume, TrainingCommand
from hfgen.cli.flags import common as flags
from hfgen.cli.flags.training import FINETUNE
from hfgen.cli.program.console import Console
from hfgen.training.options.finetune import TrainingOptions
from hfgen.training.request import TrainingRequest

_NONE_GIVEN = TrainingOptions()


@FINETUNE.taken_by
def finetune(
    console: Console,
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
) -> None:
    """Train a model on your own examples.

    hfgen finetune data.jsonl --dry-run
    hfgen finetune data.jsonl -m gpt2 -o ./mine --epochs 3
    hfgen finetune chats.jsonl -m HuggingFaceTB/SmolLM2-135M-Instruct --lora

    Rows are recognised by their columns: text, prompt and completion,
    instruction and output, question and answer, messages, conversations.
    Answers are learned, prompts are not.
    """
    request = TrainingRequest(
        data, options, model=model, output=output, device=device, offline=offline,
        trust_remote_code=trust_remote_code, resume=resume, overwrite=overwrite,
    )  # fmt: skip
    command = TrainingCommand(console, request, default_output="./MODEL-finetuned")
    options.columns.check()
    command.check()
    from hfgen.training.runs.finetuning import FinetuneRun

    if not dry_run:
        with command.training() as request:
            done = FinetuneRun(request).execute()
        command.write(done, is_json=as_json)
        return
    from hfgen.cli.io.training_results import dry_run_json, dry_run_pieces

    with command.rehearsing() as request:
        told = FinetuneRun(request).rehearse()
    if as_json:
        console.write(dry_run_json(told))
        return
    for text, style in dry_run_pieces(told, options, has_colours=console.has_colours):
        console.write(text, style=style)
