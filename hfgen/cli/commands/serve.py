"""`hfgen serve`: answer requests of OpenAI's API on this machine."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

import typer

from hfgen.cli.commands.serve_job import Job
from hfgen.cli.flags import common as flags
from hfgen.cli.flags.shared import LoadingUnnamed
from hfgen.cli.program import completion
from hfgen.cli.program.console import Console
from hfgen.errors import ModelNotFound, OptionConflict, UsageError
from hfgen.models.naming.default_chat import default_chat_model
from hfgen.serving.settings import ServerSettings

_SERVER_PANEL = "Server"
_NAMED = re.compile(r"([\w.:-]+)=(.+)", re.DOTALL)


def serve(
    console: Console,
    which: LoadingUnnamed,
    model: Annotated[
        list[str] | None,
        typer.Option(
            "-m",
            "--model",
            metavar="NAME",
            autocompletion=completion.models,
            help="Alias, Hub id (id@revision), folder or .gguf file, as ALIAS=NAME under a name "
            "of its own (repeatable). Without it: the settings' model (HFGEN_MODEL), or a chat "
            "model that is here, or bundled.",
            show_default=False,
        ),
    ] = None,
    host: Annotated[
        str,
        typer.Option(
            metavar="ADDRESS",
            help="The address to listen at; others than this machine's need --api-key. "
            "(default 127.0.0.1)",
            show_default=False,
            rich_help_panel=_SERVER_PANEL,
        ),
    ] = "127.0.0.1",
    port: Annotated[
        str,
        typer.Option(
            metavar="N",
            help="The port; 0 takes a free one. (default 8000)",
            show_default=False,
            rich_help_panel=_SERVER_PANEL,
        ),
    ] = "8000",
    api_key: Annotated[
        str | None,
        typer.Option(
            metavar="KEY",
            envvar="HFGEN_API_KEY",
            show_envvar=True,
            help="What clients have to send as Authorization: Bearer KEY.",
            show_default=False,
            rich_help_panel=_SERVER_PANEL,
        ),
    ] = None,
    no_auth: Annotated[
        bool,
        typer.Option(
            "--no-auth",
            help="Let everybody in who can reach the address.",
            rich_help_panel=_SERVER_PANEL,
        ),
    ] = False,
    queue: Annotated[
        str,
        typer.Option(
            metavar="N",
            help="How many requests may wait for a slot; more are refused. (0 or more; default 64)",
            show_default=False,
            rich_help_panel=_SERVER_PANEL,
        ),
    ] = "64",
    timeout: Annotated[
        str,
        typer.Option(
            metavar="SECONDS",
            help="The longest that a request may take. (1 or more; default 600)",
            show_default=False,
            rich_help_panel=_SERVER_PANEL,
        ),
    ] = "600",
    body_limit: Annotated[
        str,
        typer.Option(
            metavar="MIB",
            help="The longest body of a request, in MiB. (1 to 1024; default 8)",
            show_default=False,
            rich_help_panel=_SERVER_PANEL,
        ),
    ] = "8",
    cors: Annotated[
        list[str] | None,
        typer.Option(
            metavar="ORIGIN",
            help="A web page's origin, as https://example.org, that may call the server; * is any "
            "(repeatable).",
            show_default=False,
            rich_help_panel=_SERVER_PANEL,
        ),
    ] = None,
    slots: Annotated[
        str,
        typer.Option(
            metavar="N",
            help="How many sequences are decoded concurrently. (1 to 1024; default 16)",
            show_default=False,
            rich_help_panel=flags.MODEL_PANEL,
        ),
    ] = "16",
) -> None:
    """Serve models over HTTP, with OpenAI's API and a page to try them.

    hfgen serve -m storyteller
    hfgen serve -m chat=smollm2-360m -m gpt2 --port 0
    curl http://127.0.0.1:8000/v1/completions --json '{"prompt": "Once upon a time"}'
    """
    settings = ServerSettings(
        host=host,
        port=flags.whole_number("--port", port, low=0, high=65535),
        api_key=api_key,
        has_auth=not no_auth,
        queue=flags.whole_number("--queue", queue, low=0, high=10**6),
        timeout_s=flags.whole_number("--timeout", timeout, low=1, high=10**6),
        body_limit=flags.whole_number("--body-limit", body_limit, low=1, high=1024) * 2**20,
        cors=tuple(cors or ()),
    )
    with flags.in_words_of_flags({}):
        settings.check()
    Job(
        console=console,
        names=_named([model] if isinstance(model, str) else model or _default()),
        which=which,
        settings=settings,
        slots=flags.whole_number("--slots", slots, low=1, high=1024),
    ).run()


def _default() -> list[str]:
    """The model where none is named: a chat model that is here, else the usual default."""
    try:
        return [default_chat_model()]
    except ModelNotFound:
        return []


def _named(models: list[str]) -> dict[str | None, str | None]:
    """What clients call each model, and which it is; None for the default's name."""
    if not models:
        return {None: None}
    names: dict[str | None, str | None] = {}
    for text in models:
        match = None if Path(text).exists() else _NAMED.fullmatch(text)
        name, model = match.groups() if match else (text, text)
        if name in names:
            raise OptionConflict(
                f"two models are called {flags.shortened(str(name))}",
                hint="give one another name: -m ALIAS=NAME",
            )
        if not model:
            raise UsageError("the name of a model is empty", hint="leave -m out for the default")
        names[name] = model
    return names
