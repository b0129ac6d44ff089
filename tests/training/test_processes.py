"""Two processes (torchrun, gloo) against one at the same effective batch."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from hfgen.training.checkpoints.checkpoints import find_checkpoints
from hfgen.training.loop.ddp_batches import _Share
from tests import warm
from tests.training.runs import train
from tests.training.test_trainer import trainer, weights

ROOT = Path(__file__).parents[2]

# 41 rows in batches of 8: the last batch of an epoch is one row, and one process has none of it.
ROWS = 41
SETTINGS: dict[str, Any] = {"rows": ROWS, "max_steps": 13, "learning_rate": 0.1}
CASES = {"plain": (8, 1), "accumulated": (4, 2)}
SCRIPT = """
import json, os, sys
from pathlib import Path
import torch
from transformers import TrainerCallback
from hfgen.training.checkpoints.checkpoints import last_checkpoint
from tests.training.test_processes import CASES, SETTINGS
from tests.training.test_trainer import SAVING, trainer

folder, rank = Path.cwd(), int(os.environ["RANK"])
found = {}
for name, (size, accumulation) in CASES.items():
    made, seen = trainer(
        folder / name, per_device_train_batch_size=size // 2,
        gradient_accumulation_steps=accumulation, per_device_eval_batch_size=2, **SETTINGS,
    )
    before = made.evaluate()
    made.train()
    made.save_model(str(folder / name / "end"))
    found[name] = {"losses": seen.losses, "before": before, "after": made.evaluate()}


class Stop:
    is_made = False


class Ask(TrainerCallback):
    def on_step_begin(self, args, state, control, **kwargs):
        Stop.is_made = rank == 1 and state.global_step == 7


def stopped(stop):
    made, seen = trainer(
        folder / "stopped", per_device_train_batch_size=4, dropout=0.2, stop=stop,
        **(SAVING | SETTINGS),
    )
    made.add_callback(Ask())
    last = last_checkpoint(folder / "stopped")
    made.train(resume_from_checkpoint=last and str(last))
    return made, seen


made, seen = stopped(Stop)
found["stopped"] = {"was_stopped": made.was_stopped, "step": made.state.global_step}
made, _ = stopped(None)
found["resumed"] = {"was_stopped": made.was_stopped, "step": made.state.global_step}
(folder / f"rank{rank}.json").write_text(json.dumps(found))
torch.distributed.destroy_process_group()
"""


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[dict[str, Any]]]:
    """What two processes did: their folder, and what each of them saw."""
    folder = tmp_path_factory.mktemp("two")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    # What torchrun says to each of its processes.
    together = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    both = [
        subprocess.Popen(
            [warm.python("torch"), "-c", f"import sys; sys.path.append({str(ROOT)!r})\n{SCRIPT}"],
            env=os.environ | together | {"RANK": rank, "LOCAL_RANK": rank, "OMP_NUM_THREADS": "1"},
            stderr=subprocess.PIPE, cwd=folder, text=True,
        )
        for rank in "01"
    ]  # fmt: skip
    errors = [process.communicate(timeout=280)[1] for process in both]
    assert [process.returncode for process in both] == [0, 0], errors
    return folder, [json.loads((folder / f"rank{rank}.json").read_text()) for rank in range(2)]


@pytest.mark.parametrize("name", CASES)
def test_losses_and_weights_equal_those_of_one_process(
    name: str, two: tuple[Path, list[dict[str, Any]]], tmp_path: Path
) -> None:
    folder, seen = two
    size, accumulation = CASES[name]
    one, losses = trainer(
        tmp_path, per_device_train_batch_size=size, gradient_accumulation_steps=accumulation,
        **SETTINGS,
    )  # fmt: skip
    before = one.evaluate()
    one.train()
    after = one.evaluate()
    one.save_model(str(tmp_path / "end"))
    assert len(losses.losses) == 13
    for rank in seen:
        assert rank[name]["losses"] == pytest.approx(losses.losses, abs=1e-5)
        assert rank[name]["before"] == pytest.approx(before, abs=1e-6)
        assert rank[name]["after"] == pytest.approx(after, abs=1e-5)
    ours, theirs = weights(tmp_path / "end"), weights(folder / name / "end")
    assert ours.keys() == theirs.keys()
    for key, weight in ours.items():
        assert torch.allclose(weight, theirs[key], atol=1e-5), key


def test_a_stop_of_one_process_ends_both_with_one_checkpoint(
    two: tuple[Path, list[dict[str, Any]]],
) -> None:
    folder, seen = two
    for rank in seen:
        assert rank["stopped"] == {"was_stopped": True, "step": 8}
        assert rank["resumed"] == {"was_stopped": False, "step": 13}
    steps = [path.name for path in find_checkpoints(folder / "stopped")]
    # Every third step, the one of the stop, and the last; two are kept.
    assert steps == ["checkpoint-12", "checkpoint-13"]
    names = {path.name for path in (folder / "stopped").iterdir()}
    assert names == set(steps)
    states = {path.name for path in (folder / "stopped" / "checkpoint-13").iterdir()}
    assert {"rng_state_0.pth", "rng_state_1.pth", "optimizer.pt"} <= states


def test_torchrun_trains_with_the_command(
    tiny_folder: Path, pairs_file: Path, tmp_path: Path
) -> None:
    """By the installed torchrun, as the README has it: one result, and that of one process."""
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\n[ "$1" = -u ] && shift\nexec {warm.python("torch")} "$@"\n')
    python.chmod(0o755)
    torchrun = Path(sys.executable).with_name("torchrun")
    done = subprocess.run(
        [torchrun, "--standalone", "--nproc_per_node", "2", "-m", "hfgen", "finetune",
         pairs_file, "-m", tiny_folder, "-o", tmp_path / "two", "--json", "--max-steps", "3",
         "--batch-size", "4", "--dropout", "0", "--precision", "fp32", "--device", "cpu"],
        env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHON_EXEC": str(python)},
        capture_output=True, text=True, timeout=280,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    told = json.loads(done.stdout)
    one, heard = train(
        pairs_file, tiny_folder, tmp_path / "one", max_steps=3, batch_size=8, dropout=0.0,
        precision="fp32", device="cpu",
    )  # fmt: skip
    assert told["steps"] == len(heard.steps) == 3 and told["tokens"] == one.tokens
    assert told["after"]["loss"] == pytest.approx(one.after.loss, abs=1e-5)
    assert done.stderr.count("step 3/3") == 1
    ours, theirs = weights(one.folder), weights(tmp_path / "two")
    assert ours.keys() == theirs.keys()
    for key, weight in ours.items():
        assert torch.allclose(weight, theirs[key], atol=1e-5), key


@pytest.mark.parametrize("processes", [1, 2, 3, 4])
@pytest.mark.parametrize("rows", [1, 7, 8, 9, 15, 16])
def test_each_row_is_in_one_process_once(rows: int, processes: int) -> None:
    size = 2
    batches = [list(range(i, min(i + size, rows))) for i in range(0, rows, size)]
    shares = [list(_Share(batches, number, processes)) for number in range(processes)]
    assert {len(share) for share in shares} == {len(_Share(batches, 0, processes))}
    rounds = list(zip(*shares, strict=True))
    for place, together in enumerate(rounds):
        taken = [index for batch in together for index in batch if index >= 0]
        first = place * size * processes
        assert taken == list(range(first, min(first + size * processes, rows)))
