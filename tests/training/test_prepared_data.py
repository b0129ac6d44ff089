"""Files to rows that a model is trained on, whole; the figures of a dry run."""

from __future__ import annotations

import json
import os
import random
from pathlib import Path
from typing import Any

import pytest
from samples import FILES, ROWS, jsonl

from hfgen.errors import DataError
from hfgen.generation.prompts.encode import PromptEncoder
from hfgen.training.data.dataset import Prepared, prepare
from hfgen.training.data.encode import ExampleEncoder
from hfgen.training.data.long_rows import Fitter
from hfgen.training.data.split import split
from hfgen.training.data.summary import decoded_examples, percentile, summarise
from hfgen.training.reading.files import read_rows
from hfgen.training.reading.rows import BadRows

# A folder of public data sets, for `pytest -m slow`.
PUBLIC_DATA = os.environ.get("HFGEN_TEST_FINETUNE_DATA", "")


def prepared(
    tokenizer: Any, path: Path, *, window: int = 64, policy: Any = "error", **arguments: Any
) -> Prepared:
    bad = BadRows(policy)
    rows = read_rows([path], bad=bad)
    return prepare(rows, ExampleEncoder(tokenizer), Fitter(window), bad=bad, **arguments)


@pytest.mark.parametrize("name", sorted(FILES))
def test_every_format_is_ready_for_training(tokenizer: Any, tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(FILES[name])
    got = prepared(tokenizer, path, window=512)
    assert len(got.rows) in (1, 2, 4)
    for example in got.examples:
        assert len(example.ids) == len(example.is_learned)
        assert example.ids[-1] == tokenizer.eos_token_id
        assert example.is_learned[-1]
    shown = decoded_examples(got, tokenizer)
    whole = ["".join(text for text, _ in example) for example in shown]
    assert whole[0].endswith("<|endoftext|>")
    assert {is_learned for _, is_learned in shown[0]} == {False, True}


def test_text_survives_files_and_tokens(tokenizer: Any, tmp_path: Path) -> None:
    path = tmp_path / "play.txt"
    path.write_bytes(FILES["play.txt"])
    [example] = prepared(tokenizer, path).examples
    assert tokenizer.decode(example.ids[:-1]) == FILES["play.txt"].decode()


def test_summary_counts_what_there_is(tokenizer: Any, tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    texts = ["One fox. " * n for n in (1, 2, 3, 40)]
    path.write_bytes(jsonl(*({"text": text} for text in texts)) + b"broken\n" + jsonl({"a": 1}))
    counted: list[int] = []
    got = prepared(tokenizer, path, window=16, policy="skip", progress=counted.append)
    lengths = [len(PromptEncoder(tokenizer).encode_text(text)) + 1 for text in texts]
    summary = summarise(got)
    windows = -(-(lengths[3] - 1) // 15)
    assert summary.to_dict() == {
        "description": "texts in `text`, learned whole, as they are; not used: `a`",
        "rows": 4,
        "examples": 3 + windows,
        "tokens": sum(lengths) + windows - 1,
        "learned_tokens": sum(lengths) - 4,
        "shortest": min(lengths),
        "longest": max(lengths),
        "percentiles": {50: lengths[1], 90: lengths[3], 99: lengths[3]},
        "skipped": 2,
        "split": 1,
        "windows": windows,
        "truncated": 0,
        "dropped": 0,
    }
    assert got.reasons[1] == f"{path}:6: no `text`; this row has `a`"
    assert counted == [1, 2, 3, 4, 5]
    json.dumps(summary.to_dict())


def test_percentiles() -> None:
    assert [percentile(range(1, 101), p) for p in (0, 1, 50, 99, 100)] == [1, 1, 50, 99, 100]
    assert percentile([7], 50) == 7


def test_rows_of_which_nothing_is_left(tokenizer: Any, tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(b"broken\n" * 3)
    with pytest.raises(DataError, match=r"3 were skipped, the first: .*a\.jsonl:1: not valid JSON"):
        prepared(tokenizer, path, policy="skip")
    path.write_bytes(jsonl({"prompt": "a", "completion": "b" * 400}))
    with pytest.raises(DataError, match="all are longer than 8 tokens"):
        prepared(tokenizer, path, window=8)
    path.write_bytes(jsonl({"text": "a"}, {"text": None}))
    with pytest.raises(DataError, match=r"a\.jsonl:2: `text` is null"):
        prepared(tokenizer, path)


@pytest.mark.parametrize("name", sorted(ROWS))
def test_damaged_rows_give_examples_or_a_data_error(
    tokenizer: Any, tmp_path: Path, name: str
) -> None:
    path = tmp_path / "a.jsonl"
    whole = jsonl(*[ROWS[name]] * 3)
    seen = set()
    for seed in range(40):
        rng = random.Random(seed)
        data = bytearray(whole)
        for _ in range(rng.randrange(1, 4)):
            data[rng.randrange(len(data))] = rng.choice(b'"{}[],:\\ \nan1\xff')
        path.write_bytes(data)
        for policy in ("error", "skip"):
            try:
                got = prepared(tokenizer, path, policy=policy)
            except DataError:
                seen.add("refused")
            else:
                seen.add("read")
                assert all(any(example.is_learned) for example in got.examples)
    assert seen == {"refused", "read"}


@pytest.mark.slow
@pytest.mark.skipif(not PUBLIC_DATA, reason="HFGEN_TEST_FINETUNE_DATA names no folder")
def test_public_data_sets(tokenizer: Any) -> None:
    paths = sorted(Path(PUBLIC_DATA).iterdir())
    assert paths
    for path in paths:
        got = prepared(tokenizer, path, window=512)
        summary = summarise(got)
        assert summary.skipped == summary.truncated == 0
        assert summary.rows + summary.dropped >= 1
        assert all(2 <= len(example.ids) <= 512 for example in got.examples)
        if summary.rows > 1:
            assert all(row[-1].ids[-1] == tokenizer.eos_token_id for row in got.rows)
        held = split(got.rows, 0.1, seed=0)
        share = len(held.validation) / summary.examples
        assert 0.03 < share < 0.2, (path, share)
