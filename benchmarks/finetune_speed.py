"""How fast hfgen trains, against a plain script with the Hugging Face Trainer.

Both train the same random GPT-2 on the same rows in the same order, batches of 8, dropout as in
GPT-2. The plain script pads (`DataCollatorForSeq2Seq`) and leaves everything at its default. Each
run is a process of its own, and the two alternate, so that a busy machine slows both. Told are
tokens per second (padding not counted) by the clock and by processor time, and the most memory the
process held.

    python benchmarks/finetune_speed.py                       # the shape of GPT-2, made-up rows
    python benchmarks/finetune_speed.py --shape 30M --pairs 5
    python benchmarks/finetune_speed.py --data rows.jsonl --tokenizer gpt2

A row of `--data` has `question` and `answer`, or `prompt` and `completion`.
"""

# ruff: noqa: T201  (a program that prints)
from __future__ import annotations

import argparse
import json
import os
import random
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

SHAPES = {
    "124M": {"n_layer": 12, "n_embd": 768, "n_head": 12, "vocab_size": 50257},
    "30M": {"n_layer": 6, "n_embd": 384, "n_head": 6, "vocab_size": 50257},
    "3.5M": {"n_layer": 6, "n_embd": 192, "n_head": 6, "vocab_size": 4096},
}
KINDS = ("plain", "hfgen")
BATCH = 8


