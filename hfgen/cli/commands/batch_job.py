"""A `hfgen batch` that was found in order: check input and output, load the model, run, report."""

from __future__ import annotations

import itertools
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

from hfgen.batch.input.reading import OnBadRow, Rows, Source, count_rows, find_sources
from hfgen.batch.input.rows import BatchRow, carried_fields
from hfgen.batch.output.output import FileOutput, Mode, Output, StreamOutput
from hfgen.batch.processes import Processes
from hfgen.batch.run import Plan, Progress, run, seeded
from hfgen.cli.flags import common as flags
from hfgen.cli.flags.common import shortened
from hfgen.cli.io.batch_display import BatchDisplay, summary
from hfgen.cli.io.inputs import arriving
from hfgen.cli.io.sinks import DeviceFile
from hfgen.cli.program.console import Console, is_interactive_input, standard_input
from hfgen.cli.program.failures import Terminated
from hfgen.cli.program.loading import loaded
from hfgen.cli.program.printable import LONGEST_MESSAGE
from hfgen.cli.program.signals import (
    again_from_input,
    how_to_go_on,
    interruption,
    stopping_on_signals,
    typed_command,
)
from hfgen.errors import DataError, OptionConflict, RowsFailed, UsageError
from hfgen.generation.options.options import GenerationOptions
from hfgen.generation.prompts.encode import Reading
from hfgen.generation.records import Pending
from hfgen.models.checkpoint.load_options import LoadOptions


@dataclass(frozen=True)
class OutputFlags:
    """What the command line says about the output."""

    file: str | None
    is_resumed: bool
    is_retry: bool
    is_overwrite: bool

    @property
    def is_stream(self) -> bool:
        """Whether nothing of it can be read back."""
        if self.file in (None, "-"):
            return True
        path = Path(str(self.file))
        return path.exists() and not stat.S_ISREG(path.stat().st_mode) and not path.is_dir()

    def open(self, console: Console, *, is_ordered: bool, processes: Processes) -> Output:
        """The output, claimed; raises what would make writing fail, and changes nothing."""
        asked = self.is_resumed or self.is_retry
        if asked and self.is_overwrite:
            raise OptionConflict("--resume and --overwrite contradict each other", hint="drop one")
        if not self.is_stream:
            mode: Mode = "retry" if self.is_retry else "resume" if asked else "new"
            mode = "overwrite" if self.is_overwrite else mode
            return FileOutput(str(self.file), mode, is_ordered=is_ordered, processes=processes)
        if asked or processes.count > 1:
            raise UsageError("this needs an output that is a file", hint="-o FILE")
        if self.file in (None, "-"):
            console.require_output()
            return StreamOutput(lambda lines: console.write(lines.decode()))
        device = DeviceFile(Path(str(self.file)))
        return StreamOutput(lambda lines: device.write(lines.decode()))


class _Stop:
    is_made = False

    def make(self) -> None:
        self.is_made = True


