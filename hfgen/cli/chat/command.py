"""`hfgen chat`: what may be typed, and what is refused before a model is loaded."""

from __future__ import annotations

import dataclasses
import functools
from typing import Annotated

import typer

from hfgen.cli.chat.session import Session, Start, beginning
from hfgen.cli.flags import common as flags
from hfgen.cli.flags.common import CHAT_PANEL, INPUT_PANEL
from hfgen.cli.flags.generation import takes_generation_options
from hfgen.cli.flags.shared import LoadingUnnamed
from hfgen.cli.flags.stored import is_typed
from hfgen.cli.program import completion
from hfgen.cli.program.console import Console, is_interactive_input
from hfgen.dialogue import saved, store
from hfgen.errors import ModelNotFound, OptionConflict
from hfgen.generation.options.options import GenerationOptions
from hfgen.generation.prompts.encode import Reading
from hfgen.models.naming.default_chat import default_chat_model

FORMATS = ("text", "jsonl")
_NONE_GIVEN = GenerationOptions()


@functools.partial(takes_generation_options, without=("num_return_sequences",))
def chat(
    ctx: typer.Context,
    console: Console,
    which: LoadingUnnamed,
    name: Annotated[
        str | None,
        typer.Argument(
            metavar="MODEL",
            autocompletion=completion.models,
            help="The model, as with -m.",
            show_default=False,
        ),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            "-m",
            "--model",
            metavar="NAME",
            autocompletion=completion.models,
            envvar="HFGEN_MODEL",
            show_envvar=True,
            help="Alias, Hub id (id@revision), folder or .gguf file. Without it: the one of the "
            "settings or the conversation, else a chat model that is here, else the bundled one.",
        ),
    ] = None,
    options: GenerationOptions = _NONE_GIVEN,
    system: flags.System = None,
    proceed: Annotated[
        bool, typer.Option("-c", "--continue", help="Continue the last conversation.")
    ] = False,
    load: Annotated[
        str | None,
        typer.Option(
            metavar="FILE",
            help="Continue a saved conversation (its id), or one in a file of OpenAI messages.",
        ),
    ] = None,
    no_save: Annotated[
        bool,
        typer.Option("--no-save", help="Save nothing.", rich_help_panel=INPUT_PANEL),
    ] = False,
    format: Annotated[
        str,
        typer.Option(
            metavar="FORMAT",
            autocompletion=completion.words(*FORMATS),
            help="Through a pipe: text, or jsonl (a record for each answer). (default text)",
            show_default=False,
            rich_help_panel=INPUT_PANEL,
        ),
    ] = "text",
    no_markdown: Annotated[
        bool,
        typer.Option(
            "--no-markdown",
            help="Show answers as they are written.",
            rich_help_panel=INPUT_PANEL,
        ),
    ] = False,
    chat_template: flags.ChatTemplate = None,
    allow_special: Annotated[
        bool,
        typer.Option(
            "--allow-special",
            help="Read special tokens written in a message, such as <|endoftext|>, as such.",
            rich_help_panel=CHAT_PANEL,
        ),
    ] = False,
) -> None:
    """Talk with a model.

    hfgen chat
    hfgen chat -m smollm2 --system "You answer in one sentence."
    hfgen chat -c
    printf '%s\\n' "What is a fox?" "And a vixen?" | hfgen chat -m smollm2

    On a terminal /help lists the commands of the dialogue. Through a pipe every line is a message,
    and the answers come out in their order. Conversations are saved as they go: hfgen chat list,
    show and rm.
    """
    flags.choice("--format", format, FORMATS)
    is_interactive = is_interactive_input() and console.is_terminal
    _check(is_interactive, format, no_markdown=no_markdown)
    console.require_output("give it a reader")
    named = flags.named_model(ctx, name, model)
    is_named = name is not None or is_typed(ctx, "model")
    which = dataclasses.replace(which, name=named)
    start = _beginning(proceed, load)
    held = None if start is None else start.held.facts.get("model")
    if not is_named:
        own = held if isinstance(held, str) else named or _default(console)
        which = dataclasses.replace(which, name=own)
    session = Session(
        console, which, options, Reading(allow_special, False, system, chat_template),
        start=start, saves=not no_save,
    )  # fmt: skip
    if is_interactive:
        from hfgen.cli.chat.screen import talk

        talk(session, has_markdown=not no_markdown)
    else:
        from hfgen.cli.chat.piped import answer_lines

        answer_lines(session, format)


def _check(is_interactive: bool, format: str, *, no_markdown: bool) -> None:
    if is_interactive and format != "text":
        raise OptionConflict(
            f"--format {format} is for answers that go through a pipe",
            hint="printf '%s\\n' TEXT | hfgen chat --format jsonl",
        )
    if not is_interactive and no_markdown:
        raise OptionConflict("--no-markdown has no effect here: text in a pipe is as it is written",
                             hint="drop --no-markdown")  # fmt: skip


def _beginning(proceed: bool, load: str | None) -> Start | None:
    """The conversation that is to go on; None for a new one."""
    if proceed and load is not None:
        raise OptionConflict("-c and --load name two conversations", hint="drop one of the two")
    if proceed:
        path = store.newest()
        return Start(path, saved.read(path), is_own=True)
    return None if load is None else beginning(load)


def _default(console: Console) -> str | None:
    """The model where nobody named one: a chat model that is here, else the usual default."""
    try:
        return default_chat_model()
    except ModelNotFound as error:
        console.notice(f"{error.message}; to get one: {error.hint}")
        return None
