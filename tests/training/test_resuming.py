"""Runs that go on: finished ones, moved ones, and models whose files name weights otherwise."""

from __future__ import annotations

import dataclasses
import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from hfgen.errors import ModelDamaged, OutputError
from hfgen.models.naming.resolve import resolve
from hfgen.training.checkpoints.restore import restore
from hfgen.training.loop.trainer import TokenTrainer
from hfgen.training.model.load import load_base
from hfgen.training.options.finetune import TrainingOptions
from hfgen.training.runs.outcome import Finetuned
from tests.conftest import BUNDLED
from tests.training.runs import assert_same_weights, train, weights
from tests.training.samples import read_report

pytestmark = pytest.mark.usefixtures("no_plot")

# 12 steps are no whole number of epochs.
SMALL: dict[str, Any] = {
    "max_steps": 12, "batch_size": 4, "gradient_accumulation_steps": 2, "eval_steps": 4,
    "learning_rate": 3e-3, "precision": "fp32",
}  # fmt: skip


@pytest.fixture(scope="module")
def worsening(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Settings with which an early step is the best: what validation expects is never learned."""
    file = tmp_path_factory.mktemp("validation") / "never.jsonl"
    rows = [{"prompt": f"{number}?", "completion": " %$&!@#" * 4} for number in range(8)]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return SMALL | {
        "max_steps": 14, "eval_steps": 2, "learning_rate": 3e-2, "lr_scheduler": "constant",
        "val_data": str(file),
    }  # fmt: skip


@pytest.fixture(scope="module")
def whole_and_stopped(
    worsening: dict[str, Any],
    tiny_folder: Path,
    pairs_file: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """A folder with a whole run, and the same stopped at step 9 ("out"), past its best step."""
    folder = tmp_path_factory.mktemp("runs")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        whole, _ = train(pairs_file, tiny_folder, Path("whole"), **worsening)
        train(pairs_file, tiny_folder, Path("out"), 9, **worsening)
    assert whole.after.step < 9  # else it shows nothing
    return folder


@pytest.fixture(scope="module")
def early(
    worsening: dict[str, Any],
    tiny_folder: Path,
    pairs_file: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> tuple[dict[str, Any], Finetuned]:
    """A run that stopped early, and its settings."""
    settings = worsening | {"max_steps": 20, "early_stopping": 1}
    done, _ = train(pairs_file, tiny_folder, tmp_path_factory.mktemp("runs") / "out", **settings)
    assert done.steps < 20
    return settings, done


def validated(monkeypatch: pytest.MonkeyPatch, change: Callable[[int, float], float]) -> None:
    """Have validation tell a loss that is made of the step and the true one."""
    validate = TokenTrainer.validate

    def changed(self: Any, *args: Any) -> Any:
        found = validate(self, *args)
        return dataclasses.replace(found, loss=change(self.state.global_step, found.loss))

    monkeypatch.setattr(TokenTrainer, "validate", changed)


def checkpoints(folder: Path) -> set[str]:
    return {path.name for path in (folder / "checkpoints").glob("checkpoint-*")}


def test_a_finished_run_is_not_trained_further(
    tiny_folder: Path, pairs_file: Path, tmp_path: Path
) -> None:
    out, asked = tmp_path / "out", (pairs_file, tiny_folder, tmp_path / "out")
    first, _ = train(*asked, **SMALL)
    shutil.copytree(out, tmp_path / "before")
    kept = checkpoints(out)
    again, heard = train(*asked, resume=True, **SMALL)
    assert again.steps == 12 and heard.steps == [] and checkpoints(out) == kept
    assert any("over at step 12 of 12" in notice for notice in heard.notices)
    assert (again.before, again.after) == (first.before, first.after)
    assert again.tokens == first.tokens
    assert_same_weights(tmp_path / "before", out)


def test_a_result_that_was_not_written_is_made_up_for(
    tiny_folder: Path, pairs_file: Path, tmp_path: Path
) -> None:
    """As after a kill between the last checkpoint and the result, without validation."""
    out, settings = tmp_path / "out", SMALL | {"val_split": 0.0}
    first, _ = train(pairs_file, tiny_folder, out, **settings)
    shutil.copytree(out, tmp_path / "whole")
    for path in out.iterdir():
        if path.is_file():
            path.unlink()
    again, heard = train(pairs_file, tiny_folder, out, resume=True, **settings)
    assert heard.steps == [] and again.after == first.after and again.after.samples
    assert_same_weights(tmp_path / "whole", out)


def test_a_run_that_stopped_early_is_not_trained_further(
    early: tuple[dict[str, Any], Finetuned], tiny_folder: Path, pairs_file: Path, tmp_path: Path
) -> None:
    settings, first = early
    out = Path(shutil.copytree(first.folder, tmp_path / "out"))
    again, heard = train(pairs_file, tiny_folder, out, resume=True, **settings)
    assert again.steps == first.steps and heard.steps == []
    assert (again.after.step, again.after.loss) == (first.after.step, first.after.loss)
    assert_same_weights(first.folder, out)


def test_a_stop_where_patience_ends_ends_the_same_way(
    early: tuple[dict[str, Any], Finetuned], tiny_folder: Path, pairs_file: Path, tmp_path: Path
) -> None:
    settings, first = early
    other, _ = train(pairs_file, tiny_folder, tmp_path / "out", first.steps, **settings)
    assert not other.was_stopped and other.steps == first.steps
    assert_same_weights(first.folder, other.folder)


@pytest.mark.parametrize("how", ["other spelling", "moved", "copied"])
def test_the_best_is_kept_however_the_folder_is_called(
    how: str,
    worsening: dict[str, Any],
    whole_and_stopped: Path,
    tiny_folder: Path,
    pairs_file: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    shutil.copytree(whole_and_stopped, tmp_path, dirs_exist_ok=True)
    # The run was begun as "out".
    monkeypatch.chdir(tmp_path)
    whole, folder = Path("whole"), tmp_path / "out"
    best = read_report(whole).after
    if how == "moved":
        folder = folder.rename(tmp_path / "moved")
    if how == "copied":
        folder = Path(shutil.copytree(folder, "copy"))
        spoil(tmp_path / "out/checkpoints" / f"checkpoint-{best.step}")
    again, _ = train(pairs_file, tiny_folder, folder, resume=True, **worsening)
    assert (again.after.step, again.after.loss) == (best.step, best.loss)
    assert_same_weights(whole, folder)
    assert checkpoints(folder) == checkpoints(whole)


def spoil(checkpoint: Path) -> None:
    file = checkpoint / "model.safetensors"
    tensors = {name: torch.zeros_like(tensor) for name, tensor in load_file(file).items()}
    save_file(tensors, file, metadata={"format": "pt"})


def test_a_best_checkpoint_that_is_gone_is_told(
    worsening: dict[str, Any],
    whole_and_stopped: Path,
    tiny_folder: Path,
    pairs_file: Path,
    tmp_path: Path,
) -> None:
    out = Path(shutil.copytree(whole_and_stopped / "out", tmp_path / "out"))
    best, last = sorted(checkpoints(out), key=lambda name: int(name.split("-")[1]))
    assert last in ("checkpoint-9", "checkpoint-10")
    shutil.rmtree(out / "checkpoints" / best)
    with pytest.raises(OutputError, match=f"{best}, is gone") as caught:
        train(pairs_file, tiny_folder, out, resume=True, **worsening)
    assert "overwrite=True" in (caught.value.hint or "")


def test_a_validation_loss_that_is_no_number_is_not_the_best_for_ever(
    tiny_folder: Path, pairs_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    validated(monkeypatch, lambda step, loss: math.nan if step == 4 else loss)
    settings = SMALL | {"early_stopping": 2}
    done, heard = train(pairs_file, tiny_folder, tmp_path / "out", **settings)
    assert [e.is_best for e in heard.evaluations] == [False, False, True, True]
    assert done.after.step == 12 and done.after.is_best


# Experts --------------------------------------------------------------------------------------


EXPERTS = [
    "mixtral",
    *(pytest.param(name, marks=pytest.mark.slow) for name in ("qwen2_moe", "olmoe")),
]


@pytest.fixture(scope="module", params=EXPERTS)
def experts_folder(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A mixture of experts: in memory they are one tensor, in files they are many."""
    import transformers

    sizes: dict[str, Any] = {
        "vocab_size": 4096, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2,
        "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 128,
        "bos_token_id": 0, "eos_token_id": 0, "pad_token_id": None, "num_experts_per_tok": 2,
    }  # fmt: skip
    count = "num_local_experts" if request.param == "mixtral" else "num_experts"
    if request.param == "qwen2_moe":
        sizes |= {"moe_intermediate_size": 24, "shared_expert_intermediate_size": 24}
    config = transformers.AutoConfig.for_model(request.param, **sizes, **{count: 4})
    folder = tmp_path_factory.mktemp("models") / request.param
    with torch.random.fork_rng():
        torch.manual_seed(0)
        transformers.AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (folder / name).write_bytes((BUNDLED / name).read_bytes())
    return folder


@pytest.mark.parametrize("method", ["full", "lora"])
def test_experts_are_resumed(
    method: str, experts_folder: Path, pairs_file: Path, tmp_path: Path
) -> None:
    settings = SMALL | ({} if method == "full" else {"lora": True})
    train(pairs_file, experts_folder, tmp_path / "whole", **settings)
    first, _ = train(pairs_file, experts_folder, tmp_path / "out", 4, **settings)
    assert first.was_stopped
    train(pairs_file, experts_folder, tmp_path / "out", resume=True, **settings)
    assert_same_weights(tmp_path / "whole", tmp_path / "out")


@pytest.mark.parametrize("method", ["full", "lora"])
def test_the_best_experts_are_written(
    method: str,
    experts_folder: Path,
    pairs_file: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    validated(monkeypatch, lambda step, loss: loss + step if step else loss + 9)
    settings = SMALL | ({} if method == "full" else {"lora": True})
    done, _ = train(pairs_file, experts_folder, tmp_path / "out", **settings)
    assert done.after.step == 4
    kept = done.folder / "checkpoints"
    assert_same_weights(kept / "checkpoint-4", done.folder)
    last, best = weights(kept / "checkpoint-12"), weights(done.folder)
    assert any(not torch.equal(best[name], last[name]) for name in best)


@pytest.mark.parametrize("method", ["full", "lora"])
def test_a_checkpoint_without_a_weight_is_damaged(
    method: str, tiny_folder: Path, tmp_path: Path
) -> None:
    options = TrainingOptions(lora=method == "lora" or None)
    model = load_base(resolve(str(tiny_folder)), options, device="cpu").model
    model.save_pretrained(tmp_path)
    restore(model, tmp_path)
    (file,) = tmp_path.glob("*.safetensors")
    tensors = load_file(file)
    lost = next(name for name in tensors if "c_attn" in name)
    del tensors[lost]
    save_file(tensors, file, metadata={"format": "pt"})
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    with pytest.raises(ModelDamaged, match="1 weights are missing"):
        restore(model, tmp_path)
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())


def test_random_numbers_go_on(tiny_folder: Path) -> None:
    import transformers

    model = transformers.AutoModelForCausalLM.from_pretrained(tiny_folder)
    torch.manual_seed(3)
    expected = torch.rand(4)
    torch.manual_seed(3)
    restore(model, tiny_folder)
    assert torch.equal(torch.rand(4), expected)
