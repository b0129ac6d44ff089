"""The benchmark counts right, refuses what is wrong, and compares."""

from __future__ import annotations

import itertools
import json

import pytest

from hfgen.bench.comparison import compare, read_result
from hfgen.bench.measurement import (
    Run,
    equal_share,
    measure,
    random_prompts,
    run_engine,
    run_plain,
    summarize,
)  # fmt: skip
from hfgen.bench.options import BenchOptions, parse_batch_sizes
from hfgen.errors import ContextOverflow, DataError, InvalidOption


def ticking():
    """A clock that goes on by one second each time it is read."""
    return itertools.count().__next__


def test_prefill_and_decode_are_told_apart(lm_of):
    lm = lm_of("gpt2")
    run = run_engine(lm, random_prompts(lm.model, 3, 5), 7, ticking())
    assert (run.prefill_s, run.decode_s) == (1, 6)
    assert [len(row) for row in run.tokens] == [7, 7, 7]


def test_greedy_tokens_are_those_of_generate(lm_of):
    lm = lm_of("gpt2")
    prompts = random_prompts(lm.model, 2, 5)
    elapsed_s, tokens = run_plain(lm.model, prompts, 6, ticking())
    assert elapsed_s == 1
    assert tokens == run_engine(lm, prompts, 6).tokens
    assert len(set(prompts)) == 2


def test_rates_shares_and_ratios():
    options = BenchOptions(batch_sizes=(2,), prompt_tokens=10, new_tokens=5, against="transformers")
    rows = ((1, 2, 3, 4, 5), (1, 2, 3, 4, 5))
    runs = [Run(1.0, 4.0, rows), Run(2.0, 2.0, rows), Run(1.0, 2.0, rows)]
    others = [(10.0, rows), (8.0, rows), (9.0, ((1, 2, 3, 4, 6), rows[0]))]
    found = summarize(
        options, 2, runs, others, (100, 400), {"bytes_per_s": 8000.0, "flops_per_s": 4000.0}
    )
    assert found["prefill_tokens_per_s"] == {"median": 20, "min": 10, "max": 20}
    assert found["decode_tokens_per_s"] == {"median": 4, "min": 2, "max": 4}
    assert found["bandwidth_share"] == pytest.approx(0.1)  # 2 steps a second, 400 bytes each
    assert found["flops_share"] == pytest.approx(0.2)
    assert found["ratios"] == [2, 2, 3]
    assert found["equal_tokens"] == pytest.approx(29 / 30)
    assert equal_share([(((1, 2),), ((2, 2),))]) == 0.5


@pytest.mark.parametrize(
    "wrong",
    [{"repetitions": 0}, {"new_tokens": 1}, {"batch_sizes": (0,)}, {"batch_sizes": (1, 1)},
     {"shape": "125m"}, {"against": "magic"}],
)  # fmt: skip
def test_wrong_options_are_refused(wrong):
    with pytest.raises(InvalidOption):
        BenchOptions(**wrong)


def test_batch_sizes():
    assert parse_batch_sizes("1,16") == (1, 16)
    with pytest.raises(InvalidOption):
        parse_batch_sizes("1,,2")


def test_a_whole_result(lm_of, monkeypatch):
    monkeypatch.setattr("hfgen.bench.limits._BYTES", 2**20)
    monkeypatch.setattr("hfgen.bench.limits._WIDTH", 32)
    options = BenchOptions((1, 3), 4, 5, 2, against="transformers")
    found = json.loads(json.dumps(measure(options, lambda name: lm_of("gpt2"))))
    assert [result["batch_size"] for result in found["results"]] == [1, 3]
    assert all(result["equal_tokens"] == 1 for result in found["results"])
    assert all(len(result["ratios"]) == 2 for result in found["results"])
    assert {"cpu", "cores", "threads", "memory_bytes", "torch"} <= found["machine"].keys()
    with pytest.raises(ContextOverflow):
        measure(BenchOptions((1,), 100, 100), lambda name: lm_of("gpt2"))


def result_of(low, high):
    value = {"median": (low + high) / 2, "min": low, "max": high}
    names = ("prefill_tokens_per_s", "decode_tokens_per_s", "first_token_s")
    return {"results": [{"batch_size": 1} | dict.fromkeys(names, value)]}


def test_changes_beyond_the_spread_are_flagged():
    rows = compare(result_of(1, 3), result_of(4, 6))
    assert [row["ratio"] for row in rows] == [2.5] * 3
    assert all(row["is_beyond_spread"] for row in rows)
    assert not any(row["is_beyond_spread"] for row in compare(result_of(1, 3), result_of(2, 6)))


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"results": [{}]}', '{"results": 1}'])
def test_a_broken_file_is_refused(tmp_path, text):
    file = tmp_path / "old.json"
    file.write_text(text)
    with pytest.raises(DataError):
        read_result(str(file))
