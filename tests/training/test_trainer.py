"""`TokenTrainer` against plain PyTorch loops, uninterrupted runs and kills."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.data import Dataset
from transformers import TrainerCallback, TrainingArguments

from hfgen.training.checkpoints.checkpoints import last_checkpoint
from hfgen.training.data.collators import IGNORED, Dense, Padded, labels_of
from hfgen.training.data.encode import EncodedExample
from hfgen.training.loop.loss import token_loss
from hfgen.training.loop.trainer import TokenTrainer
from tests.conftest import build_model


class Rows(Dataset):  # type: ignore[type-arg]
    """Random rows of unequal lengths, partly learned."""

    def __init__(self, count: int, seed: int = 0) -> None:
        rng = random.Random(seed)
        self.rows = []
        for _ in range(count):
            ids = [rng.randrange(1, 100) for _ in range(rng.randrange(4, 24))]
            start = rng.randrange(0, len(ids) - 1)
            labels = [IGNORED] * start + ids[start:]
            self.rows.append({"input_ids": ids, "labels": labels})

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> dict[str, list[int]]:
        return self.rows[index]


def collate(rows: list[dict[str, list[int]]]) -> dict[str, torch.Tensor]:
    width = max(len(row["input_ids"]) for row in rows)
    ids = torch.zeros(len(rows), width, dtype=torch.long)
    mask = torch.zeros(len(rows), width, dtype=torch.long)
    labels = torch.full((len(rows), width), IGNORED)
    for i, row in enumerate(rows):
        n = len(row["input_ids"])
        ids[i, :n] = torch.tensor(row["input_ids"])
        labels[i, :n] = torch.tensor(row["labels"])
        mask[i, :n] = 1
    return {"input_ids": ids, "attention_mask": mask, "labels": labels}


class Losses(TrainerCallback):  # type: ignore[misc]
    def __init__(self) -> None:
        self.losses: list[float] = []

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:
        if "loss" in logs:
            self.losses.append(logs["loss"])


def model(dropout: float = 0.0) -> Any:
    return build_model(
        "gpt2", vocab_size=100, initializer_range=0.02, n_embd=16, n_layer=2, n_head=2,
        resid_pdrop=dropout, embd_pdrop=dropout, attn_pdrop=dropout,
    )  # fmt: skip


def trainer(
    folder: Path, *, dropout: float = 0.0, rows: int = 40, stop: Any = None, **settings: Any
) -> Any:
    defaults: dict[str, Any] = {
        "output_dir": str(folder), "use_cpu": True, "report_to": "none", "seed": 1,
        "per_device_train_batch_size": 4, "max_steps": 8, "logging_steps": 1, "learning_rate": 1e-2,
        "lr_scheduler_type": "constant", "save_strategy": "no", "disable_tqdm": True,
        "max_grad_norm": 0.0, "optim": "sgd", "weight_decay": 0.0, "dataloader_pin_memory": False,
        "remove_unused_columns": False,
    }  # fmt: skip
    seen = Losses()
    made = TokenTrainer(
        model(dropout),
        TrainingArguments(**(defaults | settings)),
        train_dataset=Rows(rows),
        eval_dataset=Rows(11, seed=5),
        data_collator=collate,
        callbacks=[seen],
        stop=stop,
    )
    return made, seen


def by_hand(batches: list[list[dict[str, torch.Tensor]]], rate: float = 1e-2) -> list[float]:
    """Oracle: losses of plain SGD steps, each over several micro-batches."""
    net = model()
    losses = []
    for micro_batches in batches:
        total, count = torch.zeros(()), 0
        for batch in micro_batches:
            logits = net(batch["input_ids"], attention_mask=batch["attention_mask"]).logits
            for row in range(len(logits)):
                for t in range(logits.shape[1] - 1):
                    label = int(batch["labels"][row, t + 1])
                    if label != IGNORED:
                        total = total - torch.log_softmax(logits[row, t], dim=-1)[label]
                        count += 1
        loss = total / count
        net.zero_grad()
        loss.backward()
        with torch.no_grad():
            for parameter in net.parameters():
                if parameter.grad is not None:
                    parameter -= rate * parameter.grad
        losses.append(float(loss.detach()))
    return losses


@pytest.mark.parametrize(("size", "accumulation"), [(8, 1), (4, 2), (1, 8)])
def test_loss_is_that_of_a_plain_loop(size: int, accumulation: int, tmp_path: Path) -> None:
    made, seen = trainer(
        tmp_path, per_device_train_batch_size=size, gradient_accumulation_steps=accumulation,
        max_steps=5,
    )  # fmt: skip
    micro = list(made.get_train_dataloader())
    groups = [micro[i : i + accumulation] for i in range(0, 5 * accumulation, accumulation)]
    made.train()
    assert seen.losses == pytest.approx(by_hand(groups), abs=1e-4)


def test_accumulation_changes_nothing(tmp_path: Path) -> None:
    found = []
    for size, accumulation in ((8, 1), (4, 2), (1, 8)):
        made, seen = trainer(
            tmp_path, per_device_train_batch_size=size, gradient_accumulation_steps=accumulation,
            max_steps=5,
        )  # fmt: skip
        made.train()
        found.append(seen.losses)
    assert found[1] == pytest.approx(found[0], abs=1e-5)
    assert found[2] == pytest.approx(found[0], abs=1e-5)


def test_validation_loss_is_by_tokens(tmp_path: Path) -> None:
    made, _ = trainer(tmp_path, per_device_eval_batch_size=3)
    metrics = made.evaluate()
    total, count = 0.0, 0
    for row in Rows(11, seed=5).rows:
        batch = collate([row])
        with torch.no_grad():
            loss, tokens = token_loss(made.model(batch["input_ids"]).logits, batch["labels"])
        total, count = total + float(loss), count + int(tokens)
    assert metrics["eval_tokens"] == count
    assert metrics["eval_loss"] == pytest.approx(total / count, abs=1e-6)


@pytest.mark.parametrize("collator", [Dense, Padded])
def test_loss_and_validation_of_encoded_rows(collator: Any, tmp_path: Path) -> None:
    """Dense batches through the whole Trainer, against rows one by one."""
    rng = random.Random(3)
    rows = []
    for _ in range(24):
        ids = [rng.randrange(1, 100) for _ in range(rng.randrange(1, 24))]
        rows.append(EncodedExample(ids, [rng.random() < 0.5 for _ in ids]))
    rows[5] = EncodedExample([1, 2, 3], [False] * 3)
    seen = Losses()
    arguments = TrainingArguments(
        output_dir=str(tmp_path), use_cpu=True, report_to="none", max_steps=6, logging_steps=1,
        per_device_train_batch_size=4, save_strategy="no", disable_tqdm=True, optim="sgd",
        learning_rate=1e-2, lr_scheduler_type="constant", max_grad_norm=0.0,
        gradient_accumulation_steps=2, remove_unused_columns=False, dataloader_pin_memory=False,
        train_sampling_strategy="sequential", per_device_eval_batch_size=5,
    )  # fmt: skip
    made = TokenTrainer(
        model(), arguments, train_dataset=rows, eval_dataset=rows, data_collator=collator(0),
        callbacks=[seen],
    )  # fmt: skip
    alone = [
        {"input_ids": [e.ids], "attention_mask": [[1] * len(e.ids)], "labels": [labels_of(e)]}
        for e in rows
    ]
    batches = [{name: torch.tensor(value) for name, value in row.items()} for row in alone]
    with torch.no_grad():
        sums = [token_loss(made.model(b["input_ids"]).logits, b["labels"]) for b in batches]
    metrics = made.evaluate()
    assert metrics["eval_tokens"] == sum(count for _, count in sums)
    expected = sum(float(total) for total, _ in sums) / metrics["eval_tokens"]
    assert metrics["eval_loss"] == pytest.approx(expected, rel=1e-6)
    made.train()
    steps = [batches[i : i + 8] for i in range(0, 24, 8)]
    assert seen.losses == pytest.approx(by_hand(steps + steps), abs=1e-5)


def test_fused_activations_are_the_same_function(tmp_path: Path) -> None:
    before, after = model(), model()
    made = TokenTrainer(after, TrainingArguments(output_dir=str(tmp_path), report_to="none"))
    assert not any("NewGELU" in type(m).__name__ for m in made.model.modules())
    assert before.state_dict().keys() == after.state_dict().keys()
    # What generates later does so with a cache, as before.
    assert made.model.config.use_cache is True
    ids = torch.arange(40).reshape(2, 20)
    assert (before(ids).logits - after.cpu()(ids).logits).abs().max() < 1e-6


SAVING = {"save_strategy": "steps", "save_steps": 3, "save_total_limit": 2, "optim": "adamw_torch"}


def weights(folder: Path) -> dict[str, torch.Tensor]:
    from safetensors.torch import load_file

    return load_file(folder / "model.safetensors")


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[k], other[k]) for k in one)


@pytest.mark.parametrize("stop_after", [1, 4, 7, 11])
def test_stopped_and_resumed_equals_uninterrupted(stop_after: int, tmp_path: Path) -> None:
    """Bit for bit: dropout on, mid-accumulation state, mid-epoch, across an epoch's end."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    settings = SAVING | {
        "max_steps": 14, "gradient_accumulation_steps": 2, "lr_scheduler_type": "linear",
        "per_device_train_batch_size": 2,
    }  # fmt: skip
    try:
        whole, losses = trainer(tmp_path / "whole", dropout=0.2, **settings)
        whole.train()
        whole.save_model(str(tmp_path / "whole" / "end"))

        class Stop(TrainerCallback):  # type: ignore[misc]
            def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
                if state.global_step == stop_after - 1:
                    first.request_stop()

        first, before = trainer(tmp_path / "parts", dropout=0.2, **settings)
        first.add_callback(Stop())
        first.train()
        assert first.was_stopped
        found = last_checkpoint(tmp_path / "parts")
        assert found is not None
        assert found.name == f"checkpoint-{stop_after}"
        torch.manual_seed(999)
        second, after = trainer(tmp_path / "parts", dropout=0.2, **settings)
        second.train(resume_from_checkpoint=str(found))
        second.save_model(str(tmp_path / "parts" / "end"))
    finally:
        torch.set_num_threads(threads)
    assert before.losses + after.losses == losses.losses
    assert same(weights(tmp_path / "whole" / "end"), weights(tmp_path / "parts" / "end"))


