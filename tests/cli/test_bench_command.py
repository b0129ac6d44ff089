"""`hfgen bench` as a program: what it refuses at once, and a whole run."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--quantize", "none,int4"], "--quantize none,int4: must be none, int8 or none,int8"),
        (["--batch-size", "1,,2"], "--batch-size 1,,2: must be numbers from 1 to 1024, as in"),
        (["--shape", "9z"], "--shape 9z: must be 1m, 3m"),
        (["--shape", "1m", "-m", "x"], "--shape takes the place of a model"),
    ],
)
def test_wrong_usage(installed, arguments, message):
    result = installed("bench", *arguments)
    assert (result.code, result.out) == (2, "")
    assert message in result.err
    assert result.err.count("\n") == 2


def test_a_file_to_compare_with_is_read_first(installed, tmp_path):
    file = tmp_path / "old.json"
    file.write_text("{}")
    result = installed("bench", "--compare", str(file))
    assert (result.code, result.out) == (1, "")
    assert result.err == (
        f"error: {file}: no result of hfgen bench\nhint: make one with: hfgen bench --json > FILE\n"
    )


@pytest.mark.slow
def test_a_run_and_its_comparison(installed, tmp_path):
    settings = ["--shape", "1m", "--batch-size", "2", "--new-tokens", "4", "--repetitions", "1"]
    both = ["--quantize", "none,int8", "--threads", "1"]
    result = installed("bench", *settings, *both, "--json")
    assert (result.code, result.err) == (0, "")
    found = json.loads(result.out)
    assert found["machine"]["threads"] == 1
    assert [one["quantize"] for one in found["results"]] == [None, "int8"]
    file = tmp_path / "old.json"
    file.write_text(result.out)
    result = installed("bench", *settings, "--threads", "1", "--compare", str(file))
    assert (result.code, result.err) == (0, "")
    assert "against the earlier result" in result.out


@pytest.mark.slow
def test_the_script_that_compares_with_transformers():
    program = Path(__file__).parents[2] / "benchmarks" / "against_transformers.py"
    settings = [
        "--shape",
        "1m",
        "--batch-size",
        "1",
        "2",
        "--new-tokens",
        "4",
        "--repetitions",
        "1",
    ]
    result = subprocess.run(
        [sys.executable, program, *settings], capture_output=True, text=True, timeout=120
    )
    assert result.returncode == 0, result.stderr
    (row,) = [line for line in result.stdout.splitlines() if line.startswith("| hfgen, float32")]
    assert row.count("100.0% equal") == 2
