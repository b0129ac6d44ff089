"""`hfgen classify`: labels for texts."""

from __future__ import annotations

from typing import Annotated

import typer

from hfgen.cli.flags import common as flags
from hfgen.cli.flags.common import INPUT_PANEL
from hfgen.cli.flags.shared import LoadingToMeasure
from hfgen.cli.io.inputs import InputChoice
from hfgen.cli.io.unread import noticing_unread_input
from hfgen.cli.program import completion
from hfgen.cli.program.console import Console
from hfgen.cli.tasks.classify_job import Job, Prompting
from hfgen.tasks.labels import Form

FORMATS = ("text", "json", "jsonl")
CALIBRATIONS = ("none", "contextual", "pmi")
_PROMPT = "Prompt"


def classify(
    console: Console,
    which: LoadingToMeasure,
    text: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="TEXT",
            help="Texts to classify, each on its own; - is standard input. Without any, standard "
            "input is read.",
            show_default=False,
        ),
    ] = None,
    labels: Annotated[
        str | None,
        typer.Option(metavar="A,B,…", help="The labels to choose from.", show_default=False),
    ] = None,
    file: Annotated[
        str | None,
        typer.Option(
            "-f",
            "--file",
            metavar="FILE",
            help="Classify the rows of a .jsonl, .csv or .parquet file: text, and label where it "
            "is known.",
        ),
    ] = None,
    evaluate: Annotated[
        bool,
        typer.Option(
            "--evaluate", help="Report accuracy, macro-F1, confusion and calibration error."
        ),
    ] = False,
    task: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            autocompletion=completion.words("sentiment", "topic"),
            help="Labels and template of a common task: sentiment or topic.",
        ),
    ] = None,
    labels_file: Annotated[
        str | None,
        typer.Option(
            metavar="FILE",
            help="Labels from a .txt file (a line each, 'name: description'), or from rows with "
            "label, verbalizer and description.",
        ),
    ] = None,
    format: Annotated[
        str,
        typer.Option(
            metavar="FORMAT",
            autocompletion=completion.words(*FORMATS),
            help="text, json (one document) or jsonl (a record on each line). (default text)",
            show_default=False,
        ),
    ] = "text",
    min_confidence: Annotated[
        str,
        typer.Option(
            metavar="P", help="Below this probability a text gets no label.", show_default=False
        ),
    ] = "0",
    examples: Annotated[
        str | None,
        typer.Option(
            metavar="FILE",
            help="Labelled rows to show the model before each text (few-shot).",
            rich_help_panel=_PROMPT,
        ),
    ] = None,
    shots: Annotated[
        str | None,
        typer.Option(
            metavar="N",
            help="How many of the examples, evenly over the labels. (default 8, or all if fewer)",
            rich_help_panel=_PROMPT,
        ),
    ] = None,
    seed: Annotated[
        str,
        typer.Option(
            metavar="N",
            help="Which examples, and in which order. (default 0)",
            show_default=False,
            rich_help_panel=_PROMPT,
        ),
    ] = "0",
    template: Annotated[
        str | None,
        typer.Option(
            metavar="TEXT",
            help="How text and label are written. (default '{text}\\\\nLabel: {label}')",
            rich_help_panel=_PROMPT,
        ),
    ] = None,
    instruction: Annotated[
        str,
        typer.Option(
            metavar="TEXT",
            help="What to say once, before examples and text.",
            show_default=False,
            rich_help_panel=_PROMPT,
        ),
    ] = "",
    calibration: Annotated[
        str,
        typer.Option(
            metavar="METHOD",
            autocompletion=completion.words(*CALIBRATIONS),
            help="Against what the model prefers whatever the text is: none, contextual (Zhao et "
            "al. 2021) or pmi (Holtzman et al. 2021). (default none)",
            show_default=False,
            rich_help_panel=_PROMPT,
        ),
    ] = "none",
    lines: Annotated[
        bool,
        typer.Option("--lines", help="Each line is a text.", rich_help_panel=INPUT_PANEL),
    ] = False,
    jsonl: Annotated[
        bool,
        typer.Option(
            "--jsonl", help="Standard input holds JSON rows.", rich_help_panel=INPUT_PANEL
        ),
    ] = False,
) -> None:
    """Classify texts: which of some labels a model finds most likely.

    hfgen classify "A warm, funny film." --labels negative,positive
    hfgen classify -f reviews.jsonl --task sentiment --examples train.jsonl --shots 4
    hfgen classify -f reviews.jsonl -m ./mine --evaluate

    A model that hfgen finetune made of labelled rows knows its labels and its
    prompt. All others, chat models too, continue a plain text.
    """
    if template is not None:
        flags.check_flag("--template", Form, template)
    job = Job(
        console,
        flags.choice("--format", format, FORMATS),
        Prompting(
            labels=labels,
            labels_file=labels_file,
            task=task,
            template=template,
            instruction=instruction,
            examples=examples,
            shots=None if shots is None else flags.whole_number("--shots", shots, low=0, high=999),
            seed=flags.whole_number("--seed", seed, low=0, high=2**63),
            calibration=flags.choice("--calibration", calibration, CALIBRATIONS),
            min_confidence=flags.probability("--min-confidence", min_confidence),
        ),
        is_evaluated=evaluate,
        is_verbose=console.is_verbose,
    )
    console.require_output()
    source = InputChoice(text or (), file, has_rows=lines, command="classify")
    unread = noticing_unread_input(
        console,
        is_read=source.reads_standard_input,
        instead=source.how_to_read_standard_input,
    )
    with unread, flags.in_words_of_flags({}):
        job.prepare(which)
        job.run(which, job.rows(source, has_rows=jsonl))
