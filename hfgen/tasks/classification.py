"""`Classifier`: labels for texts, by how likely a model finds each label after a prompt.

Method
    A label's score is the mean log-probability of its tokens, so that long labels are not at a
    disadvantage; a softmax over the labels makes probabilities of the scores. A fine-tuned
    classifier has learned whole answers, labels with their ends, and is asked for the probability
    of those: sums take the place of means.

Calibration, against what a model prefers whatever the text is
    `contextual`  Each probability is divided by the mean of those that content-free texts ("N/A",
                  "[MASK]" and none at all) get, so that these come out uniform (W = diag(p_cf)⁻¹,
                  b = 0). Source: Zhao et al. 2021, "Calibrate Before Use", section 4.
    `pmi`         A label's score is log P(label | prompt) − log P(label | prompt without the text),
                  sums over its tokens; length and frequency of a label fall out. Source: Holtzman
                  et al. 2021, "Surface Form Competition", section 3 (domain-conditional PMI; the
                  prompt without a text is the domain's premise here).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import islice
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from hfgen.errors import UsageError
from hfgen.scoring.scorer import Scores
from hfgen.tasks.few_shot import Shot
from hfgen.tasks.labels import Form, Label
from hfgen.tasks.prompts import LabelPrompts

Calibration = Literal["none", "contextual", "pmi"]
CONTENT_FREE = ("N/A", "", "[MASK]")
_NO_TEXT = ""
_AT_ONCE = 64

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Classification:
    """The label of a text."""

    index: int
    text: str
    label: str | None
    """None where no label has the probability that was asked for."""
    probabilities: Mapping[str, float]
    """Of all labels; they sum to 1."""

    @property
    def most_likely(self) -> str:
        """The label with the highest probability."""
        return max(self.probabilities, key=self.probabilities.__getitem__)

    @property
    def confidence(self) -> float:
        """The highest probability."""
        return max(self.probabilities.values())

    def at(self, index: int) -> Classification:
        """The same under another number."""
        return replace(self, index=index)

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready mapping."""
        return {
            "index": self.index,
            "text": self.text,
            "label": self.label,
            "confidence": self.confidence,
            "probabilities": dict(self.probabilities),
        }


class Classifier:
    """Classifies texts with one model, one set of labels and one prompt."""

    def __init__(
        self,
        lm: Any,
        labels: Sequence[Label],
        form: Form,
        *,
        shots: Sequence[Shot] = (),
        calibration: Calibration = "none",
        min_confidence: float = 0.0,
        content_free: Sequence[str] = CONTENT_FREE,
    ) -> None:
        """`content_free` are the texts that contextual calibration makes uniform."""
        self.labels = tuple(labels)
        self._calibration = calibration
        self._least = min_confidence
        self._content_free = tuple(content_free)
        self._has_sums = form.is_closed or calibration == "pmi"
        self._form, self._shots = form, tuple(shots)
        self._prompts = LabelPrompts(lm, self.labels, form, shots)
        self._scorer = lm.scorer()

    @property
    def method(self) -> dict[str, Any]:
        """What results depend on, JSON-ready."""
        found: dict[str, Any] = {
            "template": self._form.template,
            "instruction": self._form.instruction or None,
            "chat_template": self._form.is_chat,
            "score": "sum of log-probabilities" if self._has_sums else "mean per token",
            "calibration": self._calibration,
            "examples": [shot.place or shot.text for shot in self._shots],
        }
        if self._calibration == "contextual":
            found["content_free"] = list(self._content_free)
        return found

    def prompt(self, text: str) -> str:
        """The text before a label, as the model reads it (within its chat template, if any)."""
        return self._prompts.prompt(text)

    def classify(
        self, texts: Iterable[str], progress: Callable[[int], None] = lambda done: None
    ) -> Iterator[Classification]:
        """Classify texts, in order; `progress` is told how many are done.

        Raises `ContextOverflow` for a text that does not fit the window, with its `prompt_index`.
        """
        source = enumerate(texts)
        names = [label.name for label in self.labels]
        while batch := list(islice(source, _AT_ONCE)):
            for (index, text), values in zip(batch, self._probabilities(batch), strict=True):
                best = int(np.argmax(values))
                label = names[best] if values[best] >= self._least else None
                found = dict(zip(names, map(float, values), strict=True))
                yield Classification(index, text, label, found)
            progress(batch[-1][0] + 1)

    def _probabilities(self, texts: Sequence[tuple[int, str]]) -> Floats:
        """Probabilities (B, L)."""
        scores = self._scores(texts)
        if self._calibration == "pmi":
            return _softmax(scores - self._premise)
        if self._calibration == "contextual":
            return _softmax(scores - self._bias)
        return _softmax(scores)

    @cached_property
    def _premise(self) -> Floats:
        """Scores (1, L) of the labels without a text."""
        return self._scores([(0, _NO_TEXT)])

    @cached_property
    def _bias(self) -> Floats:
        """Logarithms (L,) of the labels' mean probabilities after content-free texts."""
        scores = self._scores(list(enumerate(self._content_free)))
        bias: Floats = np.log(_softmax(scores).mean(axis=0))
        return bias

    def _scores(self, texts: Sequence[tuple[int, str]]) -> Floats:
        """Scores (B, L) before calibration."""
        asked = [self._prompts.requests(text, index) for index, text in texts]
        found = iter(self._scorer.score([request for one in asked for request in one]))
        return np.array([[self._score(next(found)) for _ in one] for one in asked])

    def _score(self, scores: Scores) -> float:
        return scores.total if self._has_sums else scores.total / len(scores.logprobs)


def check_calibration(calibration: str, min_confidence: float) -> None:
    """Raise `UsageError` for a calibration that there is not, or no probability."""
    if calibration not in ("none", "contextual", "pmi"):
        raise UsageError(f"calibration is {calibration!r}", hint="choose none, contextual or pmi")
    if not (math.isfinite(min_confidence) and 0 <= min_confidence <= 1):
        raise UsageError(f"min_confidence is {min_confidence}", hint="give a number from 0 to 1")


def _softmax(scores: Floats) -> Floats:
    scores = scores - scores.max(axis=-1, keepdims=True)
    values = np.exp(scores)
    total: Floats = values / values.sum(axis=-1, keepdims=True)
    return total
