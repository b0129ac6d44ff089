"""`RunReport`: all that is known of a training run, and the files that tell it.

Beside a model lie

    training.json   everything, with the loss of every step; `read_report` gives it back
    README.md       a model card (`hfgen.training.model_card`), with samples before and after
    loss.png        the losses (`hfgen.training.loss_plot`), where matplotlib is installed

Each is written aside and renamed, `training.json` last: where it is, the others are. A number that
is not finite has no JSON: it is null, and `notes` says where. Knows nothing of how training goes.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import math
import re
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hfgen.errors import DataError, OutputError
from hfgen.training.options import Method
from hfgen.training.progress import Evaluation, Step
from hfgen.training.run_facts import FileFacts, Machine
from hfgen.whole_file import write_whole

SCHEMA = 1
"""Raised when a field changes its meaning; new fields do not raise it."""
REPORT, CARD, PLOT = "training.json", "README.md", "loss.png"

_LINE_BY_LINE = ("steps", "evaluations")
_PLACES_NAMED = 5
_SURROGATE = re.compile("[\ud800-\udfff]")


@dataclass(frozen=True)
class BaseModel:
    """The model that was trained further."""

    name: str
    """As it was given."""
    source: str | None = None
    """`ResolvedModel.source`."""
    repo_id: str | None = None
    revision: str | None = None
    licence: str | None = None


@dataclass(frozen=True)
class DataFacts:
    """What it was trained on."""

    description: str
    """`Shape.description`."""
    rows: int
    """Rows that could be used, those for validation included."""
    tokens: int
    learned_tokens: int
    """Of the training rows, in one epoch."""
    is_chat: bool = False
    """Whether prompts go through the model's chat template."""
    files: tuple[FileFacts, ...] = ()
    validation_files: tuple[FileFacts, ...] = ()
    skipped: int = 0
    split: int = 0
    windows: int = 0
    truncated: int = 0
    dropped: int = 0
    """As in `hfgen.training.windows.LongRowCounts`."""
    fingerprint: str = ""
    """`hfgen.training.splitting.fingerprint` of the training rows."""
    validation_rows: int = 0
    validation_tokens: int = 0
    no_validation: str | None = None
    """Why nothing was held out although some was asked for."""


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
    """Where validation loss was lowest; None without validation."""
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
    notes: tuple[str, ...] = ()
    """What else a reader should know."""

    @property
    def is_adapter(self) -> bool:
        """Whether an adapter was trained, and not the whole model."""
        return self.method != "full"


def write_report(folder: str | Path, report: RunReport) -> list[Path]:
    """Write the files beside the model and return their paths.

    Without matplotlib there is no plot among them (`loss_plot.WITHOUT_MATPLOTLIB` is for the user
    then), nor is one of an earlier run left. Raises `OutputError` when a file cannot be written.
    """
    from hfgen.training import loss_plot, model_card

    folder = Path(folder)
    plot, path = folder / PLOT, folder
    try:
        path = plot
        has_plot = loss_plot.draw(report, plot)
        if not has_plot:
            plot.unlink(missing_ok=True)
        path = folder / CARD
        write_whole(path, model_card.card(report, has_plot=has_plot).encode("utf-8"))
        path = folder / REPORT
        write_whole(path, to_json(report).encode("utf-8"))
    except OSError as error:
        raise OutputError(
            f"cannot write {path}: {error.strerror or error}",
            hint="check the free space and who may write there; the model itself is written",
        ) from error
    return [plot] * has_plot + [folder / CARD, folder / REPORT]


def read_report(folder: str | Path) -> RunReport:
    """Read the report of a run back.

    Raises `DataError` where there is none, it is damaged or of a newer hfgen.
    """
    path = Path(folder) / REPORT
    damaged = f"{path} is no report of a training run"
    hint = "it is written by hfgen finetune; remove it if you do not need it"
    try:
        values = json.loads(path.read_bytes())
    except OSError as error:
        raise DataError(
            f"{path}: {error.strerror or error}", hint="name a folder that hfgen finetune wrote"
        ) from error
    except (ValueError, RecursionError) as error:
        raise DataError(damaged, hint=hint) from error
    version = values.get("schema") if isinstance(values, dict) else None
    if isinstance(version, int) and version > SCHEMA:
        raise DataError(f"{path} is of a newer hfgen", hint="pip install --upgrade hfgen")
    try:
        return typing.cast(RunReport, _built(RunReport, values, "report"))
    except TypeError as error:
        raise DataError(f"{damaged}: {error.args[0]}", hint=hint) from error


