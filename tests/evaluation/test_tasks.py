"""What each kind of evaluation finds, against plain computations."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch

from hfgen.errors import DataError
from hfgen.evaluation.choice import Choice
from hfgen.evaluation.cloze import Cloze
from hfgen.evaluation.compare import agreement, compare
from hfgen.evaluation.kinds import task_of
from hfgen.evaluation.perplexity import Perplexity
from hfgen.evaluation.run import Settings, report, results
from hfgen.evaluation.task import Task
from hfgen.training.reading.rows import RawRow

TEXT = "Once upon a time there was a king. He had a golden bird, and the bird could speak. "


def rows(*values: dict[str, object]) -> list[RawRow]:
    return [RawRow(value, "rows.jsonl", at + 1) for at, value in enumerate(values)]


def evaluated(lm: Any, task: Task, given: list[RawRow], **settings: Any) -> dict[str, Any]:
    how = Settings(**settings)
    found = list(results(lm, task, given, how))
    return report(lm, task, found, how).to_dict()["metrics"]


def likelihood(lm: Any, context: str, target: str) -> tuple[float, bool]:
    """Of the tokens that the target adds, by a plain pass."""
    start = len(lm.tokenizer.encode(context)) if context else 0
    ids = lm.tokenizer.encode(context + target)
    if not start:
        ids, start = [lm.tokenizer.bos_token_id, *ids], 1
    with torch.inference_mode():
        logits = lm.model(torch.tensor([ids])).logits[0]
    table = torch.log_softmax(logits.double(), dim=-1)
    total = math.fsum(float(table[i - 1, ids[i]]) for i in range(start, len(ids)))
    return total, all(int(logits[i - 1].argmax()) == ids[i] for i in range(start, len(ids)))


@pytest.fixture
def lm(lm_of: Callable[[str], Any]) -> Any:
    return lm_of("gpt2")


def test_perplexity_of_texts(lm: Any) -> None:
    texts = [TEXT, "The king slept. " * 3]
    found = evaluated(lm, Perplexity(), rows(*({"text": text} for text in texts)))
    total = sum(likelihood(lm, "", text)[0] for text in texts)
    tokens = sum(len(lm.tokenizer.encode(text)) for text in texts)
    words = sum(len(text.split()) for text in texts)
    assert found["perplexity"]["value"] == pytest.approx(math.exp(-total / tokens), rel=1e-4)
    assert found["word_perplexity"]["value"] == pytest.approx(math.exp(-total / words), rel=1e-3)
    size = sum(map(len, texts))
    assert found["bits_per_byte"]["value"] == pytest.approx(-total / size / math.log(2), rel=1e-4)
    for metric in found.values():
        assert metric["low"] <= metric["value"] <= metric["high"]


def test_a_uniform_model_has_its_vocabulary_as_perplexity(
    lm: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    forward = lm._decoding.forward

    def uniform(*args: Any, **kwargs: Any) -> Any:
        made = forward(*args, **kwargs)
        made.logits = torch.zeros_like(made.logits)
        return made

    monkeypatch.setattr(lm._decoding, "forward", uniform)
    found = evaluated(lm, Perplexity(), rows({"text": TEXT * 20}))
    assert found["perplexity"] == pytest.approx({"value": 4096, "low": 4096, "high": 4096})


def test_choices_are_judged_by_sum_and_by_length(lm: Any) -> None:
    query = "The king had"
    choices = ["a golden bird", "three", "a very long and sad life in a castle"]
    given = rows({"query": query, "choices": choices, "gold": 1})
    (result,) = results(lm, Choice(), given, Settings())
    expected = [likelihood(lm, query, " " + choice)[0] for choice in choices]
    assert result["log_likelihood"] == pytest.approx(expected, abs=1e-4)
    by_length = [value / len(choice) for value, choice in zip(expected, choices, strict=True)]
    assert result["chosen"]["accuracy"] == expected.index(max(expected))
    assert result["chosen"]["accuracy_norm"] == by_length.index(max(by_length))


def test_the_gold_label_changes_the_score_and_not_the_choice(lm: Any) -> None:
    row = {"query": "He had a", "choices": [" bird", " king", " castle"]}
    found = [
        evaluated(lm, Choice(), rows(row | {"gold": gold}))["accuracy"]["value"]
        for gold in range(3)
    ]
    assert sorted(found) == [0, 0, 1]


def test_partial_evaluation_scores_one_continuation_after_each_context(lm: Any) -> None:
    contexts = ["The fox was so sly that the fox", "The fox was so sly that the hen"]
    given = rows({"context_options": contexts, "continuation": "won.", "gold": 0})
    (result,) = results(lm, Choice(), given, Settings())
    expected = [likelihood(lm, context, " won.")[0] for context in contexts]
    assert result["log_likelihood"] == pytest.approx(expected, abs=1e-4)


def test_cloze_asks_for_the_whole_last_word(lm: Any) -> None:
    greedy = lm.generate("There was a king", do_sample=False, max_new_tokens=1).completion
    given = rows(
        {"context": "There was a king", "target": greedy},
        {"text": "Once upon a time"},
    )
    found = list(results(lm, Cloze(), given, Settings()))
    assert found[0]["is_right"]
    value, is_right = likelihood(lm, "Once upon a", " time")
    assert found[1]["log_likelihood"] == pytest.approx(value, abs=1e-4)
    assert found[1]["is_right"] == is_right
    metrics = evaluated(lm, Cloze(), given)
    losses = [one["log_likelihood"] for one in found]
    assert metrics["perplexity"]["value"] == pytest.approx(math.exp(-math.fsum(losses) / 2))


@pytest.mark.parametrize(
    ("task", "row", "message"),
    [
        (Perplexity(), {"text": ""}, "text must be a text"),
        (Perplexity(), {"prompt": "a"}, "text must be a text"),
        (Cloze(), {"text": "word"}, "needs two words"),
        (Choice(), {"query": "a", "choices": ["b"], "gold": 0}, "a list of two texts"),
        (Choice(), {"query": "a", "choices": ["b", "c"], "gold": 2}, "0 to 1"),
        (Choice(), {"query": "a", "choices": ["b", "c"], "gold": "0"}, "0 to 1"),
    ],
)
def test_a_row_of_another_kind_is_named(
    lm: Any, task: Task, row: dict[str, object], message: str
) -> None:
    with pytest.raises(DataError, match=message) as caught:
        list(results(lm, task, rows(row), Settings()))
    assert "rows.jsonl:1: " in caught.value.message


def test_the_kind_is_seen_from_the_row() -> None:
    for values, kind in [
        ({"text": "a b"}, Perplexity),
        ({"context": "a", "target": "b"}, Cloze),
        ({"query": "a", "choices": ["b"], "gold": 0}, Choice),
        ({"context_options": ["a"], "continuation": "b", "gold": 0}, Choice),
    ]:
        assert type(task_of(rows(values)[0])) is kind
    with pytest.raises(DataError, match="nothing to evaluate"):
        task_of(rows({"answer": "a"})[0])


def test_a_model_agrees_with_itself_and_comparisons_are_mirrored(
    lm: Any, lm_of: Callable[[str], Any]
) -> None:
    given = rows(
        *(
            {"query": f"{TEXT}{n}", "choices": [" bird", " king", " sea"], "gold": n % 3}
            for n in range(12)
        )
    )
    other = lm_of("llama")
    task = Choice()
    mine, theirs = (list(results(one, task, given, Settings())) for one in (lm, other))
    same = compare(task, mine, mine, agreement(lm, lm, task, given, Settings()))
    assert same.p_value == 1
    assert same.agreement is not None
    assert same.agreement.divergence.value == pytest.approx(0, abs=1e-6)
    assert same.agreement.same_top.value == 1
    forth, back = compare(task, mine, theirs), compare(task, theirs, mine)
    assert (forth.only_first, forth.only_second) == (back.only_second, back.only_first)
    assert forth.p_value == back.p_value
    assert forth.loss_gain.value == pytest.approx(-back.loss_gain.value)
    assert forth.most_different == back.most_different


def test_divergence_is_that_of_the_definition(lm: Any, lm_of: Callable[[str], Any]) -> None:
    other = lm_of("llama")
    text = "Once upon a time"
    found = agreement(lm, other, Perplexity(), rows({"text": text}), Settings())
    ids = torch.tensor([[lm.tokenizer.bos_token_id, *lm.tokenizer.encode(text)]])
    with torch.inference_mode():
        p, q = (
            torch.log_softmax(one.model(ids).logits[0, :-1].double(), dim=-1) for one in (lm, other)
        )
    expected = float((p.exp() * (p - q)).sum(dim=-1).mean())
    assert found is not None
    assert found.divergence.value == pytest.approx(expected, rel=1e-4)
    assert found.tokens == ids.shape[1] - 1
