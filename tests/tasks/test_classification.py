"""Classification: probabilities of a plain forward pass, calibrations, examples, and refusals."""

from __future__ import annotations

import copy
import json
import math
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from hfgen.errors import ContextOverflow, DataError, InvalidOption, UsageError
from hfgen.tasks.classification import CONTENT_FREE, Classifier
from hfgen.tasks.classifying import classifier
from hfgen.tasks.few_shot import Shot, choose
from hfgen.tasks.labels import Form, Label, read_labels
from hfgen.tasks.prompts import LabelPrompts
from hfgen.tasks.trained import trained_classifier
from hfgen.training.data.encode import ExampleEncoder
from hfgen.training.data.examples import Example
from tests.conftest import wrap

LABELS = ("bird", "king", "golden forest")
TEXTS = ["Once upon a time", "He had a golden bird and a fox.", "N/A", ""]
SHOTS = [
    Shot(f"There was a {word} number {n}.", LABELS[n % 3], f"x:{n}")
    for n, word in enumerate(("fox", "sea", "house", "tree", "boat", "hill", "crown"))
]


@pytest.fixture
def lm(lm_of: Callable[[str], Any]) -> Any:
    return lm_of("gpt2")


def plain(lm: Any, prompt: str, label: str) -> list[float]:
    """Log-probabilities of a label's tokens by one call of the model."""
    begun, rest = lm.tokenizer.encode(prompt), lm.tokenizer.encode(label)
    with torch.inference_mode():
        logits = lm.model(torch.tensor([begun + rest])).logits[0].double()
    table = torch.log_softmax(logits, dim=-1)
    return [float(table[len(begun) + at - 1, i]) for at, i in enumerate(rest)]


def softmax(values: list[float]) -> list[float]:
    total = sum(math.exp(value) for value in values)
    return [math.exp(value) / total for value in values]


def test_probabilities_are_those_of_a_plain_pass(lm: Any) -> None:
    for found in lm.classify(TEXTS, labels=LABELS):
        prompt = f"{found.text}\nLabel:"
        logprobs = [plain(lm, prompt, f" {label}") for label in LABELS]
        expected = softmax([sum(one) / len(one) for one in logprobs])
        assert list(found.probabilities) == list(LABELS)
        assert list(found.probabilities.values()) == pytest.approx(expected, abs=1e-5)
        assert sum(found.probabilities.values()) == pytest.approx(1)
        assert found.label == max(LABELS, key=found.probabilities.__getitem__)


def test_pmi_is_what_the_text_adds(lm: Any) -> None:
    found = lm.classify(TEXTS[0], labels=LABELS, calibration="pmi")
    gains = [
        sum(plain(lm, f"{TEXTS[0]}\nLabel:", f" {label}")) - sum(plain(lm, "\nLabel:", f" {label}"))
        for label in LABELS
    ]
    assert list(found.probabilities.values()) == pytest.approx(softmax(gains), abs=1e-5)
    nothing = lm.classify("", labels=LABELS, calibration="pmi")
    assert list(nothing.probabilities.values()) == pytest.approx([1 / 3] * 3)


def test_content_free_texts_come_out_uniform(lm: Any) -> None:
    labels = read_labels(LABELS)
    one = Classifier(lm, labels, Form(), calibration="contextual", content_free=["N/A"])
    (found,) = one.classify(["N/A"])
    assert list(found.probabilities.values()) == pytest.approx([1 / 3] * 3, abs=1e-6)
    # Of several, their mean before the last softmax: W p̄ is uniform.
    plainly = list(Classifier(lm, labels, Form()).classify(CONTENT_FREE))
    mean = [sum(one.probabilities[label] for one in plainly) / 3 for label in LABELS]
    (before,) = Classifier(lm, labels, Form()).classify([TEXTS[1]])
    (after,) = Classifier(lm, labels, Form(), calibration="contextual").classify([TEXTS[1]])
    weighed = [before.probabilities[label] / m for label, m in zip(LABELS, mean, strict=True)]
    expected = [value / sum(weighed) for value in weighed]
    assert list(after.probabilities.values()) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("calibration", ["none", "contextual", "pmi"])
def test_the_order_of_labels_changes_nothing(lm: Any, calibration: Any) -> None:
    how = {"examples": SHOTS, "shots": 3, "calibration": calibration}
    found = lm.classify(TEXTS, labels=LABELS, **how)
    again = lm.classify(TEXTS, labels=LABELS[::-1], **how)
    for one, other in zip(found, again, strict=True):
        assert list(other.probabilities) == list(LABELS[::-1])
        for label in LABELS:
            assert other.probabilities[label] == pytest.approx(one.probabilities[label], abs=1e-5)


