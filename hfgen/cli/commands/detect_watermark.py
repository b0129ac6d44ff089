"""`hfgen detect-watermark`: tell whether a text was generated with `--watermark`."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from hfgen.cli.flags import common as flags
from hfgen.cli.flags.common import INPUT_PANEL
from hfgen.cli.flags.typed import notice_of_scattered
from hfgen.cli.io.inputs import InputChoice, Prompts
from hfgen.cli.io.unread import noticing_unread_input
from hfgen.cli.program.console import Console
from hfgen.errors import UsageError
from hfgen.generation.options.options import GenerationOptions
from hfgen.generation.records import Pending


def detect_watermark(
    ctx: typer.Context,
    console: Console,
    text: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="TEXT",
            help="The text to look at, best without its prompt; - is standard input. "
            "Without any, standard input is read.",
            show_default=False,
        ),
    ] = None,
    model: flags.Model = None,
    file: Annotated[
        str | None,
        typer.Option("-f", "--file", metavar="FILE", help="Read the text from a file."),
    ] = None,
    lines: Annotated[
        bool,
        typer.Option("--lines", help="Each line is a text.", rich_help_panel=INPUT_PANEL),
    ] = False,
    as_json: Annotated[
        bool,
        typer.Option("--json", help="A JSON object for each text.", rich_help_panel=INPUT_PANEL),
    ] = False,
    z_threshold: Annotated[
        str,
        typer.Option(
            metavar="Z",
            help="From which z-score on a text counts as watermarked. (default 3)",
            show_default=False,
        ),
    ] = "3",
    settings: Annotated[
        str | None,
        typer.Option(
            "--watermarking-config",
            metavar="JSON",
            help="The settings that the text was generated with, if they were not the default.",
        ),
    ] = None,
    offline: flags.Offline = False,
) -> None:
    """Tell whether a text carries hfgen's watermark.

    hfgen generate --watermark --no-echo "The king" | hfgen detect-watermark

    The model has to be the one that wrote the text; only its tokenizer is read.
    """
    if notice := notice_of_scattered(ctx):
        console.notice(notice)
    values: dict[str, object] = {"watermark": True}
    if settings is not None:
        values["watermarking_config"] = settings
    with flags.in_words_of_flags({"watermarking_config": "--watermarking-config"}):
        options = GenerationOptions.from_mapping(values)
    threshold = _number("--z-threshold", z_threshold)
    source = InputChoice(text or (), file, has_rows=lines, command="detect-watermark")
    texts = Prompts(source)
    unread = noticing_unread_input(
        console,
        is_read=source.reads_standard_input,
        instead=source.how_to_read_standard_input,
    )
    with unread, console.isolated():
        from hfgen.generation.watermark import detect
        from hfgen.models.checkpoint.tokenizer import tokenizer_alone
        from hfgen.models.naming.resolve import resolve

        resolved = resolve(model, offline=offline, progress=console.status)
        for notice in resolved.notices:
            console.notice(notice)
        tokenizer, vocabulary_size = tokenizer_alone(resolved)
        for one in texts:
            if isinstance(one, Pending):
                continue
            found = detect(
                tokenizer.encode(one, add_special_tokens=False, split_special_tokens=True),
                vocabulary_size=vocabulary_size,
                settings=dict(options.watermarking_config or ()),
                z_threshold=threshold,
            )
            if as_json:
                console.write(json.dumps(found.to_dict()) + "\n")
                continue
            console.write(
                f"{'watermarked' if found.is_watermarked else 'no watermark'}: "
                f"{found.green_tokens} of {found.tokens} tokens green, "
                f"{found.expected_green_tokens:.1f} expected by chance; "
                f"z = {found.z_score:.2f}, p = {found.p_value:.2g}\n"
            )
        texts.finish()


def _number(flag: str, text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise UsageError(
            f"{flag} {flags.shortened(text)}: must be a number", hint=f"leave {flag} out for 3"
        ) from None
