"""Disk, time and the checks before a run."""

from __future__ import annotations

import random
from collections import namedtuple
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from hfgen.cli.flags.flag_spelling import FlagSpelling
from hfgen.errors import OutputError
from hfgen.mentions import spelled
from hfgen.models.sizing.memory import Memory
from hfgen.training.options.finetune import TrainingOptions
from hfgen.training.planning import cost
from hfgen.training.planning.cost import (
    check_memory,
    check_space,
    disk_of,
    fitting_batch,
    room,
    seconds_of,
    time_step,
)
from hfgen.training.planning.plan import Facts, make_plan
from tests.conftest import build_model

FULL = TrainingOptions()
FACTS = Facts(
    train_rows=100, train_tokens=10_000, val_rows=16, val_tokens=1_000, parameters=124_000_000,
    max_length=512, processes=1, precision="fp32", batches="dense",
)  # fmt: skip
PLAN = make_plan(TrainingOptions(batch_size=8, gradient_accumulation_steps=2), FACTS)
Usage = namedtuple("Usage", "total used free")


def test_disk_holds_real_checkpoints(tmp_path: Path) -> None:
    model = build_model("gpt2", n_embd=128)
    optimizer = torch.optim.AdamW(model.parameters())
    model(input_ids=torch.ones(1, 4, dtype=torch.long)).logits.sum().backward()
    optimizer.step()
    for number in range(3):
        folder = tmp_path / f"checkpoint-{number}"
        model.save_pretrained(folder)
        torch.save(optimizer.state_dict(), folder / "optimizer.pt")
    model.save_pretrained(tmp_path)
    written = sum(path.stat().st_size for path in tmp_path.rglob("*") if path.is_file())
    count = model.num_parameters()
    needed = disk_of(FULL, count, count)
    small_files = disk_of(FULL, 0, 0)
    assert written < needed
    assert written == pytest.approx(needed - small_files, rel=0.02)


def test_an_adapter_takes_little_space() -> None:
    whole = disk_of(FULL, 10**9, 10**9)
    assert whole == pytest.approx(40e9, rel=0.01)
    for method in ("lora", "dora", "qlora"):
        options = TrainingOptions.from_mapping({method: True})
        assert disk_of(options, 10**9, 10**7) < whole / 50


def test_batches_that_fit() -> None:
    rng = random.Random(1)
    for _ in range(500):
        effective, each = rng.randint(1, 96), rng.randint(1, 50)
        base, available = rng.randint(0, 100), rng.randint(0, 3000)
        rows, added = fitting_batch(effective, lambda n, b=base, e=each: b + e * n, available)
        fitting = [
            n for n in range(1, effective + 1)
            if effective % n == 0 and base + each * n <= 0.8 * available
        ]  # fmt: skip
        assert rows * added == effective
        assert rows == max(fitting, default=1)


def test_all_rows_fit_where_the_memory_is_unknown() -> None:
    assert fitting_batch(12, lambda rows: 10**15, None) == (12, 1)


def test_room_counts_what_the_process_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cost, "main_memory", lambda: Memory("cpu", 10**12, 10**9))
    monkeypatch.setattr(cost, "_own_bytes", lambda: 5 * 10**8)
    assert room() == 15 * 10**8
    monkeypatch.setattr(cost, "main_memory", lambda: Memory("cpu", 12 * 10**8, 10**9))
    assert room() == 12 * 10**8
    monkeypatch.setattr(cost, "main_memory", lambda: None)
    assert room() is None
    monkeypatch.setattr(cost, "gpu_memory", lambda: None)
    assert room("cuda") is None


def test_own_memory_is_that_of_the_process() -> None:
    before = cost._own_bytes()
    if not Path("/proc/self/statm").exists():
        assert before == 0
        return
    block = torch.ones(50_000_000, dtype=torch.uint8)
    assert cost._own_bytes() - before == pytest.approx(block.nbytes, rel=0.2)


