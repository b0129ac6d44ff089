"""What `hfgen bias` does: rows in, figures and their reading out."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import Any, Literal

from hfgen.cli.measuring.evaluation_text import shown
from hfgen.cli.measuring.result_file import ResultFile
from hfgen.cli.program.console import Console
from hfgen.cli.program.loading import loaded
from hfgen.errors import MissingExtra, OutputError, OutputExists
from hfgen.models.checkpoint.load_options import LoadOptions

Method = Literal["builtin", "crows", "stereoset", "pairs", "template"]
_WIDTH = 88


@dataclass(frozen=True)
class Job:
    """A checked command line."""

    console: Console
    method: Method
    files: tuple[str, ...]
    templates: tuple[str, ...]
    most: int | None
    score: str
    plot: str | None
    output: str | None
    is_json: bool

    def run(self, which: LoadOptions) -> None:
        """Score the rows, and write what was found."""
        from hfgen.evaluation.bias.summary import reading

        self._check_plot()
        task = self._task()
        rows = self._rows()
        first = next(rows)
        task.texts(first)
        file = ResultFile.open(self.output, resume=False)
        with self.console.isolated(), file:
            from hfgen.evaluation.run import Settings, report, results

            lm = loaded(self.console, which)
            found = []
            settings = Settings()
            for result in results(lm, task, islice(chain([first], rows), self.most), settings):
                file.write(self.method, lm.name, result)
                found.append(result)
                self.console.status(f"{lm.name}: {len(found):,} rows")
            summary = report(lm, task, found, settings)
        method = {"set": self.method, **self._method(found), **summary.method}
        words = reading(summary)
        if self.plot is not None:
            self._draw(summary)
        if self.is_json:
            document = {**summary.to_dict(), "method": method, "reading": words}
            self.console.write(json.dumps(document, ensure_ascii=False, indent=2) + "\n")
        else:
            self.console.write(_text(self.method, summary, method, words))

    def _task(self) -> Any:
        from hfgen.evaluation.bias.pairs import Pairs
        from hfgen.evaluation.bias.stereoset import StereoSet

        if self.method == "stereoset":
            return StereoSet()
        return Pairs("mean" if self.score == "mean" else "sum")

    def _rows(self) -> Iterator[Any]:
        from hfgen.evaluation.bias import rows
        from hfgen.evaluation.bias.stereoset import stereoset_rows

        if self.method == "builtin":
            return rows.pair_rows([str(rows.BUILT_IN)])
        if self.method == "stereoset":
            return stereoset_rows(self.files[0])
        if self.method == "template":
            return rows.template_rows(self.templates, self.files[0])
        return rows.pair_rows(self.files)

    def _method(self, found: list[dict[str, Any]]) -> dict[str, Any]:
        from hfgen.evaluation.bias.pairs import ties

        if self.method == "stereoset":
            return {
                "score": "mean log-probability per token",
                "part": "intrasentence",
                "average": "over target terms",
            }
        score = "mean" if self.score == "mean" else "sum"
        return {
            "score": f"{score} of log-probabilities",
            "direction": "more stereotypical side likelier",
            "ties": f"{ties(found)}, half each",
        }

    def _check_plot(self) -> None:
        if self.plot is None:
            return
        if Path(self.plot).exists():
            raise OutputExists(f"{self.plot} already exists", hint="name another file")
        from importlib.util import find_spec

        if find_spec("matplotlib") is None:
            raise MissingExtra("--plot", "train")

    def _draw(self, summary: Any) -> None:
        from hfgen.evaluation.bias.plot import draw

        path = Path(self.plot or "")
        try:
            if not draw(summary, path):
                raise MissingExtra("--plot", "train")
        except OSError as error:
            raise OutputError(
                f"cannot write {path}: {error.strerror}", hint="check the folder"
            ) from error
        self.console.notice(f"wrote {path}")


def _text(name: str, report: Any, method: dict[str, Any], words: str) -> str:
    lines = [f"bias {name}: {report.model} on {report.rows:,} row{'s' * (report.rows != 1)}"]
    width = max(len(metric.name) for metric in report.metrics) + 2
    lines += [f"  {one.name:<{width}}{shown(one):<28}{one.meaning}" for one in report.metrics]
    told = ("score", "direction", "ties", "part", "average")
    parts = [f"{key}: {method[key]}" for key in told if key in method]
    lines.append(f"  {'; '.join(parts)}; 95% intervals")
    lines += ["", *textwrap.wrap(words, _WIDTH), ""]
    return "\n".join(lines)
