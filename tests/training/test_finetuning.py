"""`finetune` whole: what it trains, writes and says; stopped and resumed; what it refuses."""

from __future__ import annotations

import dataclasses
import json
import math
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

import hfgen
from hfgen.errors import (
    DataError,
    InvalidOption,
    ModelUnsupported,
    OptionConflict,
    OutOfMemory,
    OutputError,
    OutputExists,
    UsageError,
)
from hfgen.training.loop.trainer import TokenTrainer
from hfgen.training.options.finetune import TrainingOptions
from hfgen.training.request import TrainingRequest
from hfgen.training.runs.finetuning import FinetuneRun, finetune
from hfgen.training.runs.outcome import DryRun, Finetuned
from tests.training.runs import Heard, assert_same_weights, train
from tests.training.samples import read_report

pytestmark = pytest.mark.usefixtures("no_plot")

SMALL: dict[str, Any] = {
    "max_steps": 12, "batch_size": 4, "gradient_accumulation_steps": 2, "eval_steps": 4,
    "learning_rate": 3e-3, "precision": "fp32",
}  # fmt: skip


def rehearsed(data: Path, model: Path, **settings: Any) -> DryRun:
    request = TrainingRequest(data, TrainingOptions(**settings), model=str(model))
    return FinetuneRun(request).rehearse()


@pytest.fixture(scope="module")
def trained(
    tiny_folder: Path, pairs_file: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Finetuned, Heard]:
    """One uninterrupted run that the tests look at."""
    heard = Heard()
    out = tmp_path_factory.mktemp("runs") / "whole"
    return finetune(pairs_file, model=str(tiny_folder), output=out, listener=heard, **SMALL), heard


def test_it_learns(trained: tuple[Finetuned, Heard]) -> None:
    done, heard = trained
    assert done.before.loss is not None and done.after.loss is not None
    assert done.after.loss < 0.9 * done.before.loss
    assert [event.step for event in heard.steps] == list(range(1, 13))
    assert [event.step for event in heard.evaluations] == [0, 4, 8, 12]
    assert heard.evaluations[-1].loss == done.after.loss
    assert not done.was_stopped and done.steps == 12
    assert all(event.tokens_per_s > 0 and event.memory_bytes > 0 for event in heard.steps)


def test_the_result_is_an_ordinary_model(trained: tuple[Finetuned, Heard], tmp_path: Path) -> None:
    done, _ = trained
    lm = hfgen.load(str(done.folder))
    record = lm.generate("apple river:", max_new_tokens=5, seed=1)
    assert record.completion_tokens > 0
    from transformers import AutoModelForCausalLM

    stock = AutoModelForCausalLM.from_pretrained(done.folder)
    for name, tensor in stock.state_dict().items():
        assert torch.equal(tensor, lm.model.state_dict()[name])
    # Weights are written readable for the user's own group, as his umask has it.
    (plain := tmp_path / "plain").touch()
    modes = {path.stat().st_mode for path in done.folder.glob("*.*")}
    assert modes == {plain.stat().st_mode}


def test_the_report_tells_every_step(trained: tuple[Finetuned, Heard]) -> None:
    done, heard = trained
    report = read_report(done.folder)
    assert [s.loss for s in report.steps] == [event.loss for event in heard.steps]
    assert [e.loss for e in report.evaluations] == [e.loss for e in heard.evaluations[1:]]
    assert report.before.loss == done.before.loss and report.after.loss == done.after.loss
    assert report.tokens == done.tokens == heard.steps[-1].tokens
    assert report.data.rows == 120 and report.data.validation_rows == done.plan.val_rows > 0


def test_validation_loss_is_that_of_the_written_model(
    trained: tuple[Finetuned, Heard], pairs_file: Path
) -> None:
    """Summed by hand over the rows that were held out."""
    from hfgen.training.data.dataset import prepare
    from hfgen.training.data.encode import ExampleEncoder
    from hfgen.training.data.long_rows import Fitter
    from hfgen.training.data.split import split
    from hfgen.training.reading.files import read_rows

    done, _ = trained
    lm = hfgen.load(str(done.folder))
    data = prepare(read_rows([pairs_file]), ExampleEncoder(lm.tokenizer), Fitter(128))
    total, count = 0.0, 0
    for row in split(data.rows, 16 / 120, 42).validation:
        with torch.no_grad():
            logits = lm.model(torch.tensor([row.ids])).logits[0].double()
        for place, is_learned in enumerate(row.is_learned):
            if is_learned:
                total -= float(logits[place - 1].log_softmax(-1)[row.ids[place]])
                count += 1
    assert count == done.plan.val_tokens
    assert total / count == pytest.approx(done.after.loss, abs=1e-5)


