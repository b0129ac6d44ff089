"""`RunReport`: all that is known of a training run, and the files that tell it.

Beside a model lie

    training.json   everything, with the loss of every step
    README.md       a model card (`hfgen.training.report.card`), with samples before and after
    loss.png        the losses (`hfgen.training.report.plot`), where matplotlib is installed

Each is written aside and renamed, `training.json` last: where it is, the others are. A number that
is not finite has no JSON: it is null, and `notes` says where. Knows nothing of how training goes.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hfgen.atomic import write_whole
from hfgen.errors import OutputError
from hfgen.training.events import Evaluation, Step
from hfgen.training.options.finetune import Method
from hfgen.training.report import write
from hfgen.training.report.asking import Asking
from hfgen.training.report.environment import FileFacts, Machine

NEW_MODEL = "a new GPT-2"
"""The name of the base of a model that was not trained before."""
NEW_SOURCE = "new"
SCHEMA = 1
"""Raised when a field changes its meaning; new fields do not raise it."""
REPORT, CARD, PLOT = "training.json", "README.md", "loss.png"

_LINE_BY_LINE = ("steps", "evaluations")


@dataclass(frozen=True)
class BaseModel:
    """The model that was trained further."""

    name: str
    """As it was given."""
    source: str | None = None
    """`ResolvedModel.source`, or `NEW_SOURCE`."""
    repo_id: str | None = None
    revision: str | None = None
    licence: str | None = None


@dataclass(frozen=True)
class DataFacts:
    """What it was trained on."""

    description: str
    """How the rows were read: `Shape.described`."""
    rows: int
    """Rows that could be used, those for validation included."""
    tokens: int
    learned_tokens: int
    """Of the training rows, in one epoch."""
    asking: Asking = Asking()
    """How the model is prompted."""
    labels: tuple[str, ...] = ()
    """The different answers of a classification set."""
    files: tuple[FileFacts, ...] = ()
    validation_files: tuple[FileFacts, ...] = ()
    skipped: int = 0
    split: int = 0
    windows: int = 0
    truncated: int = 0
    dropped: int = 0
    """As in `hfgen.training.data.long_rows.LongRowCounts`."""
    fingerprint: str = ""
    """`hfgen.training.data.split.fingerprint` of the training rows."""
    validation_rows: int = 0
    validation_tokens: int = 0
    bytes: int = 0
    validation_bytes: int = 0
    """Of the text that `pretrain` learns from and validates on, in UTF-8; 0 elsewhere."""
    no_validation: str | None = None
    """Why nothing was held out although some was asked for."""

    @property
    def bits_per_nat(self) -> float | None:
        """How many bits per byte of text a validation loss of 1 is."""
        if not self.validation_bytes:
            return None
        return self.validation_tokens / (math.log(2) * self.validation_bytes)


@dataclass(frozen=True, slots=True)
class StepFacts:
    """One optimizer step."""

    step: int
    loss: float | None
    epoch: float | None = None
    learning_rate: float | None = None
    grad_norm: float | None = None
    tokens_per_s: float | None = None

    @classmethod
    def of(cls, event: Step) -> StepFacts:
        """What is kept of a step's event."""
        return cls(**{f.name: getattr(event, f.name) for f in dataclasses.fields(cls)})


@dataclass(frozen=True, kw_only=True)
class RunReport:
    """A training run."""

    output: str
    """The folder as it was given."""
    base: BaseModel
    method: Method
    parameters: int
    trainable_parameters: int
    data: DataFacts
    plan: dict[str, Any]
    """`Plan.to_dict()`."""
    before: Evaluation
    after: Evaluation
    """Of the model that was written. The prompts of samples are what a user would type."""
    steps: tuple[StepFacts, ...] = ()
    """Those before a resume included."""
    evaluations: tuple[Evaluation, ...] = ()
    best_step: int | None = None
    """Where validation loss was lowest, 0 before the first step; None without validation."""
    steps_done: int = 0
    seconds: float = 0.0
    tokens: int = 0
    """Tokens trained on, padding not counted."""
    tokens_per_s: float | None = None
    peak_bytes: int | None = None
    resumed_from: tuple[int, ...] = ()
    seed: int | None = None
    options: dict[str, Any] = field(default_factory=dict)
    """`TrainingOptions.given()`."""
    has_template: bool = False
    """Whether the model that was written has a chat template."""
    command: str | None = None
    """What repeats the run, quoted for a shell."""
    started: str | None = None
    finished: str | None = None
    """In UTC, as ISO 8601."""
    versions: dict[str, str] = field(default_factory=dict)
    machine: Machine | None = None
    processes: int = 1
    is_pretrained: bool = False
    """Whether it learned from raw text (`hfgen pretrain`)."""
    notes: tuple[str, ...] = ()
    """What else a reader should know."""

    @property
    def is_new(self) -> bool:
        """Whether the model had learned nothing before."""
        return self.base.source == NEW_SOURCE

    @property
    def is_adapter(self) -> bool:
        """Whether an adapter was trained, and not the whole model."""
        return self.method != "full"


def write_report(folder: str | Path, report: RunReport) -> list[Path]:
    """Write the files beside the model and return their paths.

    Without matplotlib there is no plot among them (`plot.WITHOUT_MATPLOTLIB` is for the user
    then), nor is one of an earlier run left. Raises `OutputError` when a file cannot be written.
    """
    from hfgen.training.report import card, plot

    folder = Path(folder)
    picture, path = folder / PLOT, folder
    try:
        path = picture
        has_plot = plot.draw(report, picture)
        if not has_plot:
            picture.unlink(missing_ok=True)
        path = folder / CARD
        write_whole(path, card.card(report, has_plot=has_plot).encode("utf-8"))
        path = folder / REPORT
        write_whole(path, to_json(report).encode("utf-8"))
    except OSError as error:
        raise OutputError(
            f"cannot write {path}: {error.strerror or error}",
            hint="check the free space and who may write there; the model itself is written",
        ) from error
    return [picture] * has_plot + [folder / CARD, folder / REPORT]


def to_json(report: RunReport) -> str:
    """The report as `training.json` holds it: a line for every step, the rest indented."""
    values, note = write.plain(report)
    if note is not None and note not in values["notes"]:
        values["notes"].append(note)
    return write.text({"schema": SCHEMA, **values}, line_by_line=_LINE_BY_LINE)
