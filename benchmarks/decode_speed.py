"""How fast hfgen decodes, against a plain script with Transformers, and CTranslate2 if it is there.

A GPT-2 of random weights gets prompts of random ids; every text is decoded greedily to its full
length. All contestants are loaded at once and take turns, so that a busy machine slows all.
Told are medians of tokens per second (prompt included in the time), their ranges, and the median
ratio to the plain script's run of the same turn.

    python benchmarks/decode_speed.py                     # the shape of GPT-2, 124M
    python benchmarks/decode_speed.py --tokenizer gpt2    # with a tokenizer from disk or the Hub
    python benchmarks/decode_speed.py --shape 1m --repetitions 2

CTranslate2 takes part where it can be imported (`pip install ctranslate2`).
"""

# ruff: noqa: T201  (a program that prints)
from __future__ import annotations

import argparse
import importlib.util
import multiprocessing
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from hfgen.bench.limits import describe_machine
from hfgen.bench.random_model import write_random_model
from hfgen.bench.runs import load_plain, random_prompts, run_engine, run_plain
from hfgen.language_model import load

Prompts = Sequence[tuple[int, ...]]
Contestant = Callable[[Prompts, int], float]
"""Decodes prompts to so many new tokens each, and returns the seconds."""

PLAIN = "transformers, float32"


def build_contestants(folder: str, work: Path) -> dict[str, Contestant]:
    """All of them by name, loaded; the plain script first."""
    plain = load_plain(folder, "cpu")
    models = {
        "hfgen, float32": load(folder, device="cpu", stock=False),
        "hfgen, int8": load(folder, device="cpu", quantize="int8", stock=False),
    }
    found: dict[str, Contestant] = {PLAIN: lambda ids, new: run_plain(plain, ids, new).elapsed_s}
    for name, lm in models.items():
        found[name] = lambda ids, new, lm=lm: run_engine(lm, ids, new).elapsed_s
    if importlib.util.find_spec("ctranslate2") is not None:
        for compute_type in ("float32", "int8"):
            found[f"ctranslate2, {compute_type}"] = ctranslate2_of(folder, work, compute_type)
    return found


def ctranslate2_of(folder: str, work: Path, compute_type: str) -> Contestant:
    """The same model, converted to CTranslate2, in a process of its own.

    Its idle threads would slow the others if they stood in theirs.
    """
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    context.Process(
        target=serve_ctranslate2, args=(there, folder, work, compute_type), daemon=True
    ).start()

    def decode(prompts: Prompts, new_tokens: int) -> float:
        here.send((prompts, new_tokens))
        elapsed_s: float = here.recv()
        time.sleep(0.5)  # until its threads sleep too
        return elapsed_s

    return decode


def serve_ctranslate2(pipe: Any, folder: str, work: Path, compute_type: str) -> None:
    """Convert and load the model; then decode what comes, and answer with the seconds."""
    import ctranslate2
    from transformers import AutoTokenizer

    converted = str(work / compute_type)
    ctranslate2.converters.TransformersConverter(folder).convert(
        converted, quantization=compute_type
    )
    generator = ctranslate2.Generator(
        converted,
        device="cpu",
        compute_type=compute_type,
        intra_threads=len(os.sched_getaffinity(0)),
    )
    tokenizer = AutoTokenizer.from_pretrained(folder)
    while True:
        prompts, new_tokens = pipe.recv()
        words = [tokenizer.convert_ids_to_tokens(ids) for ids in prompts]
        began = time.perf_counter()
        results = generator.generate_batch(
            words,
            max_length=new_tokens,
            min_length=new_tokens,
            sampling_topk=1,
            include_prompt_in_result=False,
        )
        elapsed_s = time.perf_counter() - began
        counts = {len(result.sequences_ids[0]) for result in results}
        if counts != {new_tokens}:
            raise SystemExit(f"CTranslate2 made {counts} tokens, not {new_tokens}")
        pipe.send(elapsed_s)


def take_turns(
    contestants: dict[str, Contestant], prompts: Prompts, options: argparse.Namespace
) -> dict[str, list[float]]:
    """Seconds of each contestant in each turn; a first turn warms up."""
    seconds: dict[str, list[float]] = {name: [] for name in contestants}
    for turn in range(options.repetitions + 1):
        for name, decode in contestants.items():
            elapsed_s = decode(prompts, options.new_tokens)
            if turn > 0:
                seconds[name].append(elapsed_s)
    return seconds


def cells(seconds: dict[str, list[float]], tokens: int) -> dict[str, str]:
    """`tokens per second (least-most), ratio` of each contestant."""
    found = {}
    for name, own in seconds.items():
        rates = [tokens / elapsed_s for elapsed_s in own]
        ratio = statistics.median(b / a for a, b in zip(own, seconds[PLAIN], strict=True))
        middle = f"{statistics.median(rates):.0f} ({min(rates):.0f}-{max(rates):.0f})"
        found[name] = f"{middle}, {ratio:.1f}x"
    return found


def main() -> None:
    """Make the model, let all take turns, print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--tokenizer", help="a tokenizer with the shape's vocabulary")
    parser.add_argument("--shape", default="124m")
    parser.add_argument("--batch-size", type=int, nargs="+", default=[1, 16, 64])
    parser.add_argument("--prompt-tokens", type=int, default=16)
    parser.add_argument("--new-tokens", type=int, default=64)
    parser.add_argument("--repetitions", type=int, default=5)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryDirectory() as work:
        write_random_model(options.shape, Path(folder))
        if options.tokenizer is not None:
            from transformers import AutoTokenizer

            AutoTokenizer.from_pretrained(options.tokenizer).save_pretrained(folder)
        contestants = build_contestants(folder, Path(work))
        sizes = options.batch_size
        ids = random_prompts(load_plain(folder, "cpu"), max(sizes), options.prompt_tokens)
        columns = []
        for size in sizes:
            seconds = take_turns(contestants, ids[:size], options)
            columns.append(cells(seconds, size * options.new_tokens))
    machine = describe_machine()
    print(
        f"GPT-2 of {options.shape}, {options.prompt_tokens} prompt tokens, {options.new_tokens} "
        f"new; {machine['cpu']}, {machine['threads']} threads, torch {machine['torch']}, "
        f"transformers {machine['transformers']}\n"
    )
    print("| tokens/s | " + " | ".join(f"batch {size}" for size in sizes) + " |")
    print("| --- |" + " --- |" * len(sizes))
    for name in contestants:
        print(f"| {name} | " + " | ".join(column[name] for column in columns) + " |")


if __name__ == "__main__":
    main()