def test_prompts_are_fed_as_they_were_trained(
    trained: tuple[Finetuned, Heard], pairs_file: Path
) -> None:
    from hfgen.generation.prompts.encode import PromptEncoder, Reading
    from hfgen.training.data.encode import ExampleEncoder
    from hfgen.training.data.examples import Example

    done, _ = trained
    tokenizer = hfgen.load(str(done.folder)).tokenizer
    for line in pairs_file.read_text().splitlines()[:20]:
        row = json.loads(line)
        example = Example("x:1", prompt=row["prompt"], completion=row["completion"])
        (encoded,) = ExampleEncoder(tokenizer).encode(example)
        fed = PromptEncoder(tokenizer).encode(row["prompt"], Reading()).ids
        assert encoded.ids[: len(fed)] == fed and True not in encoded.is_learned[: len(fed)]
        assert encoded.is_learned[len(fed)] and encoded.ids[-1] == tokenizer.eos_token_id


@pytest.mark.parametrize(
    "at", [3, 10, *(pytest.param(at, marks=pytest.mark.slow) for at in (1, 4, 7))]
)
def test_stopped_and_resumed_equals_uninterrupted(
    at: int,
    trained: tuple[Finetuned, Heard],
    tiny_folder: Path,
    pairs_file: Path,
    tmp_path: Path,
) -> None:
    whole, heard = trained
    asked: dict[str, Any] = {"model": str(tiny_folder), "output": tmp_path / "o", **SMALL}
    first, _ = train(pairs_file, tiny_folder, tmp_path / "o", at, **SMALL)
    assert first.was_stopped and at <= first.steps <= at + 1 and not first.files
    assert not (tmp_path / "o" / "config.json").exists()
    rest = Heard()
    second = finetune(pairs_file, resume=True, listener=rest, **asked)
    assert not second.was_stopped and second.steps == 12
    assert rest.steps[0].step == first.steps + 1
    assert [e.loss for e in rest.steps] == [e.loss for e in heard.steps[first.steps :]]
    assert (second.before, second.after) == (whole.before, whole.after)
    assert second.tokens == whole.tokens
    assert_same_weights(second.folder, whole.folder)
    assert read_report(second.folder).resumed_from == [first.steps]


def test_the_best_is_written_not_the_last(
    tiny_folder: Path, pairs_file: Path, tmp_path: Path
) -> None:
    """A rate that overfits on eight rows: validation falls, then rises."""
    rows = pairs_file.read_text().splitlines(keepends=True)
    few, other = tmp_path / "few.jsonl", tmp_path / "other.jsonl"
    few.write_text("".join(rows[:8]))
    other.write_text("".join(rows[60:80]))
    heard = Heard()
    done = finetune(
        few, model=str(tiny_folder), output=tmp_path / "o", val_data=str(other), listener=heard,
        max_steps=40, batch_size=8, eval_steps=4, learning_rate=0.02, lr_scheduler="constant",
        dropout=0, precision="fp32", early_stopping=0,
    )  # fmt: skip
    losses = {e.step: e.loss for e in heard.evaluations if e.step}
    best = min(losses, key=lambda step: losses[step] or math.inf)
    assert best < 40
    assert done.after.step == best and done.after.loss == losses[best]
    kept = done.folder / "checkpoints"
    assert_same_weights(done.folder, kept / f"checkpoint-{best}")
    assert {path.name for path in kept.glob("checkpoint-*")} == {
        f"checkpoint-{best}", "checkpoint-40",
    }  # fmt: skip


