"""Memory does not grow with the number of rows."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.parametrize("rows", [15_000, pytest.param(1_000_000, marks=pytest.mark.slow)])
def test_memory_stays_flat(tmp_path, rows) -> None:
    source, out = tmp_path / "in.txt", tmp_path / "out.jsonl"
    with source.open("w") as stream:
        stream.writelines(f"prompt {number} " + "x" * 200 + "\n" for number in range(rows))
    program = Path(__file__).with_name("flat_memory.py")
    done = subprocess.run(
        [sys.executable, program, source, out], capture_output=True, text=True, check=True
    )
    early, late, resumed = map(int, done.stdout.split())
    print(f"{rows:,} rows: {early}, {late}, {resumed} KiB")
    assert late - early < 3000
    # A resume notes what is done: five bytes a row, and room to grow.
    assert resumed - late < 3000 + 12 * rows / 1024
    with out.open() as stream:
        assert sum(1 for _ in stream) == rows
