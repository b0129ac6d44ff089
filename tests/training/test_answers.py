"""Short answers: which data has them, and how many are right."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from samples import read_report

from hfgen.models.naming.resolve import resolve
from hfgen.training.answers import are_short, right_answers
from hfgen.training.data.collators import Dense, Padded
from hfgen.training.data.encode import EncodedExample
from hfgen.training.loop.loss import ScoredModel
from hfgen.training.model.load import load_base
from hfgen.training.options.finetune import TrainingOptions
from hfgen.training.runs.finetuning import finetune


def example(prompt: list[int], answer: list[int]) -> EncodedExample:
    return EncodedExample(
        [*prompt, *answer], [False] * len(prompt) + [True] * len(answer), is_text=False
    )


def test_labels_are_short_and_stories_are_not() -> None:
    label, story = example([1, 2], [3, 4]), example([1], list(range(40)))
    text = EncodedExample([1, 2, 3], [True] * 3, is_text=True)
    assert are_short([label] * 20) and are_short([label] * 20 + [story])
    assert not are_short([label, story]) and not are_short([text] * 20) and not are_short([])


def test_an_answer_is_right_where_all_its_tokens_are() -> None:
    places = torch.tensor([[0, 1, 1, 0, 1, 1], [0, 0, 1, 1, 1, 0]], dtype=torch.bool)
    hits = torch.tensor([1, 1, 1, 0, 1, 1, 1], dtype=torch.bool)
    positions = torch.tensor([[0, 1, 2, 0, 1, 2], [0, 1, 2, 3, 4, 5]])
    assert right_answers(hits, places, positions) == (2, 3)
    assert right_answers(hits, places, None) == (1, 2)


@pytest.mark.parametrize("kind", [Dense, Padded])
def test_right_are_those_that_greedy_decoding_gives(kind: Any, tiny_folder: Path) -> None:
    """Some answers are the model's own, the others are changed in one place."""
    base = load_base(resolve(str(tiny_folder)), TrainingOptions(), device="cpu")
    model = base.model.eval()
    rows = []
    for number in range(12):
        prompt = torch.tensor([[5 + number, 40, 80 + 7 * number]])
        with torch.no_grad():
            whole = model.generate(
                prompt, attention_mask=torch.ones_like(prompt), max_new_tokens=4,
                do_sample=False, eos_token_id=None, pad_token_id=0,
            )[0].tolist()  # fmt: skip
        answer = whole[3:]
        if number % 3 == 0:
            answer[number % 4] = (answer[number % 4] + 1) % 100
        rows.append(example(whole[:3], answer))
    scored = ScoredModel(model)
    total, tokens, right, answers = scored.judge(model, kind(0)(rows))
    assert (tokens, right, answers) == (48, 8, 12)
    assert total == pytest.approx(float(scored.loss(model, kind(0)(rows))[0].detach()), rel=1e-6)


def test_a_run_counts_them(tiny_folder: Path, pairs_file: Path, tmp_path: Path) -> None:
    done = finetune(
        pairs_file, model=str(tiny_folder), output=tmp_path / "out", max_steps=4, eval_steps=2,
        batch_size=4, learning_rate=3e-3, precision="fp32",
    )  # fmt: skip
    assert done.asking.is_label and done.before.accuracy == 0.0
    report = read_report(done.folder)
    assert [event.accuracy for event in report.evaluations] != [None, None]
    assert report.after.accuracy == done.after.accuracy is not None
    assert "whole answers right" in (done.folder / "README.md").read_text()


def test_texts_have_none(tiny_folder: Path, tmp_path: Path) -> None:
    data = tmp_path / "texts.jsonl"
    data.write_text("".join(f'{{"text": "the {n} went home"}}\n' for n in range(60)))
    done = finetune(
        data, model=str(tiny_folder), output=tmp_path / "out", max_steps=2, precision="fp32"
    )
    assert not done.asking.is_label and done.after.accuracy is None