def test_early_stopping(
    tiny_folder: Path, pairs_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After as many evaluations as were asked for, not after those of the default."""
    validate = TokenTrainer.validate

    def rising(self: Any, *args: Any) -> Any:
        loss = 3.0 + abs(self.state.global_step - 4)
        return dataclasses.replace(validate(self, *args), loss=loss)

    monkeypatch.setattr(TokenTrainer, "validate", rising)
    done = finetune(
        pairs_file, model=str(tiny_folder), output=tmp_path / "o", max_steps=50, batch_size=4,
        eval_steps=2, learning_rate=1e-3, early_stopping=2, precision="fp32",
    )  # fmt: skip
    assert (done.steps, done.after.step, done.was_stopped) == (8, 4, False)


@pytest.mark.parametrize("method", ["lora", "dora"])
def test_adapters(method: str, tiny_folder: Path, pairs_file: Path, tmp_path: Path) -> None:
    done = finetune(
        pairs_file, model=str(tiny_folder), output=tmp_path / "o", **{method: True}, **SMALL
    )
    assert (done.folder / "adapter_config.json").is_file()
    assert not (done.folder / "model.safetensors").exists()
    assert done.before.loss is not None and done.after.loss is not None
    assert done.after.loss < done.before.loss
    assert hfgen.load(str(done.folder)).generate("apple", max_new_tokens=2, seed=0).completion
    assert read_report(done.folder).method == method


def test_packed_rows(tiny_folder: Path, pairs_file: Path, tmp_path: Path) -> None:
    done = finetune(
        pairs_file, model=str(tiny_folder), output=tmp_path / "o", packing=True, max_length=64,
        **(SMALL | {"batch_size": 1}),
    )  # fmt: skip
    assert done.plan.batches == "packed" and done.plan.train_rows < 40
    assert done.before.loss is not None and done.after.loss is not None
    assert done.after.loss < done.before.loss


def test_few_rows_are_all_trained_on(tiny_folder: Path, tmp_path: Path) -> None:
    data = tmp_path / "few.jsonl"
    data.write_text('{"text": "one apple"}\n{"text": "two apples"}\n')
    heard = Heard()
    done = finetune(
        data, model=str(tiny_folder), output=tmp_path / "o", max_steps=4, eval_steps=2,
        listener=heard,
    )  # fmt: skip
    assert any("no validation" in notice for notice in heard.notices)
    assert done.after.loss is None and done.after.samples
    assert [e.step for e in heard.evaluations] == [0, 2, 4]
    assert read_report(done.folder).data.no_validation


def test_instructions_bring_their_template(tiny_folder: Path, tmp_path: Path) -> None:
    data = tmp_path / "chat.jsonl"
    rows = [{"instruction": f"Say {n}", "output": f"{n}!"} for n in range(4)]
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    done = finetune(data, model=str(tiny_folder), output=tmp_path / "o", max_steps=1)
    lm = hfgen.load(str(done.folder))
    assert lm.is_chat and "### Instruction" in lm.tokenizer.chat_template
    assert done.after.samples[0].prompt == "Say 0"


def test_what_is_there_is_not_overwritten(
    trained: tuple[Finetuned, Heard], tiny_folder: Path, pairs_file: Path
) -> None:
    before = (trained[0].folder / "model.safetensors").read_bytes()
    with pytest.raises(OutputExists):
        finetune(pairs_file, model=str(tiny_folder), output=trained[0].folder, **SMALL)
    assert (trained[0].folder / "model.safetensors").read_bytes() == before


def test_overwriting_with_an_adapter_leaves_no_old_model(
    tiny_folder: Path, pairs_file: Path, tmp_path: Path
) -> None:
    asked: dict[str, Any] = {"model": str(tiny_folder), "output": tmp_path / "o", "batch_size": 2}
    finetune(pairs_file, max_steps=2, **asked)
    finetune(pairs_file, max_steps=1, lora=True, overwrite=True, **asked)
    names = {path.name for path in (tmp_path / "o").iterdir()}
    assert "adapter_model.safetensors" in names
    assert not names & {"model.safetensors", "config.json"}
    assert [p.name for p in (tmp_path / "o/checkpoints").glob("checkpoint-*")] == ["checkpoint-1"]


def test_resuming_another_run_is_refused(
    tiny_folder: Path, pairs_file: Path, tmp_path: Path
) -> None:
    asked: dict[str, Any] = {"model": str(tiny_folder), "output": tmp_path / "o"}
    train(pairs_file, tiny_folder, tmp_path / "o", 1, **SMALL)
    with pytest.raises(OptionConflict, match=r"learning_rate 0\.003, now it is 0\.1"):
        finetune(pairs_file, resume=True, **asked, **(SMALL | {"learning_rate": 0.1}))
    other = tmp_path / "other.jsonl"
    other.write_text(pairs_file.read_text().replace("apple", "pear"))
    with pytest.raises(OptionConflict, match="other data"):
        finetune(other, resume=True, **asked, **SMALL)


def test_a_loss_that_is_no_number_ends_the_run(
    tiny_folder: Path, pairs_file: Path, tmp_path: Path
) -> None:
    from hfgen.training.loop.callbacks import LossDiverged

    broken = tmp_path / "broken"
    shutil.copytree(tiny_folder, broken)
    weights = load_file(broken / "model.safetensors")
    weights["transformer.ln_f.weight"][3] = float("inf")
    save_file(weights, broken / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(LossDiverged, match="step 1") as caught:
        finetune(pairs_file, model=str(broken), output=tmp_path / "o", val_split=0.0, **SMALL)
    assert "a lower learning_rate" in (caught.value.hint or "")


def test_out_of_memory_names_what_helps(
    tiny_folder: Path, pairs_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from hfgen.training.loop.measured import MeasuredTrainer

    def fail(*args: Any, **settings: Any) -> Any:
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate")

    monkeypatch.setattr(MeasuredTrainer, "training_step", fail)
    with pytest.raises(OutOfMemory) as caught:
        finetune(pairs_file, model=str(tiny_folder), output=tmp_path / "o", **SMALL)
    assert 'batch_size="auto"' in (caught.value.hint or "")
    assert "lora=True" in (caught.value.hint or "")


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"max_length": 4096}, InvalidOption, "max_length"),
        ({"learning_rate": -1}, InvalidOption, "learning_rate"),
        ({"nonsense": 1}, UsageError, "nonsense"),
        ({"push_to_hub": True}, UsageError, "uploads nothing"),
        ({"optim": "adamw_best"}, InvalidOption, "optim"),
        ({"prompt_column": "nothing"}, DataError, "nothing"),
        ({"lora": True, "lora_target": "wte"}, UsageError, "embedding"),
        ({"precision": "fp16"}, UsageError, "fp16"),
        ({"dora": True, "qlora": True}, OptionConflict, "contradict"),
        ({"lora_r": 4}, OptionConflict, "lora_r"),
    ],
)
def test_wrong_settings(
    settings: dict[str, Any],
    error: type[Exception],
    message: str,
    tiny_folder: Path,
    pairs_file: Path,
    tmp_path: Path,
) -> None:
    with pytest.raises(error, match=message):
        finetune(pairs_file, model=str(tiny_folder), output=tmp_path / "o", **settings)
    assert not (tmp_path / "o").exists() or not list((tmp_path / "o").glob("*.safetensors"))


def test_packing_a_model_that_would_leak_is_refused(
    pairs_file: Path, tmp_path: Path, model_of: Any, tiny_folder: Path
) -> None:
    folder = tmp_path / "bloom"
    model_of("bloom").save_pretrained(folder)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (folder / name).write_bytes((tiny_folder / name).read_bytes())
    with pytest.raises(ModelUnsupported, match="packed row"):
        finetune(pairs_file, model=str(folder), output=tmp_path / "o", packing=True)
    assert rehearsed(pairs_file, folder).plan.batches == "padded"


def test_a_full_disk_is_seen_first(
    tiny_folder: Path, pairs_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from types import SimpleNamespace

    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=1000))
    with pytest.raises(OutputError, match="free"):
        finetune(pairs_file, model=str(tiny_folder), output=tmp_path / "o", **SMALL)
    assert not (tmp_path / "o").exists()


def test_dry_run_writes_nothing(
    tiny_folder: Path, pairs_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    told = rehearsed(pairs_file, tiny_folder, epochs=2, batch_size=4)
    assert list(tmp_path.iterdir()) == []
    assert told.output == Path("tiny-finetuned")
    assert told.plan.steps == 2 * math.ceil(told.plan.train_rows / 4)
    assert told.summary.rows == 120 and told.cost.seconds is not None
    assert told.cost.memory_bytes > 0 and told.cost.disk_bytes > 0
    assert "".join(text for text, _ in told.examples[0]).startswith("apple apple:")
    assert [is_learned for _, is_learned in told.examples[0]] == [False, True]


def test_a_run_in_bf16_writes_what_it_trained(
    tiny_folder: Path, pairs_file: Path, tmp_path: Path
) -> None:
    """The training's autocast is not part of the model."""
    settings = SMALL | {"precision": "bf16", "max_steps": 4}
    done = finetune(pairs_file, model=str(tiny_folder), output=tmp_path / "o", **settings)
    assert (done.folder / "model.safetensors").is_file()
    assert load_file(done.folder / "model.safetensors")["transformer.wte.weight"].dtype == (
        torch.float32
    )


def test_qlora_tells_how_good_it_is_on_the_base_itself(
    tiny_folder: Path, pairs_file: Path, tmp_path: Path
) -> None:
    pytest.importorskip("bitsandbytes")
    heard = Heard()
    done = finetune(
        pairs_file, model=str(tiny_folder), output=tmp_path / "o", qlora=True, listener=heard,
        **SMALL,
    )  # fmt: skip
    (note,) = [text for text in heard.notices if "base in 4 bits" in text]
    assert note in read_report(done.folder).notes
    told = float(re.search(r"loss is ([\d.]+)", note)[1])  # type: ignore[index]
    assert done.after.loss is not None
    assert told == pytest.approx(done.after.loss, rel=0.05) and told != done.after.loss


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"optim": "galore_adamw"}, "missing|refuses"),
        ({"report_to": "nobody"}, "nobody"),
        ({"report_to": "wandb"}, "wandb"),
        ({"adam_beta1": "much"}, "adam_beta1.*a number from 0"),
        ({"dataloader_prefetch_factor": 2}, "refuses"),
        ({"train_sampling_strategy": "group_by_length"}, "packed"),
        ({"eval_delay": 100}, "use eval_steps"),
        ({"dataloader_persistent_workers": True}, "resumed run"),
    ],
)
def test_what_transformers_refuses_is_told_before_anything_is_computed(
    settings: dict[str, Any], message: str, tiny_folder: Path, pairs_file: Path, tmp_path: Path
) -> None:
    heard = Heard()
    with pytest.raises(UsageError, match=message):
        finetune(
            pairs_file, model=str(tiny_folder), output=tmp_path / "o", listener=heard, **settings
        )
    assert not heard.evaluations