def test_memory_warning_names_what_helps() -> None:
    warning = check_memory(12 * 10**9, 7_500_000_000, FULL, PLAN)
    assert warning is not None and spelled(warning, FlagSpelling()) == (
        "training will take about 12 GB of memory, and 7.5 GB are free; --batch-size 1 with "
        "--gradient-accumulation-steps 16, --gradient-checkpointing, --lora or a smaller "
        "--max-length need less"
    )
    assert "; batch_size=1 with gradient_accumulation_steps=16, grad" in spelled(warning)


def test_memory_warning_leaves_out_what_is_done_already() -> None:
    done = TrainingOptions(lora=True, gradient_checkpointing=True)
    warning = check_memory(2 * 10**9, 10**9, done, replace(PLAN, batch_size=1))
    assert warning is not None
    assert spelled(warning).endswith("are free; a smaller max_length needs less")


def test_no_memory_warning_without_a_reason() -> None:
    assert check_memory(10**9, 10**9, FULL, PLAN) is None
    assert check_memory(10**15, None, FULL, PLAN) is None


def test_space_is_checked_where_the_folder_will_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def usage(path: Path) -> Usage:
        asked.append(path)
        return Usage(10**12, 0, 3 * 10**9)

    monkeypatch.setattr(cost.shutil, "disk_usage", usage)
    folder = tmp_path / "not" / "there"
    check_space(folder, 3 * 10**9, FULL)
    assert asked == [tmp_path]
    with pytest.raises(OutputError) as caught:
        check_space(folder, 4 * 10**9, FULL)
    message = f"the run needs 4.0 GB of space, and 3.0 GB are free at {tmp_path}"
    assert caught.value.message == message
    hint = 'name a folder on another disk (output="DIR"), or train an adapter (lora=True)'
    assert caught.value.hint == hint
    with pytest.raises(OutputError) as caught:
        check_space(folder, 4 * 10**9, TrainingOptions(lora=True))
    assert caught.value.hint == 'name a folder on another disk (output="DIR")'


def test_a_resumed_run_has_the_space_of_its_checkpoints(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "checkpoint-1").mkdir()
    (tmp_path / "checkpoint-1" / "optimizer.pt").write_bytes(bytes(1000))
    monkeypatch.setattr(cost.shutil, "disk_usage", lambda path: Usage(10**12, 0, 500))
    check_space(tmp_path, 1500, FULL, is_resumed=True)
    for needed, is_resumed in ((1501, True), (501, False)):
        with pytest.raises(OutputError):
            check_space(tmp_path, needed, FULL, is_resumed=is_resumed)


class Clock:
    """Time that passes only where a step takes it."""

    def __init__(self, seconds: list[float]) -> None:
        self.seconds = iter(seconds)
        self.now = 0.0
        self.runs = 0

    def monotonic(self) -> float:
        return self.now

    def run(self) -> None:
        self.now += next(self.seconds)
        self.runs += 1


@pytest.mark.parametrize(
    ("seconds", "expected", "runs"),
    [
        ([5, 1, 1.2, 0.9], 1, 4),
        ([4, 3, 4], 3.5, 3),
        ([5, 4, 1], 4, 2),
        ([11, 8], 11, 1),
        ([6, 5], 6, 1),
    ],
)
def test_time_of_a_step(
    seconds: list[float], expected: float, runs: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock(seconds)
    monkeypatch.setattr(cost, "time", clock)
    assert time_step(clock.run) == pytest.approx(expected)
    assert clock.runs == runs


def test_timing_leaves_no_trace() -> None:
    model = build_model("gpt2", resid_pdrop=0.5).train()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    ids = torch.ones(2, 8, dtype=torch.long)
    torch.manual_seed(3)
    expected = torch.rand(3)
    torch.manual_seed(3)
    seconds = time_step(lambda: model(input_ids=ids).logits.mean().backward(), model)
    assert 0 < seconds < 10
    assert torch.equal(torch.rand(3), expected)
    assert all(parameter.grad is None for parameter in model.parameters())
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def test_time_of_a_run() -> None:
    plan = replace(PLAN, steps=100, gradient_accumulation_steps=4, eval_steps=20, val_rows=0)
    assert seconds_of(plan, 0.5) == 200
    # Six evaluations of ten batches, which are forward alone.
    assert seconds_of(replace(plan, val_rows=80), 0.5) == 210
