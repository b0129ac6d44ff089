"""What a model that `hfgen finetune` made of labelled rows says about how it is asked.

Its folder's `training.json` keeps the prompt's form and the labels that were seen
(`hfgen.training.report.record`). Read as JSON: no torch, and nothing of training is imported.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hfgen.errors import HfgenError
from hfgen.tasks.labels import Form

_REPORT = "training.json"


@dataclass(frozen=True)
class Trained:
    """What a classifier was trained on."""

    form: Form
    labels: tuple[str, ...]


def trained_classifier(folder: Path) -> Trained | None:
    """The form and labels of a fine-tuned classifier; None for a folder of anything else."""
    try:
        report = json.loads((folder / _REPORT).read_text(encoding="utf-8"))
        data: dict[str, Any] = report["data"]
        asking: dict[str, Any] = data["asking"]
        labels = tuple(str(label) for label in data.get("labels") or ())
        form = asking.get("form")
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    if len(labels) < 2 or not isinstance(form, str):
        return None
    # A joined completion begins with the blank that the prompt does not end with.
    blank = "" if form.endswith(("\\n", "\\t")) else " "
    template = f"{form}{blank}{{label}}"
    is_chat = bool(asking.get("is_chat"))
    try:
        return Trained(Form(template, is_chat=is_chat, is_closed=True), labels)
    except HfgenError:
        return None