def test_a_model_that_cannot_be_decoded_is_trained(
    tiny_folder: Path, pairs_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from hfgen.training.loop.samples import Sampler

    def fail(*args: Any) -> Any:
        raise IndexError("no cache of that kind")

    monkeypatch.setattr(Sampler, "_generate", fail)
    heard = Heard()
    done = finetune(
        pairs_file, model=str(tiny_folder), output=tmp_path / "o", listener=heard, **SMALL
    )
    assert heard.notices.count("no samples: no cache of that kind") >= 1
    assert done.after.samples == () and done.after.loss is not None


def test_a_constant_rate_rises_where_warmup_is_asked_for(
    tiny_folder: Path, pairs_file: Path, tmp_path: Path
) -> None:
    heard = Heard()
    asked = SMALL | {"lr_scheduler": "constant", "max_steps": 4}
    finetune(pairs_file, model=str(tiny_folder), output=tmp_path / "a", listener=heard, **asked)
    assert {event.learning_rate for event in heard.steps} == {3e-3}
    heard = Heard()
    asked |= {"warmup": 3}
    finetune(pairs_file, model=str(tiny_folder), output=tmp_path / "b", listener=heard, **asked)
    rates = [event.learning_rate for event in heard.steps]
    assert rates[0] < rates[1] < rates[2] <= rates[3]


def test_folder_and_command_name_the_model_that_stood_in(
    pairs_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    settings: dict[str, Any] = {"max_steps": 1, "batch_size": 1, "val_split": 0.0}
    asked = f"hfgen finetune {pairs_file} --max-steps 1"
    done = finetune(pairs_file, offline=True, command=asked, **settings)
    assert done.folder == Path("storyteller-finetuned")
    command = read_report(done.folder).command
    assert command == f"hfgen finetune -m storyteller {pairs_file} --max-steps 1"


def test_rows_train_what_their_file_trains(
    trained: tuple[Finetuned, Heard], tiny_folder: Path, pairs_file: Path, tmp_path: Path
) -> None:
    rows = [json.loads(line) for line in pairs_file.read_text().splitlines()]
    done = finetune(iter(rows), model=str(tiny_folder), output=tmp_path / "o", **SMALL)
    assert done.after.loss == trained[0].after.loss
    reports = [read_report(folder) for folder in (done.folder, trained[0].folder)]
    assert reports[0].data.fingerprint == reports[1].data.fingerprint
