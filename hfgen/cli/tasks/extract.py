"""`hfgen extract`: structured data from texts, always well formed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Annotated, Any

import typer

from hfgen.cli.flags import common as flags
from hfgen.cli.flags.common import INPUT_PANEL
from hfgen.cli.flags.shared import LoadingToMeasure
from hfgen.cli.io.inputs import InputChoice, data_file, each_text
from hfgen.cli.io.unread import noticing_unread_input
from hfgen.cli.program import completion
from hfgen.cli.program.console import Console, standard_input
from hfgen.cli.program.loading import loaded
from hfgen.errors import UsageError
from hfgen.generation.options.options import GenerationOptions
from hfgen.generation.options.typed_text import content_of, separated
from hfgen.tasks.presets import TASKS, Example, Task, entities_task
from hfgen.training.reading.files import read_rows

FORM_PANEL = "Form of the answer"


def extract(
    console: Console,
    which: LoadingToMeasure,
    text: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="TEXT",
            help="Texts, each on its own; - is standard input. Without any, standard input is "
            "read.",
            show_default=False,
        ),
    ] = None,
    file: Annotated[
        str | None,
        typer.Option(
            "-f",
            "--file",
            metavar="FILE",
            help="Read a text file, or rows with text of a .jsonl, .csv or .parquet file.",
        ),
    ] = None,
    schema: Annotated[
        str | None,
        typer.Option(
            "--schema",
            "--json-schema",
            metavar="SCHEMA",
            help="A JSON schema: a file, the schema, or fields as 'name, age int, tags list'.",
            rich_help_panel=FORM_PANEL,
        ),
    ] = None,
    entities: Annotated[
        str | None,
        typer.Option(
            metavar="A,B", help="Lists of the names of each kind.", rich_help_panel=FORM_PANEL
        ),
    ] = None,
    task: Annotated[
        str | None,
        typer.Option(
            metavar="TASK",
            autocompletion=completion.words(*TASKS),
            help=f"A form with instruction and examples: {', '.join(TASKS)}.",
            rich_help_panel=FORM_PANEL,
        ),
    ] = None,
    regex: Annotated[
        str | None,
        typer.Option(metavar="REGEX", help="A regular expression.", rich_help_panel=FORM_PANEL),
    ] = None,
    choices: Annotated[
        str | None,
        typer.Option(metavar="A,B", help="One of these.", rich_help_panel=FORM_PANEL),
    ] = None,
    grammar: Annotated[
        str | None,
        typer.Option(
            metavar="FILE", help="A Lark grammar, or its file.", rich_help_panel=FORM_PANEL
        ),
    ] = None,
    grounded: Annotated[
        bool | None,
        typer.Option(
            "--grounded/--no-grounded",
            help="Quote every string from the text. (default for --entities and --task)",
            show_default=False,
        ),
    ] = None,
    examples: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="Examples to show (few-shot): rows of text and result."),
    ] = None,
    shots: Annotated[
        int,
        typer.Option(
            metavar="N", min=0, help="How many of the examples. (default 5)", show_default=False
        ),
    ] = 5,
    instruction: Annotated[
        str | None, typer.Option(metavar="TEXT", help="What to ask, in your own words.")
    ] = None,
    max_new_tokens: Annotated[
        str | None,
        typer.Option(
            "-n",
            "--max-new-tokens",
            metavar="N",
            help="Longest answer in tokens; a longer one is closed there. (default 200)",
        ),
    ] = None,
    temperature: Annotated[
        str | None, typer.Option("-t", metavar="X", help="Sample the answer. (default greedy)")
    ] = None,
    seed: Annotated[str | None, typer.Option(metavar="N", help="Seed of the sampling.")] = None,
    jsonl: Annotated[
        bool,
        typer.Option(
            "--jsonl", help="Standard input holds JSON rows.", rich_help_panel=INPUT_PANEL
        ),
    ] = False,
) -> None:
    """Extract structured data from texts; every answer parses, one JSON line for each.

    hfgen extract "Ada Lovelace, 36, of London" --schema "name, age int, city"
    hfgen extract --entities PERSON,PLACE -f texts.jsonl
    hfgen extract "I loved it." --choices positive,negative
    """
    form = _form(entities, task, json_schema=schema, regex=regex, choices=choices, grammar=grammar)
    sampling = {"max_new_tokens": max_new_tokens, "temperature": temperature, "seed": seed}
    options = _options(form[1], sampling)
    shown = _examples(examples, shots) if examples else []
    console.require_output()
    source = InputChoice(text or (), file, command="extract")
    texts = _texts(source, has_rows=jsonl)
    unread = noticing_unread_input(
        console, is_read=source.reads_standard_input, instead=source.how_to_read_standard_input
    )
    with unread, console.isolated(), flags.in_words_of_flags({}):
        from hfgen.tasks.extraction import Extractor

        lm = loaded(console, which)
        extractor = Extractor(
            lm, form[0], options, examples=shown, instruction=instruction, grounded=grounded
        )
        for found in extractor.extract(texts):
            console.write(json.dumps(found.to_dict(), ensure_ascii=False) + "\n")


def _form(
    kinds: str | None, task: str | None, **typed: str | None
) -> tuple[Task | None, dict[str, Any]]:
    """The task or the constraint that the command line asks for."""
    given = {name: value for name, value in typed.items() if value is not None}
    asked = [*given, *(["entities"] if kinds is not None else []), *(["task"] if task else [])]
    if len(asked) != 1:
        what = "no form of answer is given" if not asked else "two forms of answer are given"
        raise UsageError(what, hint="give --schema 'name, age int', --entities PERSON, or --task")
    if task is not None:
        flags.choice("--task", task, TASKS)
        return TASKS[task], {}
    if kinds is not None:
        names = list(dict.fromkeys(separated(kinds)))
        if not names:
            raise UsageError('--entities "": names no kind', hint="as --entities PERSON,PLACE")
        return entities_task(names), {}
    name, value = next(iter(given.items()))
    if name == "choices":
        return None, {name: separated(value)}
    return None, {name: value if name == "regex" else content_of(value)}


def _options(form: dict[str, Any], sampling: dict[str, Any]) -> GenerationOptions:
    given = form | {name: value for name, value in sampling.items() if value is not None}
    typed = {name: f"{flags.flag_of(name)} {flags.shortened(str(v))}" for name, v in given.items()}
    with flags.in_words_of_flags(typed):
        return GenerationOptions(**given)


def _examples(path: str, shots: int) -> list[Example]:
    """The first examples of a file."""
    found: list[Example] = []
    for row in read_rows([path]):
        if len(found) == shots:
            break
        values = row.values
        result = values.get("result", values.get("entities"))
        if not isinstance(values.get("text"), str) or result is None:
            raise row.error("an example has text and result", hint='{"text": …, "result": …}')
        found.append(Example(str(values["text"]), result))
    return found


def _texts(source: InputChoice, *, has_rows: bool) -> Iterator[tuple[str, str | None]]:
    """The texts that the command line names, with their ids."""
    path = data_file(source, has_rows=has_rows)
    if path is not None:
        return _of_rows(path)
    return ((text, None) for text in each_text(source))


def _of_rows(path: str) -> Iterator[tuple[str, str | None]]:
    for row in read_rows([path], stdin=standard_input()):
        text, row_id = row.values.get("text"), row.values.get("id")
        if not isinstance(text, str):
            raise row.error("no text", hint='write {"text": …}')
        yield text, None if row_id is None else str(row_id)
