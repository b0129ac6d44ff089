"""The commands of the program, each imported when it is called and not before.

`COMMANDS` says what the list in `hfgen --help` shows and where the function is; the modules behind
it load on demand. A command is a function with Typer's annotations.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any

import typer
from typer.core import TyperArgument, TyperCommand, TyperGroup, TyperOption

import hfgen
from hfgen.cli.completion import InstallCompletion, ShowCompletion


@dataclass(frozen=True)
class Entry:
    """One command in the list."""

    target: str
    """`module:function`, or `module:app` for a command that has commands of its own."""
    help: str
    panel: str


COMMANDS = {
    "generate": Entry("hfgen.cli.generate:generate", "Continue a text.", panel="Generating text"),
    "batch": Entry(
        "hfgen.cli.batch:batch", "Many prompts from a file, resumable.", panel="Generating text"
    ),
    "detect-watermark": Entry(
        "hfgen.cli.detect_watermark:detect_watermark",
        "Tell whether a text carries hfgen's watermark.",
        panel="Generating text",
    ),
    "finetune": Entry(
        "hfgen.cli.finetune:finetune", "Train a model on your own examples.", panel="Training"
    ),
    "pretrain": Entry(
        "hfgen.cli.pretrain:pretrain", "Train a new model on raw text.", panel="Training"
    ),
    "merge": Entry(
        "hfgen.cli.merge:merge", "Merge an adapter into its base model.", panel="Training"
    ),
    "config": Entry("hfgen.cli.config:app", "Show and change the settings.", panel="Settings"),
    "models": Entry(
        "hfgen.cli.models:app", "The catalogue, and the models on this machine.", panel="Models"
    ),
    "estimate": Entry(
        "hfgen.cli.estimate:estimate", "How much memory a model needs.", panel="Models"
    ),
    "bench": Entry("hfgen.cli.bench:bench", "How fast a model runs here.", panel="Models"),
}


class PlainHelp:
    """Help pages without the Python type of a flag or an argument."""

    def get_params(self, ctx: Any) -> Any:
        """Return the parameters, flags without a metavar."""
        params = super().get_params(ctx)  # type: ignore[misc]
        for param in params:
            if isinstance(param, TyperArgument):
                param.display_type_rich = lambda ctx: ""  # type: ignore[method-assign]
            elif isinstance(param, TyperOption) and param.is_flag:
                param.metavar = ""
        return params


class Command(PlainHelp, TyperCommand):
    """A command of hfgen."""


class Group(PlainHelp, TyperGroup):
    """A command with commands of its own."""


class LazyGroup(Group):
    """A group that lists its commands by the table and imports the one that is called."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        for name, entry in COMMANDS.items():
            self.add_command(TyperCommand(name, short_help=entry.help, rich_help_panel=entry.panel))

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Find the command that `args` begin with, and import it."""
        name, _, rest = super().resolve_command(ctx, args)
        if name is None:
            return None, None, rest
        return name, load_command(name), rest


def load_command(name: str) -> Any:
    """Import the command `name` and make it Typer's."""
    module, _, attribute = COMMANDS[name].target.partition(":")
    target = getattr(importlib.import_module(module), attribute)
    if isinstance(target, typer.Typer):
        return typer.main.get_command(target)
    app = typer.Typer(add_completion=False, rich_markup_mode="rich")
    app.command(name, cls=Command)(target)
    return typer.main.get_command(app)


def command_group(help: str, functions: dict[str, Callable[..., None]]) -> typer.Typer:
    """Make one command of several: `hfgen config list`, `hfgen config get`, …"""
    app = typer.Typer(cls=Group, help=help, add_completion=False, rich_markup_mode="rich")
    for name, function in functions.items():
        app.command(name, cls=Command)(function)
    return app


def build_program() -> Any:
    """Build the root command."""
    app = typer.Typer(
        cls=LazyGroup,
        add_completion=False,
        rich_markup_mode="rich",
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback()(_root)
    return typer.main.get_command(app)


def _print_version(is_asked: bool) -> None:
    if is_asked:
        typer.echo(f"hfgen {hfgen.__version__}")
        raise typer.Exit


def _root(
    version: Annotated[
        bool,
        typer.Option("--version", help="Show the version.", callback=_print_version, is_eager=True),
    ] = False,
    show_completion: ShowCompletion = None,
    install_completion: InstallCompletion = None,
) -> None:
    """Generate text with GPT-style language models on your own machine."""