def read_rows(data: str | None, tokenizer: str | None, count: int) -> list[tuple[list[int], int]]:
    """Ids of each row, and how many of them belong to the prompt."""
    rng = random.Random(0)
    if data is None:
        # As the question-and-answer rows of GSM8K: 40 to 420 tokens, 150 on average.
        lengths = [min(420, int(40 + rng.gammavariate(2.2, 50))) for _ in range(count)]
        return [([rng.randrange(4000) for _ in range(n)], n * 2 // 5) for n in lengths]
    from transformers import AutoTokenizer

    encode = AutoTokenizer.from_pretrained(tokenizer or "gpt2").encode
    lines = Path(data).read_text(encoding="utf-8").splitlines()
    rows = []
    for line in rng.sample(lines, min(count, len(lines))):
        row = json.loads(line)
        prompt = encode((row.get("question") or row["prompt"]) + "\n")
        rows.append((prompt + encode(row.get("answer") or row["completion"]), len(prompt)))
    return rows


def build_trainer(kind: str, options: argparse.Namespace, folder: str) -> Any:
    """A Trainer of one kind or the other, on the same rows."""
    from transformers import GPT2Config, GPT2LMHeadModel, Trainer, TrainingArguments, set_seed

    from hfgen.training.planning.precision import choose

    set_seed(0)
    config = GPT2Config(**SHAPES[options.shape])
    for name in ("resid_pdrop", "embd_pdrop", "attn_pdrop"):
        setattr(config, name, options.dropout)
    model = GPT2LMHeadModel(config)
    common: dict[str, Any] = {
        "output_dir": folder, "per_device_train_batch_size": BATCH, "max_steps": options.steps + 1,
        "report_to": "none", "save_strategy": "no", "disable_tqdm": True,
        "dataloader_pin_memory": False,
    }  # fmt: skip
    device = str(TrainingArguments(output_dir=folder, report_to="none").device)
    rows = read_rows(options.data, options.tokenizer, BATCH * (options.steps + 1))
    if kind == "plain":
        return Trainer(
            model,
            TrainingArguments(**common),
            train_dataset=[
                {"input_ids": ids, "labels": [-100] * prompt + ids[prompt:]} for ids, prompt in rows
            ],
            data_collator=plain_collator(),
        )
    from hfgen.training.data.collators import Dense
    from hfgen.training.data.encode import EncodedExample
    from hfgen.training.loop.trainer import TokenTrainer

    precision = choose(options.precision, device, model)
    arguments = TrainingArguments(
        **common, bf16=precision == "bf16", fp16=precision == "fp16", use_cpu=device == "cpu",
        remove_unused_columns=False,
    )  # fmt: skip
    return TokenTrainer(
        model,
        arguments,
        train_dataset=[
            EncodedExample(ids, [place >= prompt for place in range(len(ids))])
            for ids, prompt in rows
        ],
        data_collator=Dense(0),
    )


def plain_collator() -> Any:
    """What pads rows with labels in a plain script."""
    from transformers import AutoTokenizer, DataCollatorForSeq2Seq

    import hfgen

    bundled = Path(hfgen.__file__).parent / "models" / "bundled" / "storyteller"
    tokenizer = AutoTokenizer.from_pretrained(bundled)
    tokenizer.pad_token = tokenizer.eos_token
    return DataCollatorForSeq2Seq(tokenizer)


def measure(kind: str, options: argparse.Namespace) -> dict[str, float]:
    """Train for a few steps; the first one is not measured."""
    from transformers import TrainerCallback

    class Clock(TrainerCallback):  # type: ignore[misc]
        starts: tuple[float, float] | None = None

        def on_step_end(self, *_: Any, **__: Any) -> None:
            self.ends = time.perf_counter(), time.process_time()
            self.starts = self.starts or self.ends

    with tempfile.TemporaryDirectory() as folder:
        trainer = build_trainer(kind, options, folder)
        rows = trainer.train_dataset
        lengths = [len(row["input_ids"] if kind == "plain" else row.ids) for row in rows]
        order = list(trainer.get_train_dataloader().batch_sampler)
        clock = Clock()
        trainer.add_callback(clock)
        trainer.train()
    tokens = sum(lengths[index] for batch in order[1:] for index in batch)
    assert clock.starts is not None
    wall_s, processor_s = (end - start for start, end in zip(clock.starts, clock.ends, strict=True))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return {
        "tokens": tokens,
        "tokens_per_s": tokens / wall_s,
        "tokens_per_processor_s": tokens / processor_s,
        "peak_bytes": peak,
    }


def alternate(arguments: list[str], pairs: int) -> dict[str, list[dict[str, float]]]:
    """Measure both kinds in turn, each in a process of its own."""
    found: dict[str, list[dict[str, float]]] = {kind: [] for kind in KINDS}
    for pair in range(pairs):
        for kind in KINDS if pair % 2 == 0 else reversed(KINDS):
            done = subprocess.run(
                [sys.executable, __file__, *arguments, "--only", kind],
                env=os.environ | {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_VERBOSITY": "error"},
                stdout=subprocess.PIPE,
                check=True,
                text=True,
            )
            result = json.loads(done.stdout.splitlines()[-1])
            found[kind].append(result)
            print(
                f"{kind:6} {result['tokens_per_s']:8.0f} tokens/s "
                f"{result['tokens_per_processor_s']:8.0f} tokens/processor-s "
                f"{result['peak_bytes'] / 1e9:6.2f} GB",
                flush=True,
            )
    return found


def main() -> None:
    """Measure, and tell the medians of the pairs' ratios."""
    parser = argparse.ArgumentParser(description="Training speed against a plain Trainer script.")
    parser.add_argument("--shape", choices=SHAPES, default="124M")
    parser.add_argument("--data", help="rows in JSON lines; made-up ones without it")
    parser.add_argument("--tokenizer", help="of the rows (default gpt2)")
    parser.add_argument("--steps", type=int, default=3, help="measured steps of each run")
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--dropout", type=float, default=0.1)
    parser.add_argument("--precision", default="auto", help="of hfgen: auto, fp32, bf16, fp16")
    parser.add_argument("--only", choices=KINDS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.only:
        print(json.dumps(measure(options.only, options)))
        return
    found = alternate(sys.argv[1:], options.pairs)
    for name, what in (
        ("tokens_per_s", "tokens/s"),
        ("tokens_per_processor_s", "tokens/processor-s"),
        ("peak_bytes", "memory"),
    ):
        both = zip(found["hfgen"], found["plain"], strict=True)
        ratios = [ours[name] / plain[name] for ours, plain in both]
        low, high = min(ratios), max(ratios)
        print(f"{what}: {statistics.median(ratios):.2f} times ({low:.2f} to {high:.2f})")


if __name__ == "__main__":
    main()
