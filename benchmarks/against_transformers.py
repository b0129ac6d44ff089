"""How fast hfgen decodes, against a plain script with Transformers, and CTranslate2 if it is there.

A model on disk or of the Hub, or a GPT-2 of random weights, gets prompts of random ids; every text
is decoded greedily to its full length. All contestants are loaded at once (in float32 and int8, so
there must be memory for it) and take turns, so that a busy machine slows all. Printed are the
medians of tokens per second (prompts included), their ranges, the median ratio to the plain
script's run of the same turn, and the share of tokens that are equal to its tokens. The plain
script takes the prompts one after another, too (`one by one`).

    python benchmarks/against_transformers.py                     # the shape of GPT-2, 124M
    python benchmarks/against_transformers.py -m storyteller      # a model, by any of hfgen's names
    python benchmarks/against_transformers.py --shape 1m --repetitions 2 --batch-size 1 3

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
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM

from hfgen.bench.limits import describe_machine, synchronize
from hfgen.bench.random_model import write_random_model
from hfgen.bench.runs import random_prompts, run_engine
from hfgen.loading import load
from hfgen.models.naming.resolve import resolve

Prompts = Sequence[tuple[int, ...]]


@dataclass(frozen=True)
class Turn:
    """What one contestant did with the prompts; not every one tells its tokens."""

    elapsed_s: float
    tokens: tuple[tuple[int, ...], ...] | None = None


Contestant = Callable[[Prompts, int], Turn]
"""Decodes prompts to so many new tokens each."""

PLAIN, ONE_BY_ONE = "transformers, float32", "transformers, one by one"


def load_plain(folder: str, device: str) -> Any:
    """The model as a plain script loads it, in float32; without an end of text."""
    model: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    model.generation_config.eos_token_id = None
    return model.to(device).eval()


def run_plain(model: Any, prompts: Prompts, new_tokens: int) -> Turn:
    """Do what a plain script does with a batch: `model.generate`."""
    ids = torch.tensor(prompts, device=model.device)
    synchronize(model.device)
    began = time.perf_counter()
    found = model.generate(
        input_ids=ids,
        attention_mask=torch.ones_like(ids),
        do_sample=False,
        max_new_tokens=new_tokens,
        pad_token_id=0,
    )
    synchronize(model.device)
    elapsed_s = time.perf_counter() - began
    return Turn(elapsed_s, tuple(map(tuple, found[:, ids.shape[1] :].tolist())))


def run_one_by_one(model: Any, prompts: Prompts, new_tokens: int) -> Turn:
    """The first prompt alone: the others would take as long each."""
    first = run_plain(model, prompts[:1], new_tokens)
    return Turn(len(prompts) * first.elapsed_s)


def run_hfgen(lm: Any, prompts: Prompts, new_tokens: int) -> Turn:
    """All prompts through hfgen's engine at once."""
    run = run_engine(lm, prompts, new_tokens)
    return Turn(run.elapsed_s, run.tokens)


def build_contestants(folder: str, device: str, work: Path) -> dict[str, Contestant]:
    """All of them by name, loaded; the plain script first."""
    plain = load_plain(folder, device)
    found: dict[str, Contestant] = {
        PLAIN: lambda ids, new: run_plain(plain, ids, new),
        ONE_BY_ONE: lambda ids, new: run_one_by_one(plain, ids, new),
    }
    for precision in ("float32", "int8") if device == "cpu" else ("float32",):
        quantize = None if precision == "float32" else precision
        lm = load(folder, device=device, dtype="float32", quantize=quantize, stock=False)
        found[f"hfgen, {precision}"] = lambda ids, new, lm=lm: run_hfgen(lm, ids, new)
    if device == "cpu" and importlib.util.find_spec("ctranslate2") is not None:
        for precision in ("float32", "int8"):
            found[f"ctranslate2, {precision}"] = ctranslate2_of(folder, work, precision)
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

    def decode(prompts: Prompts, new_tokens: int) -> Turn:
        here.send((prompts, new_tokens))
        elapsed_s: float = here.recv()
        time.sleep(0.5)  # until its threads sleep too
        return Turn(elapsed_s)

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
) -> dict[str, list[Turn]]:
    """The turns of each contestant; a first one warms up."""
    turns: dict[str, list[Turn]] = {name: [] for name in contestants}
    for number in range(options.repetitions + 1):
        for name, decode in contestants.items():
            turn = decode(prompts, options.new_tokens)
            if number > 0:
                turns[name].append(turn)
    return turns


def cells(turns: dict[str, list[Turn]], tokens: int) -> dict[str, str]:
    """`tokens per second (least-most), ratio, equal tokens` of each contestant."""
    found = {}
    for name, own in turns.items():
        rates = [tokens / turn.elapsed_s for turn in own]
        pairs = list(zip(own, turns[PLAIN], strict=True))
        ratio = statistics.median(b.elapsed_s / a.elapsed_s for a, b in pairs)
        middle = f"{statistics.median(rates):.0f} ({min(rates):.0f}-{max(rates):.0f})"
        found[name] = f"{middle}, {ratio:.1f}x"
        if name.startswith("hfgen"):
            found[name] += f", {statistics.mean(map(equal_share, pairs)):.1%} equal"
    return found


def equal_share(pair: tuple[Turn, Turn]) -> float:
    """The share of tokens that are equal, place by place."""
    ours, theirs = (torch.tensor(turn.tokens) for turn in pair)
    return float((ours == theirs).float().mean())


def main() -> None:
    """Make or find the model, let all take turns, print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    which = parser.add_mutually_exclusive_group()
    which.add_argument("-m", "--model", help="a whole checkpoint: no adapter, no GGUF file")
    which.add_argument("--shape", default="124m", help="a GPT-2 of random weights of this size")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--batch-size", type=int, nargs="+", default=[1, 16, 64])
    parser.add_argument("--prompt-tokens", type=int, default=16)
    parser.add_argument("--new-tokens", type=int, default=64)
    parser.add_argument("--repetitions", type=int, default=5)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as made, tempfile.TemporaryDirectory() as work:
        if options.model is None:
            write_random_model(options.shape, Path(made))
        folder = made if options.model is None else str(resolve(options.model).path)
        contestants = build_contestants(folder, options.device, Path(work))
        sizes = options.batch_size
        ids = random_prompts(load_plain(folder, "cpu"), max(sizes), options.prompt_tokens)
        columns = []
        for size in sizes:
            turns = take_turns(contestants, ids[:size], options)
            columns.append(cells(turns, size * options.new_tokens))
    machine = describe_machine()
    print(
        f"{options.model or f'GPT-2 of {options.shape}'}, {options.prompt_tokens} prompt tokens, "
        f"{options.new_tokens} new; {machine['cpu'] if options.device == 'cpu' else machine['gpu']}"
        f", {machine['threads']} threads, torch {machine['torch']}, transformers "
        f"{machine['transformers']}\n"
    )
    print("| tokens/s | " + " | ".join(f"batch {size}" for size in sizes) + " |")
    print("| --- |" + " --- |" * len(sizes))
    for name in contestants:
        print(f"| {name} | " + " | ".join(column[name] for column in columns) + " |")


if __name__ == "__main__":
    main()
