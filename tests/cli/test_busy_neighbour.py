"""Decoding on all cores while another program uses one of them: slower, but no collapse.

Threads that wait for each other by spinning lose twentyfold there; the program has them sleep.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

PROMPT = ["generate", "Once upon a time", "-m", "storyteller", "-q", "--seed", "1", "--ignore-eos"]


@pytest.mark.slow
@pytest.mark.skipif((os.cpu_count() or 1) < 2, reason="needs two cores")
def test_a_busy_neighbour_does_not_stop_decoding() -> None:
    quiet = min(decoding_s() for _ in range(2))
    with neighbour():
        busy = min(decoding_s() for _ in range(2))
    assert busy < 4 * quiet


def decoding_s() -> float:
    """Seconds that 300 tokens take, the start of the program not counted."""
    return max(0.01, run_s("-n", "301") - run_s("-n", "1"))


def run_s(*arguments: str) -> float:
    environment = {k: v for k, v in os.environ.items() if k != "OMP_NUM_THREADS"}
    began = time.perf_counter()
    subprocess.run(
        [sys.executable, "-m", "hfgen", *PROMPT, *arguments, "--threads", str(os.cpu_count())],
        env=environment, check=True, stdout=subprocess.DEVNULL,
    )  # fmt: skip
    return time.perf_counter() - began


@contextmanager
def neighbour() -> Iterator[None]:
    """A program that never rests."""
    process = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        yield
    finally:
        process.kill()
        process.wait()
