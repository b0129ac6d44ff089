"""Trainings of the installed program that are interrupted, terminated and killed at any moment.

Dropout is on, steps accumulate four batches, epochs end within the run, and a checkpoint is
written every third step, so that many a blow falls into a save. In the end the weights are those
of a run that nobody disturbed, bit for bit.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tests.training.conftest import pairs_file, tiny_folder  # noqa: F401

STEPS = 1200
BLOWS = 30


def command(data: Path, model: Path, out: Path) -> list[str]:
    return [
        sys.executable, "-m", "hfgen", "finetune", str(data), "-m", str(model), "-o", str(out),
        "--max-steps", str(STEPS), "--batch-size", "2", "--gradient-accumulation-steps", "4",
        "--eval-steps", "100", "--save-steps", "3", "--precision", "fp32", "--dropout", "0.2",
    ]  # fmt: skip


def environment() -> dict[str, str]:
    return os.environ | {"OMP_NUM_THREADS": "1", "HFGEN_OFFLINE": "1"}


def has_checkpoint(out: Path) -> bool:
    return any((out / "checkpoints").glob("checkpoint-*"))


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_thirty_blows(tiny_folder: Path, pairs_file: Path, tmp_path: Path) -> None:  # noqa: F811
    whole, struck = tmp_path / "whole", tmp_path / "struck"
    subprocess.run(
        command(pairs_file, tiny_folder, whole), env=environment(), check=True, capture_output=True
    )
    rng = random.Random(7)
    counts = {signal.SIGINT: 0, signal.SIGTERM: 0, signal.SIGKILL: 0}
    while True:
        resume = ["--resume"] if has_checkpoint(struck) else []
        process = subprocess.Popen(
            [*command(pairs_file, tiny_folder, struck), *resume],
            env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        if sum(counts.values()) < BLOWS:
            blow = rng.choice(list(counts))
            wait_for_steps(process, struck, rng.uniform(0, 0.8))
            process.send_signal(blow)
            counts[blow] += 1
        _, err = process.communicate(timeout=300)
        if process.returncode == 0:
            break
        expected = {130: signal.SIGINT, 143: signal.SIGTERM, -9: signal.SIGKILL}
        assert process.returncode in expected, err
        if process.returncode != -9:
            assert "--resume" in err or "nothing was written" in err, err
    assert sum(counts.values()) == BLOWS and min(counts.values()) > 0
    written, undisturbed = (load_file(p / "model.safetensors") for p in (struck, whole))
    assert written.keys() == undisturbed.keys()
    assert all(torch.equal(written[name], undisturbed[name]) for name in written)


def wait_for_steps(process: subprocess.Popen[str], out: Path, seconds: float) -> None:
    """Wait until the process trains, seen by a new checkpoint, and some time more."""
    before = {path.name for path in (out / "checkpoints").glob("checkpoint-*")}
    deadline = time.monotonic() + 120
    while process.poll() is None and time.monotonic() < deadline:
        if {path.name for path in (out / "checkpoints").glob("checkpoint-*")} - before:
            break
        time.sleep(0.01)
    time.sleep(seconds)