def test_examples_are_even_shuffled_and_recorded(lm: Any) -> None:
    for seed in range(20):
        chosen = choose(SHOTS, LABELS, 4, seed)
        assert max(Counter(shot.label for shot in chosen).values()) == 2
        assert chosen == choose(SHOTS, LABELS[::-1], 4, seed)
    assert len({choose(SHOTS, LABELS, 4, seed) for seed in range(20)}) > 10
    assert sorted(choose(SHOTS, LABELS, 7, 1), key=SHOTS.index) == SHOTS
    made = classifier(lm, labels=LABELS, examples=SHOTS, shots=2, seed=3)
    first, second = choose(SHOTS, LABELS, 2, 3)
    assert made.method["examples"] == [first.place, second.place]
    assert made.prompt("What?") == (
        f"{first.text}\nLabel: {first.label}\n\n{second.text}\nLabel: {second.label}\n\n"
        "What?\nLabel:"
    )
    with pytest.raises(DataError, match="8 examples are asked for, there are 7"):
        choose(SHOTS, LABELS, 8, 0)
    with pytest.raises(DataError, match="x:2: 'golden forest' is none of the labels"):
        choose(SHOTS, LABELS[:2], 2, 0)


def test_what_the_model_reads_for_a_label(lm: Any) -> None:
    labels = [Label("b", "bird", "it has wings"), Label("k", "king")]
    made = classifier(lm, labels=labels, instruction="Say what it is.", template="{x} ={label}")
    assert made.prompt("Oh") == "Say what it is.\nbird: it has wings\n\nOh ="
    (found,) = made.classify(["Oh"])
    gains = [sum(one) / len(one) for w in ("bird", "king")
             for one in [plain(lm, made.prompt("Oh"), w)]]  # fmt: skip
    assert list(found.probabilities.values()) == pytest.approx(softmax(gains), abs=1e-5)
    mapped = lm.classify("Oh", labels={"b": "bird", "k": "king"}, template="{x} ={label}")
    assert list(mapped.probabilities) == ["b", "k"]


def test_a_text_may_get_no_label(lm: Any) -> None:
    found = lm.classify("Oh", labels=LABELS, min_confidence=1.0)
    assert found.label is None
    assert found.most_likely in LABELS
    assert found.to_dict()["label"] is None


def test_a_task_brings_labels_and_template(lm: Any) -> None:
    made = classifier(lm, task="sentiment")
    assert made.prompt("Fine.") == "Review: Fine.\nSentiment:"
    assert [label.name for label in made.labels] == ["negative", "positive"]


def test_what_cannot_be_classified_is_refused(lm: Any) -> None:
    for labels in (["a"], ["a", "a"], ["a", ""], {"a": "x", "b": "x"}):
        with pytest.raises(UsageError):
            lm.classify("x", labels=labels)
    for template in ("no place", "{text}", "{text} {label} {more}", "{text} {"):
        with pytest.raises(InvalidOption):
            lm.classify("x", labels=LABELS, template=template)
    with pytest.raises(UsageError, match="no labels"):
        lm.classify("x")
    with pytest.raises(UsageError, match="no such task"):
        lm.classify("x", task="moods")
    with pytest.raises(UsageError):
        lm.classify("x", labels=LABELS, calibration="all")
    with pytest.raises(UsageError):
        lm.classify("x", labels=LABELS, min_confidence=math.nan)
    with pytest.raises(ContextOverflow, match=r"text 1: prompt and label have .* window has 128"):
        lm.classify(["x", "a long story " * 100], labels=LABELS)


TURNS = (
    "{% for turn in messages %}<{{ turn.role }}>\n{{ turn.content }}{{ eos_token }}\n{% endfor %}"
    "{% if add_generation_prompt %}<assistant>\n{% endif %}"
)


@pytest.mark.parametrize("is_chat", [False, True])
def test_a_fine_tuned_model_is_asked_as_it_was_trained(
    lm: Any, tmp_path: Path, is_chat: bool
) -> None:
    """Context and target are the ids that training makes of a row, and the learned ones of them."""
    asking = {"form": "{text}\\nLabel:", "is_chat": is_chat}
    report = {"data": {"asking": asking, "labels": ["negative", "positive"]}}
    (tmp_path / "training.json").write_text(json.dumps(report))
    trained = trained_classifier(tmp_path)
    assert trained is not None
    tokenizer = copy.deepcopy(lm.tokenizer)
    if is_chat:
        tokenizer.chat_template = TURNS
    mine = wrap(lm.model, tokenizer)
    prompts = LabelPrompts(mine, read_labels(trained.labels), trained.form, ())
    encoder = ExampleEncoder(tokenizer)
    for text in ("one long string of cliches .", "fine"):
        for request, label in zip(prompts.requests(text, 0), trained.labels, strict=True):
            (row,) = encoder.encode(Example("", prompt=f"{text}\nLabel:", completion=f" {label}"))
            marks = zip(row.ids, row.is_learned, strict=True)
            learned = [token_id for token_id, is_learned in marks if is_learned]
            assert [*request.context_ids, *request.target_ids] == list(row.ids)
            assert list(request.target_ids) == learned


def test_a_folder_that_no_labels_came_from(tmp_path: Path) -> None:
    assert trained_classifier(tmp_path) is None
    for content in ("{", "[]", "{}", '{"data": {"asking": {"form": "{text}"}, "labels": ["a"]}}'):
        (tmp_path / "training.json").write_text(content)
        assert trained_classifier(tmp_path) is None