def to_json(report: RunReport) -> str:
    """The report as `training.json` holds it: a line for every step, the rest indented."""
    not_finite: list[str] = []
    values: dict[str, Any] = {"schema": SCHEMA, **_plain(report, "", not_finite)}
    if not_finite:
        note = _note(not_finite)
        values["notes"] += [note] * (note not in values["notes"])
    parts = []
    for name, value in values.items():
        text = json.dumps(value, ensure_ascii=False, indent=2).replace("\n", "\n  ")
        if name in _LINE_BY_LINE and value:
            lines = (json.dumps(item, ensure_ascii=False) for item in value)
            text = "[\n    " + ",\n    ".join(lines) + "\n  ]"
        parts.append(f"  {json.dumps(name)}: {text}")
    written = "{\n" + ",\n".join(parts) + "\n}\n"
    # Names of files may hold bytes that are no text, and those have no UTF-8.
    return _SURROGATE.sub(lambda found: f"\\u{ord(found[0]):04x}", written)


def _note(places: list[str]) -> str:
    named = ", ".join(places[:_PLACES_NAMED]) + ", …" * (len(places) > _PLACES_NAMED)
    return f"null for a number that was not finite, {len(places)}×: {named}"


def _plain(value: Any, place: str, not_finite: list[str]) -> Any:
    """A value as JSON can hold it; where it cannot, None, and the place is noted."""
    if isinstance(value, float) and not math.isfinite(value):
        not_finite.append(place.removeprefix("."))
        return None
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        found = {f.name: getattr(value, f.name) for f in dataclasses.fields(value)}
        found = {name: _plain(v, f"{place}.{name}", not_finite) for name, v in found.items()}
        if isinstance(value, Evaluation):
            found["perplexity"] = None if found["loss"] is None else value.perplexity
        return found
    if isinstance(value, Mapping):
        return {str(k): _plain(v, f"{place}.{k}", not_finite) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(v, f"{place}[{i}]", not_finite) for i, v in enumerate(value)]
    return str(value)


def _built(kind: Any, value: Any, place: str) -> Any:
    """A value of the annotated type; raises `TypeError` with its place."""
    origin = typing.get_origin(kind)
    if origin in (types.UnionType, typing.Union):
        if value is None:
            return None
        kind = next(k for k in typing.get_args(kind) if k is not types.NoneType)
        return _built(kind, value, place)
    if dataclasses.is_dataclass(kind):
        return _built_record(kind, value, place)
    if origin is tuple:
        _check(isinstance(value, list), place)
        inner = typing.get_args(kind)[0]
        return tuple(_built(inner, item, f"{place}[{i}]") for i, item in enumerate(value))
    if origin is typing.Literal:
        _check(value in typing.get_args(kind), place)
        return value
    expected: Any = (int, float) if kind is float else origin or kind
    _check(isinstance(value, expected) and (kind is bool or not isinstance(value, bool)), place)
    return value


def _built_record(kind: Any, value: Any, place: str) -> Any:
    _check(isinstance(value, dict), place)
    hints, needed = _fields(kind)
    for name in needed:
        _check(name in value, f"{place}.{name}")
    known = {name: hint for name, hint in hints.items() if name in value}
    return kind(**{n: _built(hint, value[n], f"{place}.{n}") for n, hint in known.items()})


@functools.cache
def _fields(kind: Any) -> tuple[dict[str, Any], list[str]]:
    """The types of a dataclass's fields, and the names of those without a default."""
    hints = typing.get_type_hints(kind)
    fields = dataclasses.fields(kind)
    missing = dataclasses.MISSING
    needed = [f.name for f in fields if f.default is missing and f.default_factory is missing]
    return {f.name: hints[f.name] for f in fields}, needed


def _check(is_right: bool, place: str) -> None:
    if not is_right:
        raise TypeError(f"{place} is not what it should be")
