"""Figures of classifiers, against hand computations and what must hold."""

from __future__ import annotations

import random

import numpy as np
import pytest

from hfgen.errors import DataError
from hfgen.evaluation.labelled import (
    Labelled,
    calibration_error,
    confusion,
    label_report,
    macro_f1,
)

ABC = ("a", "b", "c")


def rows(gold: str, chosen: str, confidence: float = 0.9) -> list[Labelled]:
    """Rows by letters; a dot is no label, of which the most likely one is wrong."""
    return [
        Labelled(g, None if c == "." else c, "?" if c == "." else c, confidence)
        for g, c in zip(gold, chosen, strict=True)
    ]


def test_f1_against_a_hand_computation() -> None:
    # a: 2 right of 3 chosen and 3 there; b: 1 of 2 and 2; c: 1 of 1 and 2 (one without a label).
    found = macro_f1(rows("aaabbcc", "aabbac."), ABC)
    assert found.value == pytest.approx((2 / 3 + 1 / 2 + 2 / 3) / 3)
    assert found.low < found.value < found.high
    # A label that is nowhere does not count; one that is only chosen does.
    assert macro_f1(rows("aab", "aab"), ABC).value == 1
    assert macro_f1(rows("aaab", "aacb"), ABC).value == pytest.approx((4 / 5 + 1 + 0) / 3)


def test_f1_equals_its_definition_on_random_rows() -> None:
    draw = random.Random(0)
    for _ in range(4):
        gold, chosen = ("".join(draw.choices("abc", k=30)) for _ in range(2))
        values = []
        for label in sorted({*gold, *chosen}):
            both = sum(g == c == label for g, c in zip(gold, chosen, strict=True))
            precision = both / max(1, chosen.count(label))
            recall = both / max(1, gold.count(label))
            values.append(2 * precision * recall / ((precision + recall) or 1))
        found = macro_f1(rows(gold, chosen), ABC)
        assert found.value == pytest.approx(sum(values) / len(values))


@pytest.mark.parametrize("off", [0.0, 0.2])
def test_the_calibration_error_of_a_synthetic_classifier(off: float) -> None:
    """One that is right as often as it says has hardly any; one that says 0.2 more has 0.2.

    Noise in the bins only adds, so that none at all is never measured.
    """
    draw = np.random.default_rng(1)
    made = []
    for confidence in draw.uniform(0.5, 0.99, 1500):
        label = "a" if draw.random() < confidence - off else "b"
        made.append(Labelled("a", label, label, float(confidence)))
    found = calibration_error(made)
    assert found.value == pytest.approx(off, abs=0.04)
    assert found.low <= off + 0.02
    assert found.high >= off


def test_calibration_error_by_hand() -> None:
    made = [*rows("aa", "ab", 0.95), *rows("a", "a", 0.55)]
    assert calibration_error(made).value == pytest.approx((2 * 0.45 + 0.45) / 3)
    assert calibration_error(rows("a", "a", 1.0)).value == 0


def test_confusion_and_report() -> None:
    made = rows("aaab", "aab.")
    assert confusion(made, "ab") == {
        "a": {"a": 2, "b": 1, "(none)": 0},
        "b": {"a": 0, "b": 0, "(none)": 1},
    }
    found = label_report("m", "ab", made, {"calibration": "none"}).to_dict()
    figures = {name: one["value"] for name, one in found["metrics"].items()}
    assert figures["accuracy"] == 0.5
    assert figures["majority"] == 0.75
    assert figures["answered"] == 0.75
    assert figures["accuracy_answered"] == pytest.approx(2 / 3)
    assert "answered" not in label_report("m", "ab", rows("a", "b"), {}).to_dict()["metrics"]
    with pytest.raises(DataError):
        label_report("m", "ab", [], {})
    with pytest.raises(DataError, match="'z' is none"):
        label_report("m", "ab", rows("z", "a"), {})
