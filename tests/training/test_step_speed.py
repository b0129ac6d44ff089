"""A training step against a plain Trainer script: no slower, and no more memory."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = Path(__file__).parents[2] / "benchmarks" / "finetune_speed.py"


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_steps_take_less_time_and_memory_than_those_of_a_plain_script() -> None:
    """By processor time, float32 on both sides: the measured figure is 1.9 times, memory 0.6."""
    done = subprocess.run(
        [sys.executable, str(PROGRAM), "--shape", "3.5M", "--pairs", "2", "--precision", "fp32"],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    found = dict(re.findall(r"^([a-z/-]+): ([0-9.]+) times", done.stdout, re.MULTILINE))
    assert float(found["tokens/processor-s"]) > 1.4
    assert float(found["memory"]) < 0.9
