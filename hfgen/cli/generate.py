"""`hfgen generate`: continue one prompt, or many.

Everything that can be refused without a model is refused first, the writability of the output and
the first prompt included; only then torch is imported.
"""

from __future__ import annotations

import contextlib
import dataclasses
import secrets
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from hfgen.cli import options as flags
from hfgen.cli.console import Console, OutputClosed
from hfgen.cli.failures import Terminated
from hfgen.cli.generation_flags import takes_generation_options
from hfgen.cli.inputs import InputChoice, Prompts
from hfgen.cli.options import INPUT_PANEL, ModelChoice
from hfgen.cli.outputs import OutputChoice, Results
from hfgen.cli.sinks import Sink
from hfgen.errors import HfgenError, OptionConflict
from hfgen.generation.options import GenerationOptions
from hfgen.generation.records import Piece

if TYPE_CHECKING:
    from hfgen.language_model import LanguageModel, RunStatistics


_NONE_GIVEN = GenerationOptions()


@takes_generation_options
def generate(
    ctx: typer.Context,
    prompt: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="PROMPT",
            help="The text to continue; several are joined by a space, - is standard input. "
            "Without any, standard input is read.",
            show_default=False,
        ),
    ] = None,
    model: flags.Model = None,
    file: Annotated[
        str | None,
        typer.Option("-f", "--file", metavar="FILE", help="Read the prompt from a file."),
    ] = None,
    output: flags.Output = None,
    format: Annotated[
        str,
        typer.Option(
            metavar="FORMAT",
            help="text, json (one document) or jsonl (a record on each line). (default text)",
            show_default=False,
        ),
    ] = "text",
    options: GenerationOptions = _NONE_GIVEN,
    lines: Annotated[
        bool,
        typer.Option("--lines", help="Each line is a prompt.", rich_help_panel=INPUT_PANEL),
    ] = False,
    null: Annotated[
        bool,
        typer.Option(
            "-0",
            "--null",
            help="Prompts, and texts in the output, end with a NUL byte instead of a line end.",
            rich_help_panel=INPUT_PANEL,
        ),
    ] = False,
    echo: Annotated[
        bool | None,
        typer.Option(
            "--echo/--no-echo",
            help="Write the prompt before its continuation, or the continuation alone. "
            "(default --echo)",
            rich_help_panel=INPUT_PANEL,
            show_default=False,
        ),
    ] = None,
    overwrite: flags.Overwrite = False,
    allow_special: Annotated[
        bool,
        typer.Option(
            "--allow-special",
            help="Read special tokens written in the prompt, such as <|endoftext|>, as such.",
            rich_help_panel=INPUT_PANEL,
        ),
    ] = False,
    slots: Annotated[
        str,
        typer.Option(
            metavar="N",
            help="How many texts are generated side by side. (1 to 1024; default 16)",
            show_default=False,
            rich_help_panel=flags.MODEL_PANEL,
        ),
    ] = "16",
    device: flags.Device = "auto",
    dtype: flags.Dtype = "auto",
    offline: flags.Offline = False,
    trust_remote_code: flags.TrustRemoteCode = False,
    stats: Annotated[
        bool,
        typer.Option(
            "--stats",
            help="Times, speeds and memory, on standard error.",
            rich_help_panel=flags.REPORT_PANEL,
        ),
    ] = False,
    quiet: flags.Quiet = False,
    verbose: flags.Verbose = False,
    debug: flags.Debug = False,
) -> None:
    """Continue a text with a language model.

    hfgen generate "Once upon a time"
    echo "Once upon a time" | hfgen generate --seed 7 -n 50
    hfgen generate --lines -f prompts.txt --format jsonl -o stories.jsonl
    """
    console: Console = ctx.obj
    console.configure(quiet=quiet, verbose=verbose, debug=debug)
    has_rows = lines or (null and (prompt or ["-"]) == ["-"])
    source = InputChoice(prompt or (), file, has_rows=has_rows, is_null_separated=null)
    is_list = has_rows or (options.num_return_sequences or 1) > 1
    target = OutputChoice(format, echo, output, overwrite, null, is_list)
    which = ModelChoice(model, device, dtype, offline, trust_remote_code)
    target.check()
    which.check()
    _check_combination(console, source, target, options, has_stats=stats)
    job = Job(
        console=console,
        slots=flags.whole_number("--slots", slots, low=1, high=1024),
        sink=target.open(console, source=file),
        prompts=Prompts(source),
        target=target,
        options=_with_seed(options),
        allow_special=allow_special,
        has_stats=stats,
        is_seed_drawn=options.seed is None,
    )
    job.run(which)


