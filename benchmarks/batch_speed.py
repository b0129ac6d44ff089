"""How fast hfgen works off many prompts, against a plain script that takes one after another.

256 prompts of 8 to 64 tokens, 20 to 150 new ones each, greedy, past any end of text, on a GPT-2 of
random weights. hfgen decodes them as `hfgen batch` does, 64 at once; the plain script calls
`model.generate` for a sample of every n-th prompt when they are sorted by length of text, in turns
with hfgen's runs. Its rate is that of the sample, and the time for all prompts is scaled from it.
Texts count as equal token by token.

    python benchmarks/batch_speed.py                      # the shape of GPT-2, 124M
    python benchmarks/batch_speed.py --shape 1m --prompts 16 --sample 4 --turns 1
"""

# ruff: noqa: T201  (a program that prints)
from __future__ import annotations

import argparse
import json
import random
import statistics
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from against_transformers import load_plain, run_plain

from hfgen import GenerationOptions
from hfgen.batch.decoding import Decoder
from hfgen.batch.input.rows import read_row
from hfgen.batch.ordering import Order
from hfgen.bench.limits import describe_machine
from hfgen.bench.random_model import write_random_model
from hfgen.generation.prompts.encode import Reading
from hfgen.loading import load


@dataclass(frozen=True)
class Job:
    """A prompt and the length of its text."""

    text: str
    prompt_ids: tuple[int, ...]
    new_tokens: int


def make_jobs(tokenizer: Any, count: int) -> list[Job]:
    """Random prompts; the text of each is read back as the ids that it was made of."""
    draw = random.Random(0)
    # Letters: any row of them is a text, and each is a token, as the tokenizer has no merges.
    letters = [chr(code) for code in (*range(ord("a"), ord("z")), *range(ord("A"), ord("Z")))]
    jobs = []
    for _ in range(count):
        text = "".join(draw.choices(letters, k=draw.randint(8, 64)))
        jobs.append(Job(text, tuple(tokenizer(text)["input_ids"]), draw.randint(20, 150)))
    return jobs


def sample_of(jobs: list[Job], count: int) -> list[Job]:
    """As many jobs, spread evenly over the lengths of text."""
    ordered = sorted(jobs, key=lambda job: job.new_tokens)
    count = min(count, len(jobs))
    return [ordered[(2 * place + 1) * len(ordered) // (2 * count)] for place in range(count)]


def run_hfgen(lm: Any, jobs: list[Job], slots: int) -> tuple[float, list[str]]:
    """Seconds for all jobs, and their texts without the prompts."""
    rows = [
        read_row(
            {"id": i, "prompt": job.text, "max_new_tokens": job.new_tokens}, i, f"jobs:{i + 1}"
        )
        for i, job in enumerate(jobs)
    ]
    decoder = Decoder(
        lm, GenerationOptions(do_sample=False, ignore_eos=True, seed=0), Reading(),
        slots=slots, order=Order(is_kept=True), models=None, notify=print,
    )  # fmt: skip
    began = time.perf_counter()
    records = [json.loads(outcome.lines) for outcome in decoder.run(rows)]
    elapsed_s = time.perf_counter() - began
    made = [record["completion_tokens"] for record in records]
    if made != [job.new_tokens for job in jobs]:
        raise SystemExit(f"hfgen made {sum(made)} tokens")
    return elapsed_s, [record["completion"] for record in records]


def run_sample(model: Any, sample: list[Job]) -> tuple[float, list[tuple[int, ...]]]:
    """Seconds for the jobs one after another by a plain script, and the ids of their texts."""
    runs = [run_plain(model, [job.prompt_ids], job.new_tokens) for job in sample]
    return sum(run.elapsed_s for run in runs), [run.tokens[0] for run in runs]


def main() -> None:
    """Make the model, take turns, print tokens per second and ratios."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--shape", default="124m")
    parser.add_argument("--prompts", type=int, default=256)
    parser.add_argument("--sample", type=int, default=24)
    parser.add_argument("--slots", type=int, default=64)
    parser.add_argument("--turns", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        write_random_model(options.shape, Path(folder))
        plain = load_plain(folder, "cpu")
        models = {
            "hfgen, float32": load(folder, device="cpu", stock=False),
            "hfgen, int8": load(folder, device="cpu", quantize="int8", stock=False),
        }
    tokenizer = models["hfgen, float32"].tokenizer
    jobs = make_jobs(tokenizer, options.prompts)
    sample = sample_of(jobs, options.sample)
    report(jobs, sample, plain, models, options)


def report(
    jobs: list[Job], sample: list[Job], plain: Any, models: dict[str, Any], options: Any
) -> None:
    """Warm up, take turns and print."""
    total, sampled = (sum(job.new_tokens for job in some) for some in (jobs, sample))
    run_sample(plain, sample[:1])
    for lm in models.values():
        run_hfgen(lm, jobs[: options.slots // 8 or 1], options.slots)
    rates: dict[str, list[float]] = {}
    equal: dict[str, float] = {}
    plain_rates: list[float] = []
    for _ in range(options.turns):
        plain_s, plain_ids = run_sample(plain, sample)
        plain_rates.append(sampled / plain_s)
        for name, lm in models.items():
            elapsed_s, texts = run_hfgen(lm, jobs, options.slots)
            rates.setdefault(name, []).append(total / elapsed_s)
            own = [texts[jobs.index(job)] for job in sample]
            theirs = [lm.tokenizer.decode(ids) for ids in plain_ids]
            equal[name] = sum(map(str.__eq__, own, theirs)) / len(own)
    machine = describe_machine()
    middle = statistics.median(plain_rates)
    print(
        f"GPT-2 of {options.shape}, {len(jobs)} prompts, {total:,} new tokens, {options.slots} at "
        f"once; {machine['cpu']}, {machine['threads']} threads, torch {machine['torch']}\n\n"
        f"transformers one by one: {middle:.1f} tokens/s, measured on {len(sample)} of the prompts "
        f"({sampled:,} tokens); all would take {total / middle:.0f} s"
    )
    for name, own in rates.items():
        ratios = [a / b for a, b in zip(own, plain_rates, strict=True)]
        print(
            f"{name}: {statistics.median(own):.1f} tokens/s, {total / statistics.median(own):.1f} "
            f"s, {statistics.median(ratios):.1f}x ({min(ratios):.1f}-{max(ratios):.1f}); "
            f"{equal[name]:.0%} of the sampled texts equal"
        )


if __name__ == "__main__":
    main()
