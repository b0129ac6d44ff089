"""A `hfgen generate` that was found in order: load the model, write the texts, report."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hfgen.cli.flags import common as flags
from hfgen.cli.io.colours import LEGEND
from hfgen.cli.io.cuts import Cuts
from hfgen.cli.io.inputs import Prompts
from hfgen.cli.io.outputs import OutputChoice, Results
from hfgen.cli.io.sinks import Sink
from hfgen.cli.program.console import Console, OutputClosed
from hfgen.cli.program.failures import Terminated
from hfgen.cli.program.loading import loaded
from hfgen.errors import HfgenError
from hfgen.generation.options.options import GenerationOptions
from hfgen.generation.prompts.encode import Reading
from hfgen.generation.records import Piece
from hfgen.models.checkpoint.load_options import LoadOptions

if TYPE_CHECKING:
    from hfgen.generation.statistics import RunStatistics


@dataclass(frozen=True)
class Job:
    """A checked command line, ready to run."""

    console: Console
    slots: int
    sink: Sink
    prompts: Prompts
    target: OutputChoice
    options: GenerationOptions
    reading: Reading
    has_stats: bool
    is_seed_drawn: bool
    shows_thinking: bool

    def run(self, which: LoadOptions) -> None:
        """Load the model and write its texts."""
        console = self.console
        typed = flags.typed_options(self.options)
        with console.isolated(), flags.in_words_of_flags(typed):
            lm = loaded(console, which)
            form = self.target.formatted(
                self.sink,
                is_chat=lm.is_chat and not self.reading.raw,
                thinks=console.aside if self.shows_thinking else lambda text: None,
            )
            results = Results(form, self.sink, samples=self.options.num_return_sequences or 1)
            pieces = lm.stream(
                form.watched(self.prompts),
                self.options,
                slots=self.slots,
                allow_special=self.reading.allow_special,
                raw=self.reading.raw,
                system=self.reading.system,
                chat_template=self.reading.chat_template,
                progress=self._show_prefill,
            )
            cuts = Cuts(self.options, lm.window)
            self._write(pieces, results, cuts)
            if not self.sink.is_live:
                console.detail(f"wrote {self.target.file}")
            if self.options.logprobs is not None and self.target.format == "text":
                console.legend(LEGEND)
            if self.prompts.skipped:
                console.notice(f"empty prompts skipped: {self.prompts.skipped}")
            if self.has_stats and lm.statistics is not None:
                console.report(_described(lm.statistics))
            if cuts.notice is not None:
                console.detail(cuts.notice)
            if self._needs_seed and self.target.format == "text":
                seed = self.options.seed
                console.detail(f"drawn seed {seed}: --seed {seed} gives this text again", dim=True)

    @property
    def _needs_seed(self) -> bool:
        """Whether another run gives the same text only with the seed that was drawn for it."""
        return self.is_seed_drawn and not _is_greedy(self.options)

    def _show_prefill(self, done: int, total: int) -> None:
        if done < total:
            self.console.status(f"reading the prompt (prefill): {done:,} of {total:,} tokens")
        else:
            self.console.status("generating …")

    def _write(self, pieces: Iterator[Piece], results: Results, cuts: Cuts) -> None:
        """Write everything; when that ends early, keep what is finished and note how much."""
        try:
            for piece in pieces:
                results.add(piece)
                if piece.record is not None:
                    cuts.add(piece.record)
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
            what = f"--seed {self.options.seed}" if self._needs_seed else "the same command"
            return f"{what} gives this text again"
        if not finished:
            return "nothing was finished, and nothing was written"
        return f"finished texts kept in {self.target.file}: {finished}"


def _is_greedy(options: GenerationOptions) -> bool:
    has_beams = (options.num_beams or 1) > 1
    is_greedy = options.do_sample is False or options.temperature == 0
    return is_greedy or (has_beams and not options.do_sample)


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
