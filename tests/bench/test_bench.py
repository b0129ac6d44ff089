"""The benchmark counts right, refuses what is wrong, and compares."""

from __future__ import annotations

import copy
import itertools
import json
from types import SimpleNamespace

import pytest

from hfgen.bench.comparison import compare, differences, read_result
from hfgen.bench.limits import measure_limits
from hfgen.bench.measurement import measure, weights_of
from hfgen.bench.options import BenchOptions, parse_batch_sizes, parse_quantize
from hfgen.bench.random_model import write_random_model
from hfgen.bench.runs import Run, random_prompts, run_engine
from hfgen.bench.summary import Limits, Weights, summarize
from hfgen.cli.io.bench_tables import as_text
from hfgen.errors import ContextOverflow, DataError, InvalidOption, OutOfMemory


@pytest.fixture(autouse=True)
def _small_limits(monkeypatch):
    monkeypatch.setattr("hfgen.bench.limits._BYTES", 2**20)
    monkeypatch.setattr("hfgen.bench.limits._WIDTH", 64)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A GPT-2 of the smallest size on disk."""
    made = tmp_path_factory.mktemp("model")
    write_random_model("1m", made)
    return str(made)


@pytest.fixture(scope="module")
def loading(folder):
    """What `measure` loads with."""
    from hfgen.loading import load

    return lambda _, quantize: load(folder, quantize=quantize, stock=False)


@pytest.fixture(scope="module")
def result(loading):
    """A whole result, with both precisions."""
    options = BenchOptions((1, 3), 4, 5, 2, quantize=(None, "int8"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("hfgen.bench.limits._BYTES", 2**20)
        patch.setattr("hfgen.bench.limits._WIDTH", 64)
        found = measure(options, loading)
    return json.loads(json.dumps(found))


def ticking():
    """A clock that goes on by one second each time it is read."""
    return itertools.count().__next__


def test_prefill_and_decode_are_told_apart(lm_of):
    lm = lm_of("gpt2")
    run = run_engine(lm, random_prompts(lm.model, 3, 5), 7, ticking())
    assert (run.prefill_s, run.decode_s) == (1, 6)
    assert [len(row) for row in run.tokens] == [7, 7, 7]


def generated(plain, prompts, new_tokens):
    """What `model.generate` makes of each prompt, as a plain script calls it."""
    import torch

    plain.generation_config.eos_token_id = None
    ids = torch.tensor(prompts)
    found = plain.generate(
        input_ids=ids, attention_mask=torch.ones_like(ids), do_sample=False,
        max_new_tokens=new_tokens, pad_token_id=0,
    )  # fmt: skip
    return tuple(map(tuple, found[:, ids.shape[1] :].tolist()))


@pytest.fixture(scope="module")
def plain(folder):
    """The same model as a plain script loads it."""
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(folder).eval()


def test_greedy_tokens_are_those_of_generate(loading, plain):
    """With packed weights here and stock ones there."""
    lm = loading(None, None)
    prompts = random_prompts(lm.model, 2, 5)
    assert run_engine(lm, prompts, 6).tokens == generated(plain, prompts, 6)
    assert len(set(prompts)) == 2


def test_an_end_of_text_ends_nothing(loading, plain):
    lm = loading(None, None)
    eos = lm.tokenizer.eos_token_id
    prompts = [(7, 8, eos)]
    # The tied head of this model repeats what it read last: the end of text, each time.
    tokens = run_engine(lm, prompts, 4).tokens
    assert tokens == generated(plain, prompts, 4)
    assert eos in tokens[0][:-1]


def test_rates_and_shares():
    options = BenchOptions(batch_sizes=(2,), prompt_tokens=10, new_tokens=5)
    runs = [Run(1.0, 4.0, ()), Run(2.0, 2.0, ()), Run(1.0, 2.0, ())]
    found = summarize(options, 2, runs, Weights(100, 400), Limits(8000.0, 4000.0))
    assert found["prefill_tokens_per_s"] == {"median": 20, "min": 10, "max": 20}
    assert found["decode_tokens_per_s"] == {"median": 4, "min": 2, "max": 4}
    assert found["bandwidth_share"] == pytest.approx(0.1)  # 2 steps a second, 400 bytes each
    assert found["compute_share"] == pytest.approx(0.2)
    assert found["prefill_compute_share"] == pytest.approx(1.0)


def test_weights_are_those_that_a_step_multiplies_by(loading, plain):
    read = sum(p.numel() for name, p in plain.named_parameters() if "wpe" not in name)
    for quantize, size in ((None, 4), ("int8", 1)):
        found = weights_of(loading(None, quantize).model, quantize)
        assert (found.count, found.size_bytes) == (read, size * read)


def test_limits():
    import torch

    found = measure_limits(torch.device("cpu"), torch.float32)
    assert found["bytes_per_s"] > 0 and found["flops_per_s"] > 0
    assert found["int8_operations_per_s"] is None
    found = measure_limits(torch.device("cpu"), torch.float32, (None, "int8"))
    assert found["int8_operations_per_s"] > 0


@pytest.mark.parametrize(
    "wrong",
    [{"repetitions": 0}, {"new_tokens": 1}, {"batch_sizes": (0,)}, {"batch_sizes": (1, 1)},
     {"shape": "125m"},
     {"quantize": ("int4",)}, {"quantize": (None, None)}, {"quantize": ()}],
)  # fmt: skip
def test_wrong_options_are_refused(wrong):
    with pytest.raises(InvalidOption):
        BenchOptions(**wrong)


def test_batch_sizes():
    assert parse_batch_sizes("1,16") == (1, 16)
    with pytest.raises(InvalidOption):
        parse_batch_sizes("1,,2")
    assert parse_quantize("int8,none") == ("int8", None)


def test_a_whole_result(result):
    found = result["results"]
    keys = [(one["batch_size"], one["quantize"]) for one in found]
    assert keys == [(1, None), (1, "int8"), (3, None), (3, "int8")]
    assert set(result["load_s"]) == {"none", "int8"}
    assert {"cpu", "cores", "threads", "memory_bytes", "torch"} <= result["machine"].keys()


def test_a_result_compares_with_itself(result, tmp_path):
    file = tmp_path / "old.json"
    file.write_text(json.dumps(result))
    rows = compare(read_result(str(file)), result)
    assert len(rows) == 12
    assert all(row["ratio"] == 1 and not row["is_beyond_spread"] for row in rows)
    assert differences(result, result) == []
    other = result | {"new_tokens": 9, "machine": None}
    assert differences(other, result)[0] == "new_tokens 9, now 5"


def test_the_text_fits_a_terminal(result):
    """The same cells in a pipe and on a terminal, where lines are drawn."""
    whole = result | {"comparison": compare(result, result)}
    piped, shown = as_text(whole), as_text(whole, width=80)
    assert not set(piped) & set("─━")
    assert "─" in shown or "━" in shown
    assert len(shown.splitlines()) <= len(piped.splitlines()) + 3  # a line below each head
    for text in (piped, shown):
        tables = text.split("\n\n", 1)[1]
        assert max(map(len, tables.splitlines())) <= 80
        # No cell is broken into two lines.
        assert [line.split()[:2] for line in tables.splitlines() if "%" in line] == [
            ["1", "float32"], ["1", "int8"], ["3", "float32"], ["3", "int8"]
        ]  # fmt: skip


def test_what_does_not_fit_is_refused(loading, monkeypatch):
    with pytest.raises(ContextOverflow):
        measure(BenchOptions((1,), 500, 100), loading)
    monkeypatch.setattr(
        "hfgen.bench.measurement.main_memory",
        lambda: SimpleNamespace(available_bytes=1000, total_bytes=1000),
    )
    with pytest.raises(OutOfMemory, match="1 more take"):
        measure(BenchOptions((1,), 4, 4, quantize=(None, "int8")), loading)


def result_of(low, high):
    value = {"median": (low + high) / 2, "min": low, "max": high}
    names = ("prefill_tokens_per_s", "decode_tokens_per_s", "first_token_s")
    return {"results": [{"batch_size": 1, "quantize": None} | dict.fromkeys(names, value)]}


def test_changes_beyond_the_spread_are_flagged():
    rows = compare(result_of(1, 3), result_of(4, 6))
    assert [row["ratio"] for row in rows] == [2.5] * 3
    assert all(row["is_beyond_spread"] for row in rows)
    assert not any(row["is_beyond_spread"] for row in compare(result_of(1, 3), result_of(2, 6)))


def broken(name, key, value):
    found = copy.deepcopy(result_of(1, 3))
    found["results"][0][name][key] = value
    return json.dumps(found)


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{}", "3", '{"results": [{}]}', '{"results": 1}', '{"results": [3]}', "\udc80",
     broken("decode_tokens_per_s", "median", 0), broken("first_token_s", "median", float("nan")),
     broken("first_token_s", "max", "3"), broken("prefill_tokens_per_s", "min", -1)],
)  # fmt: skip
def test_a_broken_file_is_refused(tmp_path, text):
    file = tmp_path / "old.json"
    file.write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(DataError, match="no result of hfgen bench"):
        read_result(str(file))


def test_a_file_that_cannot_be_read_is_refused(tmp_path):
    with pytest.raises(DataError, match="No such file"):
        read_result(str(tmp_path / "none.json"))
    with pytest.raises(DataError, match="directory"):
        read_result(str(tmp_path))
