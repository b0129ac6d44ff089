"""`PreparedRun`: all that the first step of a run needs, and the same for both commands."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from hfgen.training.data.dataset import Prepared
from hfgen.training.data.encode import EncodedExample
from hfgen.training.model.load import Base
from hfgen.training.planning.plan import Facts, Plan
from hfgen.training.report.record import DataFacts

DEFAULT_LENGTH = 1024
"""The longest row, unless more is asked for, of a model that was trained before."""


@dataclass(frozen=True)
class TrainingData:
    """What is trained and validated on."""

    train: Any
    """A sequence of rows that `collate` makes batches of."""
    validation: Any
    collate: Any
    shown: Sequence[EncodedExample]
    """Rows that samples are made from: of the validation data where there is some."""
    facts: Facts
    """What the plan is made from."""
    reported: DataFacts
    """What the report says of it."""
    notices: tuple[str, ...]
    details: Prepared | None = None
    """The rows of `finetune`."""


@dataclass(frozen=True)
class PreparedRun:
    """A run, ready for its first step."""

    base: Base
    data: TrainingData
    plan: Plan
