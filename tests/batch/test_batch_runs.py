"""Batches in process, against `generate` run alone for each row."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest
import torch

from hfgen.batch.input.reading import Rows, find_sources
from hfgen.batch.output.output import FileOutput, StreamOutput
from hfgen.batch.run import Plan, run, seeded
from hfgen.errors import DataError, OptionConflict, OutputError, OutputExists
from hfgen.generation.options.options import GenerationOptions
from tests.conftest import build_model, wrap
from tests.generation.test_engine import FAILING, PROMPTS, SLIDING, fail_in

OPTIONS = GenerationOptions(max_new_tokens=6, seed=40)
ROWS: list[Any] = [
    {"id": i, "prompt": " ".join(["Once the fox"] * (1 + i % 5)), "max_new_tokens": 3 + i % 7}
    for i in range(23)
]
ROWS[4] = "only a text"
ROWS[6] = {"prompt": "two", "num_return_sequences": 3, "note": {"x": [1]}}
ROWS[9] = {"prompt": "own seed", "seed": 5}
ROWS[11] = {"prompt": "wrong", "top_p": 7}
ROWS[13] = {"prompt": "too long", "max_new_tokens": 5000}
ROWS[15] = {"prompt": "beams", "num_beams": 2}
FAILED = {11: "InvalidOption", 13: "ContextOverflow"}


@pytest.fixture(scope="module")
def lm(lm_of):
    return lm_of("gpt2")


@pytest.fixture
def source(tmp_path):
    path = tmp_path / "in.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    return path


def batch(lm, source, out, mode="new", slots=3, is_ordered=True, after=None, on_bad_row="error"):
    """Run; `after` so many rows ask for a stop."""
    plan = Plan(OPTIONS, is_ordered=is_ordered, slots=slots, is_retry=mode == "retry")
    target = (
        StreamOutput(out.append)
        if isinstance(out, list)
        else FileOutput(str(out), mode, is_ordered=is_ordered)
    )
    plan = seeded(plan, target)
    rows = Rows(find_sources([str(source)], has_text_lines=False), None, on_bad_row)
    count = 0

    def listen(progress):
        nonlocal count
        count = progress.rows

    stop = (lambda: False) if after is None else (lambda: count >= after)
    return run(lm, rows, target, plan, is_stopped=stop, listen=listen)


def records_of(out):
    lines = out if isinstance(out, list) else out.read_bytes().splitlines(keepends=True)
    return [json.loads(line) for line in b"".join(lines).splitlines()]


def texts_of(out):
    return {(r["index"], r.get("sample", 0)): r.get("text") for r in records_of(out)}


@pytest.fixture(scope="module")
def alone(lm):
    """Every row by itself, with the seed that its place gives it."""
    found = {}
    for index, row in enumerate(ROWS):
        row = {"prompt": row} if isinstance(row, str) else dict(row)
        options = {n: v for n, v in row.items() if n not in ("id", "prompt", "note")}
        if index in FAILED:
            found[index, 0] = None
            continue
        given = {"seed": 40 + index, "max_new_tokens": 6} | options
        for sample, record in enumerate(lm.generate([row["prompt"]], **given)):
            found[index, sample] = record.text
    return found


@pytest.mark.parametrize("slots", [1, 3, 16])
def test_texts_are_those_of_each_row_alone(lm, source, alone, slots) -> None:
    out: list[bytes] = []
    progress = batch(lm, source, out, slots=slots)
    assert texts_of(out) == alone
    assert [r["index"] for r in records_of(out)] == sorted(i for i, _ in alone)
    assert (progress.rows, progress.failed) == (23, 2)
    assert {r["index"]: r["error"]["type"] for r in records_of(out) if "error" in r} == FAILED
    assert records_of(out)[7]["samples"] == 3
    assert records_of(out)[7]["note"] == {"x": [1]}


def test_reversed_input_with_its_seeds_gives_the_same_texts(lm, tmp_path, alone) -> None:
    turned = tmp_path / "turned.jsonl"
    rows = [row if isinstance(row, dict) else {"prompt": row} for row in ROWS]
    with turned.open("w") as stream:
        for index in reversed(range(len(rows))):
            stream.write(json.dumps({"seed": 40 + index} | rows[index]) + "\n")
    out: list[bytes] = []
    batch(lm, turned, out, slots=4)
    found = {(len(ROWS) - 1 - i, sample): text for (i, sample), text in texts_of(out).items()}
    assert found == alone


def test_unordered_output_has_the_same_records(lm, source, alone) -> None:
    out: list[bytes] = []
    batch(lm, source, out, is_ordered=False, slots=4)
    assert texts_of(out) == alone
    assert len(records_of(out)) == len(alone)
    assert [r["index"] for r in records_of(out)] != sorted(r["index"] for r in records_of(out))


@pytest.mark.parametrize("is_ordered", [True, False])
def test_a_stopped_run_is_resumed_to_the_same_file(lm, source, tmp_path, is_ordered) -> None:
    whole, out = tmp_path / "whole.jsonl", tmp_path / "out.jsonl"
    batch(lm, source, whole, is_ordered=is_ordered)
    chance = random.Random(1)
    mode = "new"
    for _ in range(8):
        batch(lm, source, out, mode, is_ordered=is_ordered, slots=chance.choice([1, 2, 5]), after=2)
        mode = "resume"
        if chance.random() < 0.7 and out.exists():  # as a kill in the middle of a write
            with out.open("r+b") as stream:
                stream.truncate(max(0, out.stat().st_size - chance.randrange(1, 300)))
    done = batch(lm, source, out, "resume", is_ordered=is_ordered)
    assert 0 < done.skipped < 23
    if is_ordered:
        assert out.read_bytes() == whole.read_bytes()
    assert sorted(out.read_bytes().splitlines()) == sorted(whole.read_bytes().splitlines())
    assert batch(lm, source, out, "resume", is_ordered=is_ordered).rows == 0
    names = {"in.jsonl", "whole.jsonl", "out.jsonl"}
    found = {path.name for path in tmp_path.iterdir() if not path.name.endswith(".run.json")}
    assert found == names


def test_parts_of_killed_processes_are_picked_up(lm, source, tmp_path, alone) -> None:
    whole, out = tmp_path / "whole.jsonl", tmp_path / "out.jsonl"
    batch(lm, source, whole)
    lines = whole.read_bytes().splitlines(keepends=True)
    by_rank = [[x for x in lines if json.loads(x)["index"] % 2 == k] for k in (0, 1)]
    (tmp_path / "out.jsonl.rank-0").write_bytes(b"".join(by_rank[0]))
    (tmp_path / "out.jsonl.rank-1").write_bytes(b"".join(by_rank[1][:4])[:-9])
    (tmp_path / "out.jsonl.run.json").write_bytes((tmp_path / "whole.jsonl.run.json").read_bytes())
    with pytest.raises(OutputExists):
        batch(lm, source, out)
    assert batch(lm, source, out, "resume").rows == 8
    assert out.read_bytes() == whole.read_bytes()


def test_failed_rows_are_run_again_in_their_place(lm, source, tmp_path) -> None:
    out = tmp_path / "out.jsonl"
    batch(lm, source, out)
    before = out.read_bytes().splitlines()
    # As after a lack of memory that is over.
    spoilt = [
        json.dumps(
            {n: v for n, v in json.loads(line).items() if n not in ("text", "completion")}
            | {"error": {"type": "OutOfMemory", "message": "…"}}
        ).encode()
        if json.loads(line)["index"] in (3, 20)
        else line
        for line in before
    ]
    out.write_bytes(b"\n".join(spoilt) + b"\n")
    assert batch(lm, source, out, "resume").failed == 4
    progress = batch(lm, source, out, "retry")
    assert (progress.rows, progress.failed) == (4, 2)
    assert out.read_bytes().splitlines() == before


def test_another_input_or_other_settings_are_refused(lm, source, tmp_path) -> None:
    out = tmp_path / "out.jsonl"
    batch(lm, source, out)
    with pytest.raises(OutputExists):
        batch(lm, source, out)
    changed = [dict(row) if isinstance(row, dict) else row for row in ROWS]
    changed[2]["temperature"] = 0.5
    source.write_text("".join(json.dumps(row) + "\n" for row in changed))
    with pytest.raises(DataError, match=r"in.jsonl:3: the output has a record of another row 2"):
        batch(lm, source, out, "resume")
    source.write_text("".join(json.dumps(row) + "\n" for row in ROWS[:20]))
    with pytest.raises(DataError, match="3 records of rows that the input has not"):
        batch(lm, source, out, "resume")
    target = FileOutput(str(out), "resume", is_ordered=True)
    with target, pytest.raises(OptionConflict, match=r"seed \(40, now 41\)"):
        seeded(Plan(GenerationOptions(max_new_tokens=6, seed=41)), target)
    # The seed of before goes on where none is given.
    again = FileOutput(str(out), "resume", is_ordered=True)
    assert seeded(Plan(GenerationOptions(max_new_tokens=6)), again).options.seed == 40


def test_malformed_rows_name_their_line_and_keep_what_was_before(lm, tmp_path, alone) -> None:
    source, out = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    lines = [json.dumps(row) for row in ROWS[:3]]
    source.write_text("\n".join([lines[0], "", lines[1], '{"prompt": ', lines[2]]) + "\n")
    with pytest.raises(DataError, match=r"in.jsonl:4: not valid JSON"):
        batch(lm, source, out)
    assert [r["index"] for r in records_of(out)] == [0, 1]
    batch(lm, source, out, "resume", on_bad_row="skip")
    assert [r["index"] for r in records_of(out)] == [0, 1, 3]


def test_a_lack_of_memory_halves_the_slots_and_loses_nothing(
    lm, source, alone, monkeypatch
) -> None:
    from hfgen.generation.engine import Engine

    step, told = Engine.step, []

    def failing(self):
        if self.slots > 2:
            told.append(len(self._rows))
            if len(told) % 3 == 0:
                raise torch.OutOfMemoryError("CUDA out of memory")
        return step(self)

    monkeypatch.setattr(Engine, "step", failing)
    out: list[bytes] = []
    batch(lm, source, out, slots=16)
    assert texts_of(out) == alone
    assert len(told) == 9  # at 16, 8 and 4


@pytest.mark.parametrize("place", FAILING)
def test_each_row_is_written_once_wherever_memory_runs_out(
    place, tmp_path, tokenizer, monkeypatch
) -> None:
    lm = wrap(build_model("gpt2"), tokenizer)
    path = tmp_path / "a.jsonl"
    rows = [{"id": str(i), "prompt": text} | SLIDING for i, text in enumerate(PROMPTS)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    expected = lm.generate(PROMPTS, **SLIDING)
    fail_in(place, lm, monkeypatch)
    out: list[bytes] = []
    batch(lm, path, out, slots=3)
    found = records_of(out)
    assert [r["id"] for r in found] == [str(i) for i in range(len(PROMPTS))]
    assert [r["completion"] for r in found] == [r.completion for r in expected]


def test_a_text_that_alone_needs_too_much_fails_and_others_go_on(
    lm, source, alone, monkeypatch
) -> None:
    from hfgen.generation.engine import Engine

    prefill = Engine._prefill

    def failing(self, rows):
        if any(row.request.key[0] == 7 for row in rows):
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory")
        return prefill(self, rows)

    monkeypatch.setattr(Engine, "_prefill", failing)
    out: list[bytes] = []
    batch(lm, source, out, slots=4)
    assert texts_of(out) == alone | {(7, 0): None}
    assert records_of(out)[9]["error"]["type"] == "OutOfMemory"


def test_a_full_disk_names_resume(lm, source, tmp_path, monkeypatch) -> None:
    import errno
    import os

    out = tmp_path / "out.jsonl"
    real, written = os.write, []

    def write(fd, data):
        if bytes(data).startswith(b'{"index"'):
            written.append(1)
            if len(written) > 5:
                real(fd, bytes(data)[:10])
                raise OSError(errno.ENOSPC, "No space left on device")
        return real(fd, data)

    monkeypatch.setattr(os, "write", write)
    with pytest.raises(OutputError, match="No space left") as caught:
        batch(lm, source, out)
    assert "--resume" in str(caught.value.hint)
    monkeypatch.setattr(os, "write", real)
    assert [r["index"] for r in records_of(out)] == [0, 1, 2, 3, 4]
    batch(lm, source, out, "resume")
    assert [r["index"] for r in records_of(out)] == [0, 1, 2, 3, 4, 5, 6, 6, 6, *range(7, 23)]
