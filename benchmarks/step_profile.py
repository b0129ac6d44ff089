"""Where a decoding step's time goes: matrices, attention, choosing, the rest, Python.

    python benchmarks/step_profile.py [--quantize int8] [--batch-sizes 1,16,64] [--shape 124m]
    python benchmarks/step_profile.py --model storyteller --sampled

Runs a GPT-2 of random weights, or a model, and prints milliseconds a step, greedy unless sampled
(the likelihoods of random weights are flat, which makes sampling slow as no model does). Times of
operations come from torch's profiler, which slows a step by its own work; their shares are applied
to the time of a step without it. Python is what passes outside of all operations.
"""
# ruff: noqa: T201  (a program that prints)

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

from torch.profiler import ProfilerActivity, profile, record_function

from hfgen.bench.random_model import write_random_model
from hfgen.generation import engine
from hfgen.generation.options.options import GenerationOptions
from hfgen.generation.prompts.encode import Reading
from hfgen.generation.sampling import choose, draw
from hfgen.loading import load

STEPS = 40
PARTS = {
    "matrices": ("_linear_pointwise", "_int_mm", "addmm", "aten::mm"),
    "attention": ("scaled_dot_product", "_flash_attention"),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shape", default="124m")
    parser.add_argument("--model")
    parser.add_argument("--sampled", action="store_true")
    parser.add_argument("--quantize")
    parser.add_argument("--batch-sizes", default="1,16,64")
    given = parser.parse_args()
    if given.model is not None:
        lm = load(given.model, quantize=given.quantize, stock=False)
    else:
        with tempfile.TemporaryDirectory() as folder:
            write_random_model(given.shape, Path(folder))
            lm = load(folder, quantize=given.quantize, stock=False)
    names = [*PARTS, "choosing", "other operations", "Python"]
    print("rows  ms/step  " + "  ".join(names))
    for rows in map(int, given.batch_sizes.split(",")):
        step_ms, shares = measured(lm, rows, given.sampled)
        parts = "  ".join(f"{step_ms * shares[name]:{len(name)}.1f}" for name in names)
        print(f"{rows:4}  {step_ms:7.1f}  {parts}")


def measured(lm: Any, rows: int, is_sampled: bool) -> tuple[float, dict[str, float]]:
    """Milliseconds of a step (the median), and the share of each part in it."""
    clean = statistics.median(steps(running(lm, rows, is_sampled), STEPS))
    decoding = running(lm, rows, is_sampled)
    with profile(activities=[ProfilerActivity.CPU]) as profiler, ChoosingMarked():
        total = sum(steps(decoding, STEPS))
    spent = {
        event.key: (event.self_cpu_time_total, event.cpu_time_total)
        for event in profiler.key_averages()
    }
    parts = {
        name: sum(own for key, (own, _) in spent.items() if any(word in key for word in words))
        for name, words in PARTS.items()
    }
    parts["choosing"] = spent["choosing"][1]
    operations = sum(own for key, (own, _) in spent.items() if key != "choosing")
    inside = spent["choosing"][1] - spent["choosing"][0]
    parts["other operations"] = operations - parts["matrices"] - parts["attention"] - inside
    parts["Python"] = total * 1e6 - operations - spent["choosing"][0]
    return clean * 1e3, {name: part / (total * 1e6) for name, part in parts.items()}


def running(lm: Any, rows: int, is_sampled: bool) -> Any:
    """An engine with so many rows in the middle of their texts."""
    options = GenerationOptions(
        max_new_tokens=4 * STEPS, ignore_eos=True, seed=1, temperature=None if is_sampled else 0.0
    )
    decoding = lm.engine(rows)
    for index in range(rows):
        for text in lm.prepare(f"{index:04} once upon a time", index, options, Reading()):
            decoding.submit(text.request)
    steps(decoding, 5)
    return decoding


def steps(decoding: Any, count: int) -> list[float]:
    """Seconds of each of the next steps."""
    times = []
    for _ in range(count):
        began = time.perf_counter()
        decoding.step()
        times.append(time.perf_counter() - began)
    return times


class ChoosingMarked:
    """While it is open, the profiler sees processors and draws under the name "choosing"."""

    def __enter__(self) -> None:
        engine.processed = marked(choose.processed)
        engine.draw = marked(draw.draw)

    def __exit__(self, *_: object) -> None:
        engine.processed = choose.processed
        engine.draw = draw.draw


def marked(function: Any) -> Any:
    def call(*arguments: Any) -> Any:
        with record_function("choosing"):
            return function(*arguments)

    return call


if __name__ == "__main__":
    main()
