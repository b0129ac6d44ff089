"""The files of a result by name: which a run writes into its folder, and which it may replace.

A folder may hold other things beside a result: a project's README, data, somebody's vocabulary.
So a run keeps a list of the files that are a result's, `checkpoints/result.json`, from its first
step on; what has such a name and is not listed is not the run's. A folder without the list, but
with a model, holds a model of another program (or its list was removed): there every file with a
name of the table is the model's.

Knows nothing of what is in the files. Imports no torch.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from fnmatch import fnmatchcase
from pathlib import Path

from hfgen.atomic import write_whole
from hfgen.models.checkpoint.layout import ADAPTER_CONFIG, CONFIG, SMALL_FILES
from hfgen.models.checkpoint.weights import WEIGHT_FILES
from hfgen.training.report.record import CARD, PLOT, REPORT

CHECKPOINTS = "checkpoints"
RUN, LOCK = "run.json", ".lock"
REPORT_FILES = (REPORT, CARD, PLOT)
"""What a report consists of."""

_LIST = "result.json"
_WEIGHTS = (
    *WEIGHT_FILES, "model-*-of-*.safetensors", "pytorch_model-*-of-*.bin",
    "adapter_model.safetensors", "adapter_model.bin",
)  # fmt: skip
_NAMES = (*SMALL_FILES, ADAPTER_CONFIG, *_WEIGHTS, *REPORT_FILES)
_OF_RUNS = re.compile(r"checkpoint-[0-9]+|\.saving.*|\.removed|run\.json", re.ASCII)


def is_of_result(name: str) -> bool:
    """Whether a file of this name in a run's folder is a result's."""
    return any(fnmatchcase(name, pattern) for pattern in _NAMES)


def is_of_run(name: str) -> bool:
    """Whether a run removes what has this name among the checkpoints of an earlier one."""
    return _OF_RUNS.fullmatch(name) is not None


def holds_configuration(folder: Path) -> bool:
    """Whether a model or an adapter is there, or what is left of one."""
    return any((folder / name).is_file() for name in (CONFIG, ADAPTER_CONFIG))


def holds_model(folder: Path) -> bool:
    """Whether a model or an adapter is there with its weights."""
    return holds_configuration(folder) and any(
        fnmatchcase(name, pattern) for name in _names_in(folder) for pattern in _WEIGHTS
    )


def holds_run(folder: Path) -> bool:
    """Whether a run was begun there."""
    return any((folder / CHECKPOINTS / name).is_file() for name in (RUN, LOCK))


def files_in_the_way(folder: Path, *, replaced: Iterable[str] = ()) -> list[str]:
    """What has a name that a result takes, and is none of the files to be `replaced`."""
    kept = set(replaced)
    return sorted(name for name in _names_in(folder) if is_of_result(name) and name not in kept)


def replaceable_files(folder: Path) -> set[str]:
    """The files of an earlier result or model, by their paths in the folder."""
    try:
        names = json.loads((folder / CHECKPOINTS / _LIST).read_text(encoding="utf-8"))
        return {str(name) for name in names if not _is_outside(str(name))}
    except (OSError, ValueError, TypeError):
        if not holds_configuration(folder):
            return set()
        return {n for n in _names_in(folder) if is_of_result(n) and not (folder / n).is_dir()}


def list_replaceable(folder: Path, names: Iterable[str]) -> None:
    """Write down which files a run in this folder may replace. Raises `OSError`."""
    text = json.dumps(sorted(names), indent=2) + "\n"
    write_whole(folder / CHECKPOINTS / _LIST, text.encode("utf-8", "backslashreplace"))


def _is_outside(name: str) -> bool:
    return not name or Path(name).is_absolute() or ".." in Path(name).parts


def _names_in(folder: Path) -> list[str]:
    try:
        return [path.name for path in folder.iterdir()]
    except OSError:
        return []
