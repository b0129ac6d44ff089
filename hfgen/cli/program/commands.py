"""The commands of the program, each imported when it is called and not before.

`COMMANDS` says what the list in `hfgen --help` shows and where the function is; the modules behind
it load on demand. A command is a function with Typer's annotations.
"""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any

import typer
from typer.core import TyperArgument, TyperCommand, TyperGroup, TyperOption

import hfgen
from hfgen.cli.flags.typed import SCATTERED, CommandLine, with_generate
from hfgen.cli.program.completion import InstallCompletion, ShowCompletion
from hfgen.errors import UsageError
from hfgen.setting_names import shortened


@dataclass(frozen=True)
class Entry:
    """One command in the list."""

    target: str
    """`module:function`, or `module:app` for a command that has commands of its own."""
    help: str
    panel: str


COMMANDS = {
    "generate": Entry(
        "hfgen.cli.commands.generate:generate", "Continue a text.", panel="Generating text"
    ),
    "batch": Entry(
        "hfgen.cli.commands.batch:batch",
        "Many prompts from a file, resumable.",
        panel="Generating text",
    ),
    "chat": Entry("hfgen.cli.chat.command:chat", "Talk with a model.", panel="Generating text"),
    "chats": Entry("hfgen.cli.chat.saved:app", "Saved conversations.", panel="Generating text"),
    "serve": Entry(
        "hfgen.cli.commands.serve:serve",
        "OpenAI's API on your own machine.",
        panel="Generating text",
    ),
    "code": Entry(
        "hfgen.cli.code.command:code", "Complete a source file.", panel="Generating text"
    ),
    "detect-watermark": Entry(
        "hfgen.cli.commands.detect_watermark:detect_watermark",
        "Tell whether a text carries hfgen's watermark.",
        panel="Generating text",
    ),
    "classify": Entry(
        "hfgen.cli.tasks.classify:classify",
        "Label texts, by likelihood.",
        panel="Language tasks",
    ),
    "extract": Entry(
        "hfgen.cli.tasks.extract:extract",
        "Structured data from texts.",
        panel="Language tasks",
    ),
    "score": Entry(
        "hfgen.cli.measuring.score:score",
        "Log-probabilities of given text.",
        panel="Measuring",
    ),
    "evaluate": Entry(
        "hfgen.cli.measuring.evaluate:app",
        "How good a model is, with intervals.",
        panel="Measuring",
    ),
    "explain": Entry("hfgen.cli.explaining.command:app", "See inside a model.", panel="Measuring"),
    "bias": Entry(
        "hfgen.cli.measuring.bias:app",
        "Stereotypes by likelihood, with intervals.",
        panel="Measuring",
    ),
    "finetune": Entry(
        "hfgen.cli.commands.finetune:finetune",
        "Train a model on your own examples.",
        panel="Training",
    ),
    "pretrain": Entry(
        "hfgen.cli.commands.pretrain:pretrain", "Train a new model on raw text.", panel="Training"
    ),
    "merge": Entry(
        "hfgen.cli.commands.merge:merge", "Merge an adapter into its base model.", panel="Training"
    ),
    "config": Entry(
        "hfgen.cli.commands.config:app", "Show and change the settings.", panel="Settings"
    ),
    "models": Entry(
        "hfgen.cli.commands.models:app",
        "The catalogue, and the models on this machine.",
        panel="Models",
    ),
    "estimate": Entry(
        "hfgen.cli.commands.estimate:estimate", "How much memory a model needs.", panel="Models"
    ),
    "bench": Entry("hfgen.cli.commands.bench:bench", "How fast a model runs here.", panel="Models"),
}


