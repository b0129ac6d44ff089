"""The folder of a run: what is refused, what belongs to a run, and how a result gets its names."""

from __future__ import annotations

import contextlib
from dataclasses import replace
from pathlib import Path

import pytest

from hfgen.errors import OptionConflict, OutputError, OutputExists, UsageError
from hfgen.training.checkpoints.run_dir import RunFolder, default_output
from hfgen.training.checkpoints.run_start import RunStart, check_same_run
from hfgen.training.layout import list_replaceable, replaceable_files


def check(folder: RunFolder, *, resume: bool = False, overwrite: bool = False) -> None:
    with folder.claimed(resume=resume, overwrite=overwrite):
        pass


START = RunStart(
    model="storyteller",
    options={"learning_rate": 0.001},
    plan={"steps": 10, "batch_size": 4},
    fingerprint="ab" * 32,
    started="2026-01-01T00:00:00+00:00",
)


@pytest.mark.parametrize(
    ("model", "name"),
    [
        ("gpt2", "gpt2-finetuned"),
        ("org/Some-Model@main", "Some-Model-finetuned"),
        ("./models/mine/", "mine-finetuned"),
        ("/x/SmolLM2.Q4_1.gguf", "SmolLM2.Q4_1-finetuned"),
        ("a b/ü", "model-finetuned"),
        ("..", "model-finetuned"),
    ],
)
def test_default_output(model: str, name: str) -> None:
    assert default_output(model) == Path(name)


def test_a_new_folder_is_accepted(tmp_path: Path) -> None:
    check(RunFolder(tmp_path / "a" / "b"))
    assert not (tmp_path / "a").exists()


def test_nothing_existing_is_overwritten(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(OutputExists, match="holds a model already") as caught:
        check(RunFolder(tmp_path))
    assert "overwrite=True" in (caught.value.hint or "")
    check(RunFolder(tmp_path), overwrite=True)


def test_an_unfinished_run_is_named(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    check(folder)
    check(folder)
    (folder.checkpoints / "checkpoint-7").mkdir(parents=True)
    with pytest.raises(OutputExists, match="unfinished run") as caught:
        check(folder)
    assert "resume=True" in (caught.value.hint or "")


def test_resume_needs_a_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="nothing to resume"):
        check(RunFolder(tmp_path), resume=True)
    with pytest.raises(OptionConflict):
        check(RunFolder(tmp_path), resume=True, overwrite=True)


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "x").write_text("")
    with pytest.raises(OutputExists, match="is a file"):
        check(RunFolder(tmp_path / "x"), overwrite=True)
    with pytest.raises(OutputError, match="not writable"):
        check(RunFolder(tmp_path / "x" / "y"))


def test_one_process_at_a_time(tmp_path: Path) -> None:
    first, second = RunFolder(tmp_path), RunFolder(tmp_path)
    for overwrite in (False, True):
        with first.claimed(resume=False, overwrite=overwrite):
            with pytest.raises(OutputError, match="another hfgen trains"):
                check(second, overwrite=overwrite)
            with second.claimed(resume=False, overwrite=overwrite, is_first=False):
                pass  # a further process of the same run
        check(second)


def test_what_was_written_before_the_claim_is_seen(tmp_path: Path) -> None:
    with RunFolder(tmp_path).claimed(resume=False, overwrite=False):
        (tmp_path / "config.json").write_text("{}")
    with pytest.raises(OutputExists, match="holds a model already"):
        check(RunFolder(tmp_path))


def test_the_start_comes_back_as_it_was(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    with folder.claimed(resume=False, overwrite=False):
        start = replace(
            START, resumed_from=(3, 5), before={"loss": 1.5, "samples": [{"prompt": "é\n"}]}
        )
        folder.write_start(start)
        assert folder.read_start() == start
        check_same_run(folder.read_start(), START)


def test_a_damaged_start_is_an_error(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    folder.checkpoints.mkdir()
    for text in ("", "{", "[]", '{"model": 1, "x": 2}'):
        (folder.checkpoints / "run.json").write_text(text)
        with pytest.raises(OutputError, match="damaged"):
            folder.read_start()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model": "gpt2"}, "the model storyteller, now it is gpt2"),
        ({"options": {"learning_rate": 0.01}}, "learning_rate 0.001, now it is 0.01"),
        ({"options": {}}, "learning_rate 0.001, now it is left out"),
        ({"plan": {"steps": 20, "batch_size": 4}}, "steps 10, now it is 20"),
        ({"fingerprint": "cd" * 32}, "other data"),
    ],
)
def test_another_run_is_not_resumed(change: dict[str, object], message: str) -> None:
    with pytest.raises(OptionConflict, match=message):
        check_same_run(START, replace(START, **change))  # type: ignore[arg-type]


def test_trackers_may_change(tmp_path: Path) -> None:
    check_same_run(START, replace(START, options={"learning_rate": 0.001, "report_to": ("wandb",)}))


