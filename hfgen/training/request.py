"""`TrainingRequest`: what a run of `finetune` or `pretrain` is asked to do.

The command line and Python make the same request, and `hfgen.training.runs` carries it out. What
can be refused by the request alone is refused before torch is imported.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, Generic, TypeVar

from hfgen.training.events import Listener
from hfgen.training.options.common import RunOptions
from hfgen.training.reading.given_rows import Rows

Data = str | Path | Sequence[str | Path]
Options = TypeVar("Options", bound=RunOptions)


class StopRequest:
    """Asks a running training to end after the running step, with a checkpoint."""

    def __init__(self) -> None:
        self.is_made = False

    def make(self) -> None:
        """Ask (safe in a signal handler)."""
        self.is_made = True


@dataclass(frozen=True)
class TrainingRequest(Generic[Options]):
    """A run as it is asked for, on what and how, before anything is looked at."""

    data: Data | Rows
    """Files or folders, `-` for standard input, or (`finetune` alone) the rows themselves."""
    options: Options
    """Learning rate, epochs, and all that has a range and a default."""
    _: KW_ONLY
    model: str | None = None
    output: str | Path | None = None
    """None for a folder named after the model."""
    device: str = "auto"
    offline: bool = False
    trust_remote_code: bool = False
    resume: bool = False
    overwrite: bool = False
    stdin: BinaryIO | None = None
    """What `-` reads."""
    listener: Listener = field(default_factory=Listener)
    stop: StopRequest = field(default_factory=StopRequest)
    command: str | None = None
    """What the report says repeats the run."""

    @property
    def paths(self) -> list[str]:
        """The names of files and folders in `data`."""
        data: Any = self.data
        return [str(one) for one in ([data] if isinstance(data, str | Path) else data)]

    @property
    def reads_stdin(self) -> bool:
        """Whether standard input is named, for training or for validation."""
        return "-" in (*self.paths, self.options.val_data)