@dataclass(frozen=True)
class Job:
    """A checked command line, ready to run."""

    console: Console
    slots: int
    sink: Sink
    prompts: Prompts
    target: OutputChoice
    options: GenerationOptions
    allow_special: bool
    has_stats: bool
    is_seed_drawn: bool

    def run(self, which: ModelChoice) -> None:
        """Load the model and write its texts."""
        console = self.console
        typed = flags.typed_options(self.options)
        with console.isolated(), flags.in_words_of_flags(typed):
            console.status(f"loading {which.name or 'the model'} …")
            lm = load_model(which, progress=console.status)
            for notice in lm.notices:
                console.notice(notice)
            if self.is_seed_drawn and self.target.format == "text" and not _is_greedy(self.options):
                seed = self.options.seed
                console.detail(f"drawn seed {seed}: --seed {seed} gives this text again")
            form = self.target.formatted(self.sink)
            results = Results(form, self.sink, samples=self.options.num_return_sequences or 1)
            pieces = lm.stream(
                form.watched(self.prompts),
                self.options,
                slots=self.slots,
                allow_special=self.allow_special,
            )
            self._write(pieces, results)
            if self.prompts.skipped:
                console.notice(f"empty prompts skipped: {self.prompts.skipped}")
            if self.has_stats and lm.statistics is not None:
                console.report(_described(lm.statistics))

    def _write(self, pieces: Iterator[Piece], results: Results) -> None:
        """Write everything; when that ends early, keep what is finished and note how much."""
        try:
            for piece in pieces:
                results.add(piece)
                if piece.record is not None and not self.sink.is_live:
                    self.console.status(f"texts written: {results.finished}")
            self.prompts.finish()
        except BaseException as error:
            with contextlib.suppress(HfgenError, OutputClosed):
                results.close(is_complete=False)
            if isinstance(error, HfgenError) and not self.prompts.is_single:
                self.prompts.name_row(error)
            if isinstance(error, KeyboardInterrupt | Terminated):
                error.add_note(self._kept(results.finished))
            raise
        results.close(is_complete=True)

    def _kept(self, finished: int) -> str:
        if self.sink.is_live:
            return "what was printed so far is all there is"
        if not finished:
            return "nothing was finished, and nothing was written"
        return f"finished texts kept in {self.target.file}: {finished}"


def load_model(which: ModelChoice, *, progress: Callable[[str], None]) -> LanguageModel:
    """Load the model (tests put a scripted one here)."""
    return which.load(progress=progress)


def _check_combination(
    console: Console,
    source: InputChoice,
    target: OutputChoice,
    options: GenerationOptions,
    *,
    has_stats: bool,
) -> None:
    if console.is_quiet and (console.is_verbose or has_stats):
        other = "--verbose" if console.is_verbose else "--stats"
        raise OptionConflict(f"--quiet leaves errors only, {other} asks for more", hint="drop one")
    if options.logprobs is not None and target.format == "text":
        raise OptionConflict(
            "--logprobs has no place in text", hint="add --format json or --format jsonl"
        )
    if source.is_null_separated and not source.has_rows and target.format != "text":
        raise OptionConflict(
            "--null has no effect here: JSON ends with a line end", hint="drop --null"
        )


def _is_greedy(options: GenerationOptions) -> bool:
    has_beams = (options.num_beams or 1) > 1
    is_greedy = options.do_sample is False or options.temperature == 0
    return is_greedy or (has_beams and not options.do_sample)


def _with_seed(options: GenerationOptions) -> GenerationOptions:
    """Draw a seed where none is given: 32 bits, short enough to type."""
    if options.seed is not None:
        return options
    return dataclasses.replace(options, seed=secrets.randbits(32))


def _described(statistics: RunStatistics) -> str:
    """Statistics for people, one fact a line."""
    rows = [
        ("load", f"{statistics.load_s:.2f} s"),
        ("first token", f"{statistics.first_token_s:.3f} s"),
        ("prefill", _speed(statistics.prefill_tokens, statistics.prefill_s)),
        ("decode", _speed(statistics.decode_tokens, statistics.decode_s)),
        ("peak memory", f"{statistics.peak_bytes / 2**20:.0f} MiB"),
    ]
    return "\n".join(f"{name + ':':<13}{value}" for name, value in rows)


def _speed(tokens: int, seconds: float) -> str:
    speed = f"{tokens / seconds:.1f} tokens/s" if seconds > 0 else "no time"
    return f"{tokens} tokens in {seconds:.2f} s, {speed}"
