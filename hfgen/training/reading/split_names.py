"""Which part of a data set a file is, by its name: training, validation or test.

    train.jsonl            train-00000-of-00002.parquet    train/a.txt     wiki_train.jsonl
    valid.jsonl, val, dev, eval, validation
    test.jsonl

Such names count in folders alone: a file that is named itself is used as it is asked for. A word
at a name's end (`wiki_test.jsonl`) counts where there is a training part beside it, for a book may
be called a test. What has no such name is for training; where nothing else would be left to train
on, names say nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

Part = Literal["train", "validation", "test"]
_WORDS: dict[str, Part] = {
    "train": "train", "training": "train", "valid": "validation", "validation": "validation",
    "val": "validation", "dev": "validation", "eval": "validation", "test": "test",
    "testing": "test",
}  # fmt: skip
_NUMBERED = re.compile(r"([a-z]+)(?:[-_.]?[0-9]+(?:[-_]of[-_][0-9]+)?)?")
_SHOWN = 3


@dataclass(frozen=True)
class Parts:
    """The files of a folder by the part that they are, each in order."""

    train: list[Path] = field(default_factory=list)
    validation: list[Path] = field(default_factory=list)
    test: list[Path] = field(default_factory=list)

    @property
    def has_names(self) -> bool:
        """Whether anything is kept from training."""
        return bool(self.validation or self.test)


def split_by_names(files: Sequence[Path], folder: Path) -> Parts:
    """Divide a folder's data files."""
    named = {path: _part_of(path.relative_to(folder)) for path in files}
    has_train = any(part == "train" for part, _ in named.values())
    parts = Parts()
    for path, (part, is_plain) in named.items():
        told = part if part is not None and (is_plain or has_train) else "train"
        getattr(parts, told).append(path)
    return parts if parts.train else Parts(train=list(files))


def shown_names(files: Iterable[Path], folder: Path) -> str:
    """The first few of the files, by their names in the folder."""
    names = [str(path.relative_to(folder)) for path in files]
    return ", ".join(names[:_SHOWN]) + f" and {len(names) - _SHOWN} more" * (len(names) > _SHOWN)


def _part_of(path: Path) -> tuple[Part | None, bool]:
    """The part that a name tells, and whether it says nothing else."""
    stem = path.name.casefold().split(".")[0]
    if (match := _NUMBERED.fullmatch(stem)) and match[1] in _WORDS:
        return _WORDS[match[1]], True
    for folder in reversed(path.parts[:-1]):
        if (part := _WORDS.get(folder.casefold())) is not None:
            return part, True
    found = {_WORDS[word] for word in re.split(r"[-_ ]", stem) if word in _WORDS}
    return (found.pop(), False) if len(found) == 1 else (None, False)
