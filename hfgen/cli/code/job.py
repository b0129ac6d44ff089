"""An `hfgen code` that was found in order: load the model, complete, write."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hfgen.cli.code.results import CodeOutput, Writer
from hfgen.cli.flags import common as flags
from hfgen.cli.program.console import Console
from hfgen.cli.program.failures import Terminated
from hfgen.cli.program.loading import loaded
from hfgen.coding.blocks import Until
from hfgen.coding.languages import Language
from hfgen.coding.source import Gap
from hfgen.generation.options.options import GenerationOptions
from hfgen.models.checkpoint.load_options import LoadOptions

if TYPE_CHECKING:
    from hfgen.coding.complete import Completion


@dataclass(frozen=True)
class Job:
    """A checked command line, ready to run."""

    console: Console
    gap: Gap
    language: Language
    options: GenerationOptions
    until: Until
    output: CodeOutput
    is_seed_drawn: bool

    def run(self, which: LoadOptions) -> None:
        """Load the model, and write what completes the file."""
        console = self.console
        with console.isolated(), flags.in_words_of_flags(flags.typed_options(self.options)):
            lm = loaded(console, which)
            writer = Writer(console, self.gap, self.language, self.output, lm.name)
            found = self._completions(lm, writer)
            writer.finish(found)
            self._tell(found)

    def _completions(self, lm: Any, writer: Writer) -> list[Completion]:
        from hfgen.coding.complete import code_options, complete_code

        before, after = self.gap.seen()
        try:
            return complete_code(
                lm,
                before,
                after,
                self.language,
                code_options(self.options, lm.window),
                until=self.until,
                watch=writer.watch,
                notify=self.console.notice,
                progress=self._show_prefill,
            )
        except (KeyboardInterrupt, Terminated) as error:
            writer.end_line()
            error.add_note(f"{self.gap.source.name} is as it was")
            raise

    def _show_prefill(self, done: int, total: int) -> None:
        if done < total:
            self.console.status(f"reading the code (prefill): {done:,} of {total:,} tokens")
        else:
            self.console.status("generating …")

    def _tell(self, found: list[Completion]) -> None:
        """What the user should know of the completion."""
        best = found[0]
        if best.finish_reason == "length" and self.options.max_new_tokens is None:
            self.console.detail(
                f"cut at {best.completion_tokens:,} tokens, before the end of the "
                f"{'text' if self.until == 'eof' else self.until}; -n for more"
            )
        if not best.text:
            self.console.detail("the model has nothing to add here")
        is_greedy = self.options.do_sample is False or self.options.temperature == 0
        if self.is_seed_drawn and not is_greedy and self.output.format == "text":
            seed = self.options.seed
            self.console.detail(f"drawn seed {seed}: --seed {seed} gives this again", dim=True)
