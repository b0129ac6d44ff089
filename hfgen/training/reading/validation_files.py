"""What a run validates on, where files say it: `--val-data`, or the names of a folder's files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from hfgen.training.options.common import RunOptions
from hfgen.training.reading.files import folder_parts
from hfgen.training.reading.split_names import Parts, shown_names


def validation_paths(paths: Sequence[str | Path], options: RunOptions) -> list[str]:
    """The files to validate on; none where rows of the training data are held out.

    Of a folder with parts that `val_data` names, the validation part counts, else the test part.
    """
    if options.val_data is not None:
        parts = _parts(options.val_data)
        return [str(path) for path in parts.validation or parts.test] or [options.val_data]
    if _is_decided(options):
        return []
    return [str(path) for name in paths for path in _parts(name).validation]


def part_notices(paths: Sequence[str | Path], options: RunOptions) -> list[str]:
    """For each folder with a validation or test part: what is used for what."""
    found = []
    for name in paths:
        parts, folder = _parts(name), Path(name)
        if not parts.has_names:
            continue
        is_used = options.val_data is None and not _is_decided(options)
        unused = parts.test if is_used else [*parts.validation, *parts.test]
        told = [f"training on {shown_names(parts.train, folder)}"]
        if is_used and parts.validation:
            told.append(f"validation on {shown_names(parts.validation, folder)}")
        if unused:
            told.append(f"not used: {shown_names(unused, folder)}")
        found.append(f"{name}: {'; '.join(told)}")
    return found


def _is_decided(options: RunOptions) -> bool:
    """Whether the user said what to hold out."""
    return options.val_split is not None or bool(getattr(options, "held_out", None))


def _parts(name: str | Path) -> Parts:
    return folder_parts(str(name)) if str(name) != "-" and Path(name).is_dir() else Parts()