def test_best_and_last_are_kept_under_their_own_names(tmp_path: Path) -> None:
    made, _ = trainer(
        tmp_path, **SAVING, max_steps=12, eval_strategy="steps", eval_steps=3,
        metric_for_best_model="eval_loss", greater_is_better=False, load_best_model_at_end=True,
        learning_rate=0.5,
    )  # fmt: skip
    made.train()
    best = Path(made.state.best_model_checkpoint)
    assert best.parent == tmp_path
    assert (best / "model.safetensors").is_file()
    kept = sorted(path.name for path in tmp_path.iterdir())
    assert kept == sorted({best.name, "checkpoint-12"})


SCRIPT = """
import sys
from pathlib import Path
from tests.training.test_trainer import SAVING, trainer
from hfgen.training.checkpoints.checkpoints import last_checkpoint
folder = Path(sys.argv[1])
made, _ = trainer(folder, dropout=0.1, max_steps=100000, **(SAVING | {"save_steps": 1}))
found = last_checkpoint(folder)
print("ready", flush=True)
made.train(resume_from_checkpoint=str(found) if found else None)
"""


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_a_kill_at_any_moment_leaves_loadable_checkpoints(tmp_path: Path) -> None:
    rng = random.Random(0)
    steps = []
    for _ in range(12):
        process = subprocess.Popen(
            [sys.executable, "-c", SCRIPT, str(tmp_path)],
            stdout=subprocess.PIPE,
            env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path.cwd())},
        )
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(0.5 + rng.random() * 1.5)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        for path in tmp_path.glob("checkpoint-*"):
            assert weights(path)
            torch.load(path / "optimizer.pt", weights_only=True)
        found = last_checkpoint(tmp_path)
        if found is not None:
            steps.append(int(found.name.split("-")[1]))
    assert steps == sorted(steps)
    assert len(steps) > 5
