"""A `hfgen evaluate` that was found in order: read, load, score, report."""

from __future__ import annotations

import json
from dataclasses import dataclass
from itertools import chain, islice
from typing import Any

from hfgen.cli.measuring.evaluation_text import as_text, comparison_text
from hfgen.cli.measuring.result_file import ResultFile
from hfgen.cli.program.console import Console, standard_input
from hfgen.cli.program.loading import loaded
from hfgen.models.checkpoint.load_options import LoadOptions


@dataclass(frozen=True)
class Job:
    """A checked command line."""

    console: Console
    data: list[str]
    most: int | None
    """Rows at most."""
    stride: int | None
    bos: bool | None
    output: str | None = None
    is_resumed: bool = False
    is_json: bool = False

    def settings(self) -> Any:
        """What the figures depend on; imports torch."""
        from hfgen.evaluation.run import Settings

        return Settings(self.bos, self.stride, self.most)

    def rows(self) -> Any:
        """The rows of the files, read as they are needed."""
        from hfgen.training.reading.files import read_rows

        return read_rows(self.data, stdin=standard_input())

    def evaluate(self, which: LoadOptions, task_name: str) -> None:
        """Evaluate one model, and write what was found."""
        from hfgen.evaluation.kinds import task_named

        task = task_named(task_name)
        rows = self.rows()
        first = next(rows)
        task.texts(first)
        rows = chain([first], rows)
        file = ResultFile.open(self.output, resume=self.is_resumed)
        with self.console.isolated(), file:
            lm = loaded(self.console, which)
            from hfgen.evaluation.run import report

            settings = self.settings()
            found = file.known(task.name, lm.name)
            if settings.limit is not None:
                rows = islice(rows, settings.limit)
            rows = islice(rows, len(found), None)
            for result in self._results(lm, task, rows, settings, done=len(found)):
                file.write(task.name, lm.name, result)
                found.append(result)
            summary = report(lm, task, found, settings)
        self.console.write(
            json.dumps(summary.to_dict(), indent=2) + "\n" if self.is_json else as_text(summary)
        )

    def compare(self, first: LoadOptions, second: LoadOptions) -> None:
        """Evaluate two models on the same rows, and write how they differ."""
        from hfgen.evaluation.kinds import task_of

        rows = list(islice(self.rows(), self.most))
        task = task_of(rows[0])
        with self.console.isolated():
            models = [loaded(self.console, which) for which in (first, second)]
            from hfgen.evaluation.compare import agreement, compare
            from hfgen.evaluation.run import report

            settings = self.settings()
            found = [list(self._results(lm, task, rows, settings)) for lm in models]
            self.console.status("comparing distributions …")
            shared = agreement(models[0], models[1], task, rows, settings)
            comparison = compare(task, found[0], found[1], shared)
            reports = [
                report(lm, task, one, settings) for lm, one in zip(models, found, strict=True)
            ]
        if self.is_json:
            document = {
                "task": task.name,
                "models": [one.to_dict() for one in reports],
                "comparison": comparison.to_dict(),
            }
            self.console.write(json.dumps(document, indent=2) + "\n")
        else:
            places = [rows[at].place for at in comparison.most_different]
            self.console.write(comparison_text(reports, comparison, places))

    def _results(self, lm: Any, task: Any, rows: Any, settings: Any, done: int = 0) -> Any:
        from hfgen.evaluation.run import Progress, results

        def listen(progress: Progress) -> None:
            speed = progress.rows / max(progress.elapsed_s, 1e-9)
            text = f"{lm.name}: {done + progress.rows:,} rows, {speed:.1f} rows/s"
            if settings.limit is not None:
                left = settings.limit - done - progress.rows
                text += f", {left / max(speed, 1e-9):.0f} s left"
            self.console.status(text)

        return results(lm, task, rows, settings, listen, first=done)
