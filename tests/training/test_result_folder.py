"""What else lies in a run's folder: nothing of it is lost, and nothing of it is taken for data."""

from __future__ import annotations

import contextlib
import shutil
from pathlib import Path
from typing import Any

import pytest

import hfgen
from hfgen.errors import HfgenError, OutputExists, UsageError
from hfgen.training.checkpoints.checkpoints import last_checkpoint
from hfgen.training.events import Listener, Step
from hfgen.training.layout import list_replaceable, replaceable_files
from hfgen.training.reading.files import find_sources
from hfgen.training.runs import publish
from hfgen.training.runs.finetuning import finetune
from tests.training.runs import train

pytestmark = pytest.mark.usefixtures("no_plot")

ONE_STEP: dict[str, Any] = {
    "max_steps": 1, "batch_size": 4, "gradient_accumulation_steps": 1, "learning_rate": 3e-3,
    "precision": "fp32", "val_split": 0.0,
}  # fmt: skip
SOME_STEPS = ONE_STEP | {"max_steps": 4, "eval_steps": 2}


@pytest.fixture(scope="module")
def one_step(tiny_folder: Path, pairs_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run, to be copied."""
    out = tmp_path_factory.mktemp("runs") / "out"
    return train(pairs_file, tiny_folder, out, **ONE_STEP)[0].folder


@pytest.fixture(scope="module")
def stopped(tiny_folder: Path, pairs_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that was stopped at step 2 of 4, to be copied."""
    out = tmp_path_factory.mktemp("runs") / "out"
    return train(pairs_file, tiny_folder, out, at=2, **SOME_STEPS)[0].folder


def contents(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.name != ".lock"
    }


def test_what_is_no_results_stays(tiny_folder: Path, pairs_file: Path, tmp_path: Path) -> None:
    out = tmp_path / "project"
    mine = (
        "notes.md", "lora.safetensors", "tokenizer-notes.json", "checkpoints/notes.txt",
        "checkpoints/mine/weights.pt",
    )  # fmt: skip
    for name in mine:
        (out / name).parent.mkdir(parents=True, exist_ok=True)
        (out / name).write_text("mine")
    train(pairs_file, tiny_folder, out, **ONE_STEP)
    train(pairs_file, tiny_folder, out, overwrite=True, **ONE_STEP)
    assert {name: (out / name).read_text() for name in mine} == dict.fromkeys(mine, "mine")
    hfgen.load(str(out))


def test_a_run_does_not_begin_where_it_would_replace(
    tiny_folder: Path, pairs_file: Path, tmp_path: Path
) -> None:
    (tmp_path / "README.md").write_text("mine")
    with pytest.raises(OutputExists, match=r"README\.md"):
        train(pairs_file, tmp_path / "no model", tmp_path, **ONE_STEP)
    assert contents(tmp_path) == {"README.md": b"mine"}


def test_what_appears_during_a_run_is_not_replaced(
    tiny_folder: Path, pairs_file: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"

    class Writes(Listener):
        def step(self, event: Step) -> None:
            (out / "README.md").write_text("mine")

    with pytest.raises(OutputExists, match=r"README\.md") as caught:
        finetune(pairs_file, model=str(tiny_folder), output=out, listener=Writes(), **ONE_STEP)
    assert "resume=True" in (caught.value.hint or "")
    assert (out / "README.md").read_text() == "mine"
    assert not (out / "config.json").exists()
    (out / "README.md").unlink()
    train(pairs_file, tiny_folder, out, resume=True, **ONE_STEP)
    hfgen.load(str(out))


def test_data_that_would_be_replaced_are_refused(
    one_step: Path, tiny_folder: Path, pairs_file: Path, tmp_path: Path
) -> None:
    out = Path(shutil.copytree(one_step, tmp_path / "out"))
    data = shutil.copy(pairs_file, out / "checkpoints" / "checkpoint-1" / "rows.jsonl")
    before = contents(out)
    with pytest.raises(UsageError, match="would be replaced"):
        train(Path(data), tiny_folder, out, overwrite=True, **ONE_STEP)
    with pytest.raises(UsageError, match="would be replaced"):
        settings = ONE_STEP | {"val_split": None, "val_data": str(data)}
        train(pairs_file, tiny_folder, out, overwrite=True, **settings)
    assert contents(out) == before


@pytest.mark.parametrize("settings", [{"lora": True}, {}], ids=["adapter", "full"])
def test_a_model_is_not_replaced_by_what_is_trained_on_it(
    settings: dict[str, Any], tiny_folder: Path, pairs_file: Path, tmp_path: Path
) -> None:
    base = tmp_path / "base"
    shutil.copytree(tiny_folder, base)
    before = contents(base)
    with pytest.raises(UsageError, match="holds the model") as caught:
        train(pairs_file, base, base, overwrite=True, **ONE_STEP | settings)
    assert 'output="DIR"' in (caught.value.hint or "")
    assert contents(base) == before


def test_a_checkpoint_is_not_replaced_by_what_is_trained_on_it(
    stopped: Path, tiny_folder: Path, pairs_file: Path, tmp_path: Path
) -> None:
    out = Path(shutil.copytree(stopped, tmp_path / "out"))
    before = contents(out)
    with pytest.raises(UsageError, match="holds the model"):
        base = last_checkpoint(out / "checkpoints")
        assert base is not None
        train(pairs_file, base, out, overwrite=True, **SOME_STEPS)
    assert contents(out) == before


def test_nothing_is_left_of_another_programs_model(
    tiny_folder: Path, pairs_file: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    shutil.copytree(tiny_folder, out)
    (out / "model.safetensors").rename(out / "pytorch_model.bin")
    train(pairs_file, tiny_folder, out, overwrite=True, **ONE_STEP, lora=True)
    names = {path.name for path in out.iterdir()}
    assert {"adapter_config.json", "adapter_model.safetensors", "training.json"} <= names
    assert not names & {"pytorch_model.bin", "config.json", ".result"}
    train(pairs_file, tiny_folder, out, overwrite=True, **ONE_STEP)
    assert not {path.name for path in out.iterdir()} & {
        "adapter_config.json", "adapter_model.safetensors",
    }  # fmt: skip
    assert replaceable_files(out) >= {path.name for path in out.iterdir() if path.is_file()}


NEW = ("config.json", "model.safetensors", "tokenizer.json")
OLD = ("config.json", "model.safetensors", "merges.txt")


@pytest.mark.parametrize("at", range(len(NEW) + 2))
def test_an_interrupted_replacement_leaves_a_model(
    at: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Interrupted before each of its renames and its removal, and not at all."""
    out, aside = tmp_path / "out", tmp_path / "out" / ".result"
    for folder, names in ((out, OLD), (aside, NEW), (out / "checkpoints", ())):
        folder.mkdir()
        for name in names:
            (folder / name).write_text(folder.name)
    list_replaceable(out, OLD)
    (out / "mine").write_text("mine")
    done = 0

    def interrupted(original: Any) -> Any:
        def act(self: Path, *args: Any, **settings: Any) -> Any:
            nonlocal done
            if self.name in (*NEW, *OLD):
                done += 1
                if done > at:
                    raise KeyboardInterrupt
            return original(self, *args, **settings)

        return act

    for name in ("replace", "unlink"):
        monkeypatch.setattr(Path, name, interrupted(getattr(Path, name)))
    with contextlib.suppress(KeyboardInterrupt):
        publish._replace(aside, out)
    assert done == min(at + 1, len(NEW) + 1)
    files = {path.name for path in out.iterdir() if path.is_file()}
    assert files >= {"config.json", "model.safetensors", "mine"}
    assert files - {"mine"} <= replaceable_files(out)
    assert (out / "config.json").read_text() == ("out" if at < len(NEW) else ".result")
    if at > len(NEW):
        assert files == {*NEW, "mine"}
        assert not aside.exists()


def test_a_setting_that_is_refused_costs_no_checkpoints(
    stopped: Path, tiny_folder: Path, pairs_file: Path, tmp_path: Path
) -> None:
    out = Path(shutil.copytree(stopped, tmp_path / "out"))
    before = contents(out)
    with pytest.raises((HfgenError, ValueError), match="nonesuch"):
        train(pairs_file, tiny_folder, out, overwrite=True, report_to=("nonesuch",), **SOME_STEPS)
    assert contents(out) == before


def test_what_an_interrupted_removal_left_is_no_obstacle(
    one_step: Path, tiny_folder: Path, pairs_file: Path, tmp_path: Path
) -> None:
    out = Path(shutil.copytree(one_step, tmp_path / "out"))
    (out / "checkpoints" / ".removed" / "half").mkdir(parents=True)
    train(pairs_file, tiny_folder, out, overwrite=True, **ONE_STEP)
    assert not (out / "checkpoints" / ".removed").exists()


@pytest.mark.parametrize("place", ["out", "."])
def test_a_run_inside_its_data_is_resumed(
    place: str, tiny_folder: Path, pairs_file: Path, tmp_path: Path
) -> None:
    shutil.copy(pairs_file, tmp_path / "rows.jsonl")
    (tmp_path / place).mkdir(exist_ok=True)
    shutil.copy(pairs_file, tmp_path / place / "more.jsonl")
    out = tmp_path / place
    train(tmp_path, tiny_folder, out, at=2, **SOME_STEPS)
    assert train(tmp_path, tiny_folder, out, resume=True, **SOME_STEPS)[0].steps == 4
    train(tmp_path, tiny_folder, out, overwrite=True, **SOME_STEPS)
    assert {source.path for source in find_sources([tmp_path])} == {
        tmp_path / "rows.jsonl", out / "more.jsonl",
    }  # fmt: skip


def test_models_among_the_data_are_passed_over(
    tiny_folder: Path, pairs_file: Path, tmp_path: Path
) -> None:
    shutil.copytree(tiny_folder, tmp_path / "models" / "tiny")
    shutil.copy(pairs_file, tmp_path / "models" / "rows.jsonl")
    (tmp_path / "config.json").write_text("[]")  # no model: it has no weights
    (tmp_path / "tables").mkdir()
    shutil.copy(tmp_path / "config.json", tmp_path / "tables")
    assert [str(source.path.relative_to(tmp_path)) for source in find_sources([tmp_path])
            if source.path is not None] == [
        "config.json", "models/rows.jsonl", "tables/config.json",
    ]  # fmt: skip
