"""Damaged data files: whatever is in them, they are read or explained, and quickly.

Whole files of every format are cut, doubled, overwritten and filled with values of wrong types.
What comes out is data with something to learn, or an `HfgenError` whose message names the file.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hfgen.errors import HfgenError
from hfgen.training.data.dataset import Prepared, prepare
from hfgen.training.data.encode import ExampleEncoder
from hfgen.training.data.long_rows import Fitter
from hfgen.training.reading.files import read_rows
from hfgen.training.reading.rows import BadRows, OnBadRow

ROWS: list[dict[str, Any]] = [
    {"text": "Once upon a time"},
    {"prompt": "Two and two:", "completion": " four"},
    {"instruction": "Greet", "input": "a king", "output": "Hail"},
    {"question": "Who?", "answer": "The fox."},
    {"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Ho"}]},
    {"conversations": [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Ho"}]},
]
STRANGE: list[Any] = [
    None, True, 0, -1.5, 10**400, "", " ", "\x00", "\ud800", "<|endoftext|>", "é́🏴‍☠️", "a" * 5000,
    [], [None], [[]], [{"role": "user"}], [{"from": 3, "value": None}], {}, {"text": {"text": 1}},
    [{"role": "assistant", "content": "first"}], [{"role": "robot", "content": "x"}],
]  # fmt: skip


def as_jsonl(rows: list[dict[str, Any]]) -> bytes:
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


def as_json(rows: list[dict[str, Any]]) -> bytes:
    return json.dumps(rows, indent=1).encode()


def as_csv(rows: list[dict[str, Any]]) -> bytes:
    stream = io.StringIO()
    writer = csv.DictWriter(stream, list(rows[0]), extrasaction="ignore")
    writer.writeheader()
    writer.writerows(rows)
    return stream.getvalue().encode("utf-8", "backslashreplace")


def as_text(rows: list[dict[str, Any]]) -> bytes:
    return "\n\n".join(str(row) for row in rows).encode("utf-8", "backslashreplace")


WRITERS: dict[str, Callable[[list[dict[str, Any]]], bytes]] = {
    ".jsonl": as_jsonl, ".json": as_json, ".csv": as_csv, ".txt": as_text, "": as_jsonl,
}  # fmt: skip


def damaged(data: bytes, rng: random.Random) -> bytes:
    """The bytes with one to four accidents."""
    for _ in range(rng.randint(0, 4)):
        place, end = sorted(rng.randrange(len(data) + 1) for _ in range(2))
        kind = rng.randrange(6)
        if kind == 0:
            data = data[:place]
        elif kind == 1:
            data = data[:place] + rng.randbytes(rng.randint(1, 8)) + data[place:]
        elif kind == 2:
            data = data[:place] + data[end:]
        elif kind == 3:
            data = data[:end] + data[place:end] + data[end:]
        elif kind == 4:
            data = data[:place] + bytes([rng.choice(b'"{}[],:\\\n\r\t\0;')]) + data[place + 1 :]
        else:
            data = rng.choice([b"\xef\xbb\xbf", b"\xff\xfe", b"PAR1", b"\x1f\x8b", b"["]) + data
    return data


def make(rng: random.Random) -> tuple[str, bytes]:
    """A file's ending and its bytes."""
    row = rng.choice(ROWS)
    rows = [dict(row) for _ in range(rng.randint(1, 6))]
    for changed in rows:
        if rng.random() < 0.3:
            changed[rng.choice([*changed, "extra"])] = rng.choice(STRANGE)
        if rng.random() < 0.1:
            changed.pop(next(iter(changed)))
    ending = rng.choice([*WRITERS])
    if not rows[0]:
        ending = ".jsonl"
    data = damaged(WRITERS[ending](rows), rng)
    if rng.random() < 0.15:
        return ending + ".gz", damaged(gzip.compress(data), rng)
    return ending, data


def read(file: Path, encoder: ExampleEncoder, policy: OnBadRow) -> Prepared:
    bad = BadRows(policy)
    return prepare(read_rows([file], bad=bad), encoder, Fitter(64), bad=bad)


def run(count: int, seed: int, folder: Path, tokenizer: Any) -> tuple[int, int]:
    """How many files could be read, and how many were explained."""
    encoder = ExampleEncoder(tokenizer)
    fine = explained = 0
    for number in range(count):
        rng = random.Random(f"{seed}-{number}")
        ending, data = make(rng)
        file = folder / f"data{ending}"
        file.write_bytes(data)
        policy: OnBadRow = rng.choice(["error", "skip"])
        try:
            prepared = read(file, encoder, policy)
        except HfgenError as error:
            assert error.message and "\n" not in error.message, (seed, number)
            explained += 1
        except Exception as error:
            raise AssertionError(f"file {seed}-{number}, {policy}: {data[:300]!r}") from error
        else:
            assert any(any(part.is_learned) for part in prepared.examples), (seed, number)
            assert all(1 < len(part.ids) <= 64 for part in prepared.examples), (seed, number)
            fine += 1
        file.unlink()
    return fine, explained


def test_damaged_files(tmp_path: Path, tokenizer: Any) -> None:
    fine, explained = run(400, 1, tmp_path, tokenizer)
    assert fine > 50 and explained > 50


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("seed", [2, 3, 4, 5])
def test_many_damaged_files(seed: int, tmp_path: Path, tokenizer: Any) -> None:
    run(5000, seed, tmp_path, tokenizer)


def test_damaged_parquet(tmp_path: Path, tokenizer: Any) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    whole = tmp_path / "whole.parquet"
    parquet.write_table(pyarrow.table({"prompt": ["a"] * 9, "completion": ["b"] * 9}), whole)
    data = whole.read_bytes()
    encoder = ExampleEncoder(tokenizer)
    assert len(read(whole, encoder, "error").rows) == 9
    for number in range(60):
        file = tmp_path / "data.parquet"
        file.write_bytes(damaged(data, random.Random(number)))
        try:
            read(file, encoder, "skip")
        except HfgenError as error:
            assert "data.parquet" in error.message
