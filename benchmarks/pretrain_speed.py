"""How fast `hfgen pretrain` trains, against a plain script with the Hugging Face Trainer.

Both train a GPT-2 of 6 layers, 256 wide, with 4,096 tokens and a window of 512, in batches of 8 and
without dropout. The plain script is Transformers' own way: `GPT2LMHeadModel`, the text cut into
rows, `DataCollatorForLanguageModeling(mlm=False)`, everything else at its default (float32, AdamW).
hfgen is measured as it is (`auto`: bf16 where the processor has it, Muon) and in float32 alone.
Each run is a process of its own, and they alternate, so that a busy machine slows all. The first
step is not measured; told are tokens per second by the clock and by processor time.

    python benchmarks/pretrain_speed.py
    python benchmarks/pretrain_speed.py --steps 12 --pairs 2 --optim adamw_torch
"""

# ruff: noqa: T201  (a program that prints)
from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

KINDS = ("plain", "hfgen", "hfgen fp32")
SHAPE = {"n_layer": 6, "n_embd": 256, "n_head": 4, "n_positions": 512, "vocab_size": 4096}
BATCH = 8


class Clock:
    """Times of the first and the last step's end."""

    def __init__(self) -> None:
        self.times: list[tuple[float, float]] = []

    def tick(self) -> None:
        """A step has ended."""
        self.times.append((time.perf_counter(), time.process_time()))

    def result(self, tokens_per_step: int) -> dict[str, float]:
        """Tokens per second, the first step left out."""
        wall_s, processor_s = (
            end - start for start, end in zip(self.times[0], self.times[-1], strict=True)
        )
        tokens = tokens_per_step * (len(self.times) - 1)
        return {
            "tokens_per_s": tokens / wall_s,
            "tokens_per_processor_s": tokens / processor_s,
        }


def train_plainly(steps: int, folder: str) -> dict[str, float]:
    """Train with a Trainer and its defaults, on random ids."""
    import torch
    from transformers import (
        AutoTokenizer,
        DataCollatorForLanguageModeling,
        GPT2Config,
        GPT2LMHeadModel,
        Trainer,
        TrainerCallback,
        TrainingArguments,
    )

    import hfgen

    clock = Clock()

    class Ticking(TrainerCallback):  # type: ignore[misc]
        def on_step_end(self, *_: Any, **__: Any) -> None:
            clock.tick()

    bundled = Path(hfgen.__file__).parent / "models" / "bundled" / "storyteller"
    tokenizer = AutoTokenizer.from_pretrained(bundled)
    tokenizer.pad_token = tokenizer.eos_token
    config = GPT2Config(**SHAPE, resid_pdrop=0, embd_pdrop=0, attn_pdrop=0)
    # No 0, which the collator takes for padding.
    ids = torch.randint(1, SHAPE["vocab_size"], (BATCH * (steps + 1), SHAPE["n_positions"]))
    arguments = TrainingArguments(
        output_dir=folder, per_device_train_batch_size=BATCH, max_steps=steps + 1,
        report_to="none", save_strategy="no", disable_tqdm=True, dataloader_pin_memory=False,
        use_cpu=True,
    )  # fmt: skip
    Trainer(
        GPT2LMHeadModel(config),
        arguments,
        train_dataset=[{"input_ids": row.tolist()} for row in ids],
        data_collator=DataCollatorForLanguageModeling(tokenizer, mlm=False),
        callbacks=[Ticking()],
    ).train()
    return clock.result(BATCH * (SHAPE["n_positions"] - 1))


def train_with_hfgen(steps: int, folder: str, **settings: Any) -> dict[str, float]:
    """Train with `pretrain`, on random words."""
    import hfgen
    from hfgen.training.loop.trainer import TokenTrainer
    from hfgen.training.runs.pretraining import pretrain

    clock = Clock()
    step = TokenTrainer.training_step

    def ticking(self: Any, *given: Any, **named: Any) -> Any:
        # Begins of steps: one batch is one step here, and the last begin ends the one before.
        clock.tick()
        return step(self, *given, **named)

    TokenTrainer.training_step = ticking  # type: ignore[method-assign]
    draw = random.Random(0)
    words = ["".join(draw.choices("abcdefghij", k=draw.randint(2, 8))) for _ in range(3000)]
    path = Path(folder) / "text.txt"
    path.write_text(" ".join(draw.choices(words, k=20_000 * steps)), encoding="utf-8")
    pretrain(
        str(path), output=Path(folder) / "model", device="cpu", batch_size=BATCH,
        tokenizer=str(Path(hfgen.__file__).parent / "models" / "bundled" / "storyteller"),
        gradient_accumulation_steps=1, max_steps=steps + 2, val_split=0,
        **{name: size for name, size in SHAPE.items() if name != "vocab_size"}, **settings,
    )  # fmt: skip
    # Two begins more than `steps`: trials before the run may be among them, and are left out.
    clock.times = clock.times[-(steps + 1) :]
    return clock.result(BATCH * (SHAPE["n_positions"] - 1))


def measure(options: argparse.Namespace) -> dict[str, float]:
    """One run, in this process."""
    with tempfile.TemporaryDirectory() as folder:
        if options.only == "plain":
            return train_plainly(options.steps, folder)
        settings = {"precision": "fp32"} if options.only == "hfgen fp32" else {}
        if options.optim:
            settings["optim"] = options.optim
        return train_with_hfgen(options.steps, folder, **settings)


def alternate(arguments: list[str], pairs: int) -> dict[str, list[dict[str, float]]]:
    """Measure all kinds in turn, each in a process of its own."""
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
            told = "  ".join(f"{result[n]:8.0f} {w}" for n, w in NAMES.items())
            print(f"{kind:10} {told}", flush=True)
    return found


NAMES = {"tokens_per_s": "tokens/s", "tokens_per_processor_s": "tokens/processor-s"}


def main() -> None:
    """Measure, and tell the medians of the ratios."""
    parser = argparse.ArgumentParser(description="Pre-training speed against a plain Trainer.")
    parser.add_argument("--steps", type=int, default=12, help="measured steps of each run")
    parser.add_argument("--pairs", type=int, default=2)
    parser.add_argument("--optim", help="of hfgen: its default, or adamw_torch as the plain script")
    parser.add_argument("--only", choices=KINDS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.only:
        print(json.dumps(measure(options)))
        return
    found = alternate(sys.argv[1:], options.pairs)
    for kind in KINDS[1:]:
        for name, what in NAMES.items():
            both = zip(found[kind], found["plain"], strict=True)
            ratios = [ours[name] / plain[name] for ours, plain in both]
            middle, low, high = statistics.median(ratios), min(ratios), max(ratios)
            print(f"{kind}, {what}: {middle:.2f} times ({low:.2f} to {high:.2f})")


if __name__ == "__main__":
    main()
