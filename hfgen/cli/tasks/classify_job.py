"""What `hfgen classify` does: texts in, labels or an evaluation out."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hfgen.cli.io.inputs import InputChoice, data_file, each_text
from hfgen.cli.program.console import Console, standard_input
from hfgen.cli.program.loading import loaded
from hfgen.cli.tasks.label_rows import TextRow, examples, labelled_rows, labels_of
from hfgen.cli.tasks.label_text import line, report_text
from hfgen.errors import DataError, HfgenError, OptionConflict, UsageError
from hfgen.models.checkpoint.load_options import LoadOptions
from hfgen.tasks.few_shot import Shot, choose
from hfgen.tasks.labels import DEFAULT_TEMPLATE, PRESETS, Form, Label, find_labels
from hfgen.tasks.trained import trained_classifier

if TYPE_CHECKING:
    from hfgen.tasks.classification import Classification, Classifier

_SHOTS = 8
_AT_ONCE = 256


@dataclass(frozen=True)
class Prompting:
    """How the model is asked, as the command line says it."""

    labels: str | None
    labels_file: str | None
    task: str | None
    template: str | None
    instruction: str
    examples: str | None
    shots: int | None
    seed: int
    calibration: str
    min_confidence: float

    def label_list(self) -> list[Label] | None:
        """The labels that are given; None where a task or the model has to bring them."""
        if self.labels is not None and self.labels_file is not None:
            raise OptionConflict(
                "labels are given twice: with --labels and --labels-file",
                hint="drop one of the two",
            )
        if self.labels_file is not None:
            return labels_of(self.labels_file)
        if self.labels is not None:
            return [Label(name.strip()) for name in self.labels.split(",")]
        return None

    @property
    def column(self) -> str:
        """The template's name for the text."""
        preset = PRESETS.get(self.task or "")
        template = self.template or (preset.template if preset else DEFAULT_TEMPLATE)
        return Form(template).parsed.columns[0]


class Job:
    """A checked command line."""

    def __init__(
        self,
        console: Console,
        format: str,
        prompting: Prompting,
        *,
        is_evaluated: bool,
        is_verbose: bool,
    ) -> None:
        self._console, self._format, self._prompting = console, format, prompting
        self._is_evaluated, self._is_verbose = is_evaluated, is_verbose

    @cached_property
    def _how(self) -> dict[str, Any]:
        """The keyword arguments of `LanguageModel.classify`; files are read here."""
        given = self._prompting
        if given.shots is not None and given.examples is None:
            raise UsageError("--shots needs examples", hint="add --examples FILE")
        shots: list[Shot] = []
        if given.examples is not None:
            shots = examples(given.examples, given.column)
        return {
            "labels": given.label_list(),
            "task": given.task,
            "template": given.template,
            "instruction": given.instruction,
            "examples": shots,
            "shots": min(_SHOTS, len(shots)) if given.shots is None else given.shots,
            "seed": given.seed,
            "calibration": given.calibration,
            "min_confidence": given.min_confidence,
        }

    def prepare(self, which: LoadOptions) -> None:
        """Refuse what can be refused before the model loads."""
        how = self._how
        is_folder = which.name is not None and Path(which.name).is_dir()
        trained = trained_classifier(Path(which.name or "")) if is_folder else None
        labels = find_labels(how["labels"], how["task"], trained.labels if trained else None)
        choose(how["examples"], {label.name for label in labels}, how["shots"], how["seed"])

    def rows(self, source: InputChoice, *, has_rows: bool) -> Iterator[TextRow]:
        """The texts that the command line names; what can be refused is refused at once."""
        path = data_file(source, has_rows=has_rows)
        if path is not None:
            return labelled_rows([path], self._prompting.column, stdin=standard_input())
        if self._is_evaluated:
            raise UsageError("--evaluate needs labelled rows", hint="give them with -f FILE")
        return map(TextRow, each_text(source))

    def run(self, which: LoadOptions, rows: Iterator[TextRow]) -> None:
        """Classify, and write what was asked for."""
        with self._console.isolated():
            from hfgen.tasks.classifying import classifier

            lm = loaded(self._console, which)
            labeller = classifier(lm, **self._how)
            found = self._classified(labeller, rows)
            if self._is_evaluated:
                self._report(lm, labeller, found)
            elif self._format == "json":
                records = [_record(row, one) for row, one in found]
                self._console.write(json.dumps(records, ensure_ascii=False, indent=2) + "\n")
            else:
                self._write_lines(found)

    def _classified(
        self, labeller: Classifier, rows: Iterator[TextRow]
    ) -> Iterator[tuple[TextRow, Classification]]:
        done = 0
        while batch := list(islice(rows, _AT_ONCE)):
            if done == 0 and self._is_verbose:
                self._show_prompt(labeller, batch[0].text)
            try:
                for row, one in zip(
                    batch, labeller.classify([row.text for row in batch]), strict=True
                ):
                    yield row, one.at(done)
                    done += 1
                    self._console.status(f"classified {done:,} texts")
            except HfgenError as error:
                if error.prompt_index is not None and (place := batch[error.prompt_index].place):
                    error.add_context(f"{place}: ")
                raise

    def _show_prompt(self, labeller: Classifier, text: str) -> None:
        self._console.report(f"the label is asked for after:\n{labeller.prompt(text)}")

    def _write_lines(self, found: Iterator[tuple[TextRow, Classification]]) -> None:
        for row, one in found:
            if self._format == "jsonl":
                self._console.write(json.dumps(_record(row, one), ensure_ascii=False) + "\n")
            else:
                self._console.write(line(one))

    def _report(
        self, lm: Any, labeller: Classifier, found: Iterator[tuple[TextRow, Classification]]
    ) -> None:
        from hfgen.evaluation.labelled import Labelled, label_report

        rows = []
        names = [label.name for label in labeller.labels]
        for row, one in found:
            if row.gold not in names:
                what = "no label" if row.gold is None else f"{row.gold!r} is none of the labels"
                raise DataError(f"{row.place}: {what}", hint=f"labels are {', '.join(names)}")
            rows.append(Labelled(row.gold, one.label, one.most_likely, one.confidence))
        report = label_report(lm.name, names, rows, labeller.method)
        text = report_text(report)
        if self._format != "text":
            text = json.dumps(report.to_dict(), ensure_ascii=False, indent=2) + "\n"
        self._console.write(text)


def _record(row: TextRow, found: Classification) -> dict[str, Any]:
    record = found.to_dict()
    if row.id is not None:
        record["id"] = row.id
    if row.gold is not None:
        record["gold"] = row.gold
    return record