@dataclass(frozen=True)
class BatchJob:
    """A checked command line, ready to run."""

    console: Console
    inputs: Sequence[str]
    has_text_lines: bool
    on_bad_row: str
    target: OutputFlags
    options: GenerationOptions
    reading: Reading
    is_ordered: bool
    is_any_model: bool
    slots: int | None
    is_json: bool

    def run(self, which: LoadOptions) -> None:
        """Run all rows. Raises `RowsFailed` when some have failed."""
        processes = Processes()
        sources = self._sources(processes)
        plan = Plan(
            self.options,
            self.reading,
            self.is_ordered,
            self.is_any_model,
            self.target.is_retry,
            self.slots,
        )
        claimed = self.target.open(self.console, is_ordered=self.is_ordered, processes=processes)
        rows = Rows(sources, standard_input(), cast(OnBadRow, self.on_bad_row))
        with claimed as output:
            self._check_input_survives(sources, output)
            plan = seeded(plan, output)
            found = self._from_first(rows, sources)
            with (
                self.console.isolated(),
                flags.in_words_of_flags(flags.typed_options(self.options)),
            ):
                processes.join()
                plan = replace(plan, options=processes.gather(plan.options)[0])
                progress = self._decode(found, sources, output, plan, processes, which)
                everyone = processes.gather(progress)
        total = replace(
            progress,
            rows=sum(one.rows for one in everyone),
            failed=sum(one.failed for one in everyone),
            tokens=sum(one.tokens for one in everyone),
        )
        self._report(total, rows, plan, sources)

    def _sources(self, processes: Processes) -> list[Source]:
        if self.is_json and self.target.is_stream:
            raise OptionConflict(
                "--json and the records would both go to standard output", hint="-o FILE"
            )
        if not self.inputs and is_interactive_input():
            raise UsageError("no input", hint="hfgen batch prompts.jsonl -o texts.jsonl")
        sources = find_sources(self.inputs, has_text_lines=self.has_text_lines)
        if processes.count > 1 and any(_waits(source) for source in sources):
            raise UsageError("several processes cannot share a pipe", hint="name a file")
        return sources

    def _check_input_survives(self, sources: Sequence[Source], output: Output) -> None:
        if isinstance(output, FileOutput) and output.path.exists():
            for source in sources:
                if source.path is not None and output.path.samefile(source.path):
                    raise UsageError(f"{source.name} is the input", hint="write to another file")

    def _from_first(
        self, rows: Rows, sources: Sequence[Source]
    ) -> Iterator[BatchRow | DataError | Pending]:
        """The rows, the first of which is read at once."""
        source = iter(rows)
        first = next(source, None)
        if isinstance(first, DataError):
            raise first
        if isinstance(first, BatchRow) and first.is_foreign:
            names = ", ".join(carried_fields(first.said)) or "no fields"
            raise DataError(
                f'{first.place}: a row needs "prompt" or "messages"; it has {shortened(names)}',
                hint='name the field with the text "prompt"',
            )
        if first is None:
            names = " ".join(one.name for one in sources)
            raise UsageError(f"{names}: no rows", hint='write one on each line, as {"prompt": "…"}')
        if any(_waits(one) for one in sources):
            return itertools.chain([first], arriving(source))
        return itertools.chain([first], source)

    def _decode(
        self,
        rows: Iterator[BatchRow | DataError | Pending],
        sources: Sequence[Source],
        output: Output,
        plan: Plan,
        processes: Processes,
        which: LoadOptions,
    ) -> Progress:
        console = self.console
        which = replace(which, device=processes.device(which.device))
        lm = loaded(console, which)
        stop = _Stop()
        total = count_rows(sources) if console.is_error_terminal else None
        display = BatchDisplay(console, total)
        try:
            with stopping_on_signals(stop, display) as asked:
                progress = run(
                    lm,
                    rows,
                    output,
                    plan,
                    processes=processes,
                    facts={"quantize": which.quantize},
                    names=[which.name] if which.name else [],
                    is_stopped=lambda: stop.is_made,
                    notify=console.notice,
                    listen=display.show,
                )
            if asked:
                raise interruption(asked[0])
        except (KeyboardInterrupt, Terminated) as error:
            is_file = isinstance(output, FileOutput)
            if is_file:
                is_piped = any(source.path is None for source in sources)
                error.add_note(how_to_go_on(has_piped_input=is_piped))
            raise
        return progress

    def _report(
        self, progress: Progress, rows: Rows, plan: Plan, sources: Sequence[Source]
    ) -> None:
        BatchDisplay(self.console, None).finish(progress, rows.malformed)
        if not self.target.is_stream:
            self.console.detail(f"wrote {self.target.file}")
        if self.is_json:
            self.console.write(summary(progress, rows.malformed, plan.options.seed))
        if progress.failed:
            of = f"{progress.failed:,} of {progress.rows + progress.skipped:,} rows failed"
            raise RowsFailed(f"{of}; their records tell why", hint=self._how_to_retry(sources))

    def _how_to_retry(self, sources: Sequence[Source]) -> str:
        if self.target.is_stream:
            return "correct them, and run them again"
        command = typed_command()
        if "--retry-failed" not in command:
            command += " --retry-failed"
        if any(source.path is None for source in sources):
            command = again_from_input(command)
        is_short = len(command) < LONGEST_MESSAGE - 30
        return f"run them again with: {command}" if is_short else "add --retry-failed"


def _waits(source: Source) -> bool:
    """Whether reading may have to wait for somebody who writes."""
    if source.path is not None:
        return not source.path.is_file()
    try:
        return not stat.S_ISREG(Path("/dev/stdin").stat().st_mode)
    except OSError:
        return True
