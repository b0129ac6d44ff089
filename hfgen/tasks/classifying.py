"""`classifier`: from what a caller says to a `Classifier`; one place for defaults."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypedDict, Unpack

from hfgen.tasks.classification import Calibration, Classifier, check_calibration
from hfgen.tasks.few_shot import Shot, choose
from hfgen.tasks.labels import DEFAULT_TEMPLATE, PRESETS, Form, Label, find_labels


class ClassifyKeywords(TypedDict, total=False):
    """Keyword arguments of `LanguageModel.classify`."""

    labels: Iterable[str | Label] | Mapping[str, str] | None
    task: str | None
    template: str | None
    instruction: str
    examples: Sequence[tuple[str, str] | Shot]
    shots: int | None
    seed: int
    calibration: Calibration
    min_confidence: float


def classifier(lm: Any, **how: Unpack[ClassifyKeywords]) -> Classifier:
    """A classifier on a language model; see `LanguageModel.classify`."""
    calibration = how.get("calibration", "none")
    least = how.get("min_confidence", 0.0)
    check_calibration(calibration, least)
    trained = lm.trained_classifier()
    labels = find_labels(how.get("labels"), how.get("task"), trained.labels if trained else None)
    template, instruction = how.get("template"), how.get("instruction", "")
    if trained is not None and template is None and how.get("task") is None:
        form = trained.form
        form = Form(form.template, instruction, form.is_chat, form.is_closed)
    else:
        preset = PRESETS.get(how.get("task") or "")
        form = Form(template or (preset.template if preset else DEFAULT_TEMPLATE), instruction)
    examples = [one if isinstance(one, Shot) else Shot(*one) for one in how.get("examples", ())]
    count = how.get("shots")
    count = len(examples) if count is None else count
    shots = choose(examples, {label.name for label in labels}, count, how.get("seed", 0))
    return Classifier(lm, labels, form, shots=shots, calibration=calibration, min_confidence=least)