def test_checkpoints_of_an_earlier_run_are_removed(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    with folder.claimed(resume=False, overwrite=False):
        (folder.checkpoints / "checkpoint-5").mkdir()
        (folder.checkpoints / "checkpoint-5" / "model.safetensors").write_text("x")
        folder.write_start(START)
        (folder.checkpoints / ".saving").mkdir()
        (folder.checkpoints / ".removed" / "half").mkdir(parents=True)
        for name in ("notes.txt", "checkpoint-best", "mine/weights.pt", "data/tokens"):
            file = folder.checkpoints / name
            file.parent.mkdir(exist_ok=True)
            file.write_text("mine")
        folder.clear_checkpoints()
        left = {path.name for path in folder.checkpoints.iterdir()} - {".lock", "result.json"}
        assert left == {"notes.txt", "checkpoint-best", "mine", "data"}
        assert (folder.checkpoints / "mine" / "weights.pt").read_text() == "mine"


@pytest.mark.parametrize("name", ["README.md", "training.json", "vocab.json", "tokenizer.json"])
@pytest.mark.parametrize("overwrite", [False, True])
def test_files_that_are_no_results_are_not_replaced(
    name: str, overwrite: bool, tmp_path: Path
) -> None:
    (tmp_path / name).write_text("mine")
    with pytest.raises(OutputExists, match=f"holds {name}, which is no earlier result's") as caught:
        check(RunFolder(tmp_path), overwrite=overwrite)
    assert 'output="DIR"' in (caught.value.hint or "")


@pytest.mark.parametrize("name", ["tokenizer_data.json", "lora.safetensors", "notes.md"])
def test_other_files_are_no_obstacle(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text("mine")
    check(RunFolder(tmp_path))


def test_files_beside_an_earlier_result_are_not_replaced(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    folder.checkpoints.mkdir()
    for name in ("config.json", "model.safetensors"):
        (tmp_path / name).write_text("{}")
    list_replaceable(tmp_path, ["config.json", "model.safetensors", "README.md"])
    check(folder, overwrite=True)
    (tmp_path / "vocab.json").write_text("mine")
    with pytest.raises(OutputExists, match=r"vocab\.json"):
        check(folder, overwrite=True)


def test_a_model_of_another_program_is_replaced_by_its_names(tmp_path: Path) -> None:
    names = {"config.json", "pytorch_model.bin", "model-00001-of-00002.safetensors", "README.md"}
    for name in (*names, "lora.safetensors", "tokenizer_data.json"):
        (tmp_path / name).write_text("{}")
    assert replaceable_files(tmp_path) == names


def test_a_list_names_no_file_outside(tmp_path: Path) -> None:
    (tmp_path / "checkpoints").mkdir()
    list_replaceable(tmp_path, ["config.json", "../config.json", "/etc/hosts", "a/../../b", ""])
    assert replaceable_files(tmp_path) == {"config.json"}


@pytest.mark.parametrize("place", [".", "models/base", "checkpoints/checkpoint-3"])
def test_the_model_is_not_in_the_folder(place: str, tmp_path: Path) -> None:
    (tmp_path / "out" / place).mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "out")
    for folder in (tmp_path / "out", tmp_path / "link"):
        with pytest.raises(UsageError, match="holds the model") as caught:
            RunFolder(folder).check_inputs([tmp_path / "out" / place], [])
        assert 'output="DIR"' in (caught.value.hint or "")
    RunFolder(tmp_path / "out" / "new").check_inputs([tmp_path / "out"], [])


@pytest.mark.parametrize(
    ("place", "is_replaced"),
    [
        ("vocab.json", True),
        ("checkpoints/checkpoint-3/rows.jsonl", True),
        ("rows.jsonl", False),
        ("tokenizer_data.json", False),
        ("data/vocab.json", False),
        ("checkpoints/rows.jsonl", False),
        ("../vocab.json", False),
    ],
)
def test_data_are_not_replaced(place: str, is_replaced: bool, tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "out")
    refused = pytest.raises(UsageError, match="would be replaced")
    with refused if is_replaced else contextlib.nullcontext():
        folder.check_inputs([], [folder.path / place])


def test_a_run_that_wrote_nothing_leaves_no_folder(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "deep" / "out")
    with folder.claimed(resume=False, overwrite=False):
        assert folder.checkpoints.is_dir()
    assert not list(tmp_path.iterdir())


def test_another_argument_is_named_as_it_is_typed() -> None:
    begun = RunStart("m", {"arguments": {"adam_beta2": 0.95}}, {}, "f", "t")
    other = RunStart("m", {"arguments": {"adam_beta2": 0.9}}, {}, "f", "t")
    with pytest.raises(OptionConflict, match=r"begun with -O adam_beta2 0\.95, now it is 0\.9"):
        check_same_run(begun, other)
    check_same_run(begun, begun)