class PlainHelp:
    """Help pages without the Python type of a flag or an argument, and with whole names."""

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Write the help page; where space is short, texts are wrapped and names are not."""
        import rich.table
        import typer.rich_utils

        class WholeNames(rich.table.Table):
            def add_row(self, *cells: Any, **settings: Any) -> None:
                super().add_row(*cells, **settings)
                for column in self.columns[:-1]:
                    column.no_wrap = True

        typer.rich_utils.Table = WholeNames  # type: ignore[attr-defined]
        super().format_help(ctx, formatter)  # type: ignore[misc]

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
    """A command of hfgen, which understands other spellings of its flags."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse the arguments; `ctx.meta[SCATTERED]` lists those that stand apart."""
        if not ctx.resilient_parsing:
            name = ctx.command_path.removeprefix("hfgen ")
            explain = getattr(self.callback, "explain_unknown", lambda option: None)
            typed = CommandLine(name, self.get_params(ctx), explain).read(args)
            args, ctx.meta[SCATTERED] = typed.arguments, typed.scattered
        return super().parse_args(ctx, args)


class Group(PlainHelp, TyperGroup):
    """A command with commands of its own; alone, it is one of them."""

    alone = "list"

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse the arguments."""
        is_alone = not args or (args[0].startswith("-") and args[0] not in ctx.help_option_names)
        if is_alone and not ctx.resilient_parsing:
            args = [self.alone, *args]
        return super().parse_args(ctx, args)


class HelpGroup(PlainHelp, TyperGroup):
    """A command with commands of its own; alone, it is its help page."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse the arguments."""
        return super().parse_args(ctx, args or ["--help"])


class LazyGroup(PlainHelp, TyperGroup):
    """A group that lists its commands by the table and imports the one that is called."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        for name, entry in COMMANDS.items():
            self.add_command(TyperCommand(name, short_help=entry.help, rich_help_panel=entry.panel))

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse the program's own flags; those of a command are refused with the right line."""
        own = {flag for parameter in self.get_params(ctx) for flag in parameter.opts}
        flag = args[0].partition("=")[0] if args else ""
        if flag[:1] == "-" and flag not in own and not ctx.resilient_parsing:
            parameters = load_command("generate").params
            if not any(flag in parameter.opts for parameter in parameters):
                raise UsageError(f"there is no option {shortened(flag)}", hint="hfgen --help")
            raise UsageError("the command is missing", hint=with_generate(args, COMMANDS))
        return super().parse_args(ctx, args)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Find the command that `args` begin with, and import it."""
        if args[0] not in self.commands and not ctx.resilient_parsing:
            near = difflib.get_close_matches(args[0], self.commands, n=1)
            text = f"to continue a text: {with_generate(args, ())}"
            hint = f"did you mean hfgen {near[0]}?" if near else text
            raise UsageError(f"there is no command {shortened(args[0])!r}", hint=hint)
        name, _, rest = super().resolve_command(ctx, args)
        if name is None:
            return None, None, rest
        return name, load_command(name), rest


def load_command(name: str) -> Any:
    """Import the command `name` and make it Typer's; what no flag gives comes from settings."""
    from hfgen.cli.flags.shared import with_shared_flags
    from hfgen.cli.flags.stored import takes_settings

    module, _, attribute = COMMANDS[name].target.partition(":")
    target = getattr(importlib.import_module(module), attribute)
    if isinstance(target, typer.Typer):
        return typer.main.get_command(target)
    app = typer.Typer(add_completion=False, rich_markup_mode="rich")
    app.command(name, cls=Command)(takes_settings(with_shared_flags(target)))
    return typer.main.get_command(app)


def command_group(
    help: str, functions: dict[str, Callable[..., None]], *, alone: str = "list"
) -> typer.Typer:
    """Make one command of several: `hfgen config list`, `hfgen config get`, …

    Without a further word it is `alone`, or its help page where it has no such command.
    """
    from hfgen.cli.flags.shared import with_shared_flags
    from hfgen.cli.flags.stored import takes_settings

    group = type("Group", (Group,), {"alone": alone}) if alone in functions else HelpGroup
    app = typer.Typer(cls=group, help=help, add_completion=False, rich_markup_mode="rich")
    for name, function in functions.items():
        app.command(name, cls=Command)(takes_settings(with_shared_flags(function)))
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
