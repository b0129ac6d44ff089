"""Which step a run keeps: the best by validation, the model as it was among the candidates."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from hfgen.cli.io.training_results import result_text
from hfgen.models.checkpoint.load import load
from hfgen.models.checkpoint.load_options import LoadOptions
from hfgen.models.naming.resolve import resolve
from hfgen.training.loop.trainer import TokenTrainer
from hfgen.training.planning.defaults import patience
from hfgen.training.runs.outcome import Finetuned
from tests.training.runs import assert_same_weights, train
from tests.training.samples import read_report

pytestmark = pytest.mark.usefixtures("no_plot")

SMALL: dict[str, Any] = {
    "max_steps": 12, "batch_size": 4, "eval_steps": 2, "learning_rate": 3e-3, "precision": "fp32",
}  # fmt: skip


@pytest.fixture
def validated(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[int], float]], None]:
    """Have validation find a loss that depends on the step alone."""

    def change(loss: Callable[[int], float]) -> None:
        validate = TokenTrainer.validate

        def changed(self: Any, *args: Any) -> Any:
            found = validate(self, *args)
            return dataclasses.replace(found, loss=loss(self.state.global_step))

        monkeypatch.setattr(TokenTrainer, "validate", changed)

    return change


def facts(done: Finetuned) -> dict[str, str]:
    lines = result_text(done).splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


# A run that never beats the model as it was -----------------------------------------------------


@pytest.mark.parametrize("method", ["full", "lora"])
def test_a_run_that_only_harms_writes_the_model_as_it_was(
    method: str, validated: Any, tiny_folder: Path, pairs_file: Path, tmp_path: Path
) -> None:
    validated(lambda step: 4.0 + step)
    settings = SMALL | ({"lora": True} if method == "lora" else {})
    done, heard = train(pairs_file, tiny_folder, tmp_path / "out", **settings)
    assert (done.after.step, done.after.loss, done.after.is_best) == (0, 4.0, True)
    written = load(resolve(str(done.folder)), LoadOptions(dtype="float32")).model
    before = load(resolve(str(tiny_folder)), LoadOptions(dtype="float32")).model
    expected = before.state_dict()
    for name, tensor in written.state_dict().items():
        assert torch.equal(tensor, expected[name]), name
    report = read_report(done.folder)
    assert report.best_step == 0 and report.after.samples == report.before.samples
    assert not any(event.is_best for event in (*heard.evaluations, *report.evaluations))
    assert facts(done)["kept"] == "the model as it was before training: no step was better"
    assert facts(done)["next"].startswith("try a lower --learning-rate")
    (told,) = [notice for notice in heard.notices if "no step lowered" in notice]
    assert "a lower learning_rate (it was 0.003)" in told
    assert "the one that training began with" in (done.folder / "README.md").read_text()


def test_it_does_so_when_resumed(
    validated: Any, tiny_folder: Path, pairs_file: Path, tmp_path: Path
) -> None:
    validated(lambda step: 4.0 + step)
    whole, _ = train(pairs_file, tiny_folder, tmp_path / "whole", **SMALL)
    first, _ = train(pairs_file, tiny_folder, tmp_path / "out", 3, **SMALL)
    assert first.was_stopped
    done, _ = train(pairs_file, tiny_folder, tmp_path / "out", resume=True, **SMALL)
    assert (done.steps, done.before, done.after) == (whole.steps, whole.before, whole.after)
    assert_same_weights(whole.folder, done.folder)


def test_the_screen_and_the_report_agree_on_the_best(
    validated: Any, tiny_folder: Path, pairs_file: Path, tmp_path: Path
) -> None:
    losses = {0: 4.0, 2: 5.0, 4: 3.0, 6: 3.5, 8: 2.0, 10: 2.5, 12: 2.2}
    validated(lambda step: losses[step])
    done, heard = train(pairs_file, tiny_folder, tmp_path / "out", **SMALL)
    shown = [(event.step, event.is_best) for event in heard.evaluations]
    assert [step for step, is_best in shown if is_best] == [4, 8]
    report = read_report(done.folder)
    assert [(e.step, e.is_best) for e in (report.before, *report.evaluations)] == shown
    assert report.best_step == done.after.step == 8
    assert facts(done)["kept"] == "step 8, the best by validation"
    assert facts(done)["trained"].startswith("12 steps")


# Early stopping ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("steps", "eval_steps", "waits"), [(216, 22, 3), (100, 1, 30), (10, 10, 3), (1000, 50, 6)]
)
def test_patience_is_three_tenths_of_a_run(steps: int, eval_steps: int, waits: int) -> None:
    assert patience(steps, eval_steps) == waits


def test_a_run_past_its_best_stops_by_itself(
    validated: Any, tiny_folder: Path, pairs_file: Path, tmp_path: Path
) -> None:
    validated(lambda step: 3.0 + abs(step - 4))
    settings = SMALL | {"max_steps": 20}
    done, heard = train(pairs_file, tiny_folder, tmp_path / "out", **settings)
    assert (done.steps, done.after.step, done.was_stopped) == (10, 4, False)
    (told,) = [notice for notice in heard.notices if notice.startswith("stopped")]
    assert told.startswith("stopped at step 10 of 20: the last 3 evaluations were no better")
    assert "(early_stopping=0 trains to the end)" in told
    shutil.copytree(done.folder, tmp_path / "whole")
    again, heard = train(pairs_file, tiny_folder, done.folder, resume=True, **settings)
    assert (again.steps, again.after) == (done.steps, done.after)
    assert any("over at step 10 of 20" in notice for notice in heard.notices)
    assert_same_weights(tmp_path / "whole", done.folder)


def test_it_can_be_turned_off(
    validated: Any, tiny_folder: Path, pairs_file: Path, tmp_path: Path
) -> None:
    validated(lambda step: 3.0 + abs(step - 4))
    done, heard = train(
        pairs_file, tiny_folder, tmp_path / "out", **(SMALL | {"max_steps": 20}), early_stopping=0
    )
    assert (done.steps, done.after.step) == (20, 4)
    assert not any(notice.startswith("stopped") for notice in heard.notices)


def test_a_stop_at_the_last_step_is_none(
    validated: Any, tiny_folder: Path, pairs_file: Path, tmp_path: Path
) -> None:
    validated(lambda step: 3.0 + abs(step - 6))
    done, heard = train(pairs_file, tiny_folder, tmp_path / "out", **SMALL)
    assert done.steps == 12
    assert not any(notice.startswith("stopped") for notice in heard.notices)


def test_a_run_that_still_improves_on_itself_goes_on(
    validated: Any, tiny_folder: Path, pairs_file: Path, tmp_path: Path
) -> None:
    """Worse than before training at first, as after a high warmup."""
    validated(lambda step: 10.0 - 0.5 * step if step else 5.0)
    done, _ = train(pairs_file, tiny_folder, tmp_path / "out", **SMALL)
    assert (done.steps, done.after.step) == (12, 12)
