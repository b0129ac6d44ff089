"""`pretrain` whole: what it learns, measures and writes; stopped and resumed; what it refuses."""

from __future__ import annotations

import functools
import io
import itertools
import json
import math
import os
import random
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

import hfgen
from hfgen.errors import (
    DataError,
    HfgenError,
    InvalidOption,
    OptionConflict,
    OutOfMemory,
    OutputError,
    OutputExists,
    UnknownOption,
    UsageError,
)
from hfgen.training.checkpoints.checkpoints import find_checkpoints
from hfgen.training.options.pretrain import PretrainOptions, parse_duration
from hfgen.training.planning import cost
from hfgen.training.request import TrainingRequest
from hfgen.training.runs import budget as by_the_clock
from hfgen.training.runs.budget import Speed, steps_within
from hfgen.training.runs.outcome import Pretrained, Rehearsal
from hfgen.training.runs.pretraining import PretrainRun, pretrain
from tests.training.runs import Heard, assert_same_weights, weights
from tests.training.samples import read_report

pytestmark = pytest.mark.usefixtures("no_plot")

WORDS = ("fox", "hen", "king", "river", "stone", "cloud", "bread", "night", "well", "ship")
TINY: dict[str, Any] = {
    "n_layer": 2, "n_embd": 32, "n_head": 2, "n_positions": 64, "vocab_size": 300,
    "max_length": 32,
    "batch_size": 4, "learning_rate": 1e-2, "precision": "fp32", "val_split": 0.1,
    "device": "cpu",
}  # fmt: skip
SHORT: dict[str, Any] = TINY | {"max_steps": 12, "eval_steps": 4, "dropout": 0.1}


def story(number: int) -> str:
    """A text of four sentences, another for each number."""
    drawn = random.Random(number)
    a, b, c = drawn.sample(WORDS, 3)
    lines = [
        f"the {a} met the {b} at the {c} .",
        f"the {b} gave the {a} a {c} .",
        f"then the {c} was gone .",
        f"so the {a} went home {number} times — é 狐 .",
    ]
    return "\n".join(lines)


@pytest.fixture(scope="session")
def stories(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """120 documents in 4 files."""
    folder = tmp_path_factory.mktemp("stories")
    for file in range(4):
        texts = [story(30 * file + n) for n in range(30)]
        (folder / f"{file}_book.txt").write_text("<|endoftext|>".join(texts), encoding="utf-8")
    return folder


def rehearsed(data: Path, *, device: str, **settings: Any) -> Rehearsal:
    request = TrainingRequest(data, PretrainOptions(**settings), device=device)
    return PretrainRun(request).rehearse()


@pytest.fixture(scope="module")
def trained(stories: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Pretrained, Heard]:
    """One uninterrupted run that the tests look at."""
    heard = Heard()
    out = tmp_path_factory.mktemp("runs") / "whole"
    settings = TINY | {"batch_size": 16, "epochs": 3, "eval_steps": 15}
    done = pretrain(stories, output=out, listener=heard, **settings)
    return done, heard


# What comes out


def test_it_learns(trained: tuple[Pretrained, Heard]) -> None:
    done, heard = trained
    assert done.before.loss == pytest.approx(math.log(300), rel=0.05)  # uniform
    assert done.after.loss is not None and done.after.loss < 0.6 * math.log(300)
    assert [event.step for event in heard.steps] == list(range(1, done.plan.steps + 1))
    # What a model writes that has learned nothing is noise.
    assert heard.evaluations[-1].samples and not heard.evaluations[0].samples


def test_every_token_is_learned_once_in_each_epoch(trained: tuple[Pretrained, Heard]) -> None:
    done, heard = trained
    assert done.plan.epochs == 3 and done.plan.steps == 3 * done.plan.steps_per_epoch
    assert done.tokens == 3 * done.plan.train_tokens == heard.steps[-1].tokens


def test_bits_per_byte_are_those_of_the_written_model(
    trained: tuple[Pretrained, Heard], stories: Path
) -> None:
    """By hand, over the rows and the bytes of what was held out."""
    from hfgen.training.corpus.prepare import FOLDER
    from hfgen.training.corpus.store import _load
    from hfgen.training.corpus.token_streams import split_store

    done, heard = trained
    lm = hfgen.load(str(done.folder))
    store = _load(done.folder / "checkpoints" / FOLDER / "tokens")
    held = split_store(store, 0.1, 42).validation
    assert held is not None and 4 <= held.documents <= 24
    ids = held.read(-1, held.tokens + 1)
    nats = 0.0
    for start in range(0, held.tokens, 31):
        row = torch.from_numpy(ids[start : start + 32])
        if len(row) < 32:  # the last row reaches back, and learns what is left
            left = held.tokens - start
            row = torch.from_numpy(ids[-32:])
        else:
            left = 31
        with torch.no_grad():
            scores = lm.model(row[None]).logits[0].double().log_softmax(-1)
        chosen = scores[:-1].gather(1, row[1:, None])[:, 0]
        nats -= float(chosen[-left:].sum())
    texts = lm.tokenizer.decode(ids[1:].tolist()).split("<|endoftext|>")
    text = "".join(texts)
    assert text.encode().decode() and len(text.encode()) == held.bytes
    expected = nats / math.log(2) / len(text.encode())
    assert done.after.bits_per_byte == pytest.approx(expected, rel=1e-5)
    assert done.after.loss == pytest.approx(nats / held.tokens, rel=1e-5)
    assert [e.bits_per_byte for e in heard.evaluations if e.step == done.after.step] == [
        done.after.bits_per_byte
    ]


def test_the_result_is_an_ordinary_model(trained: tuple[Pretrained, Heard]) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    done, _ = trained
    stock = AutoModelForCausalLM.from_pretrained(done.folder)
    tokenizer = AutoTokenizer.from_pretrained(done.folder)
    config = stock.config
    assert (config.n_layer, config.n_embd, config.n_head, config.n_positions) == (2, 32, 2, 64)
    assert config.vocab_size == len(tokenizer) == 300
    assert config.eos_token_id == tokenizer.eos_token_id == 0
    for text in ("the fox", "\x00\r\n é 狐狸 🦊 <|endoftext|>", " " * 9, "\u00a0\ufeff"):
        ids = tokenizer.encode(text, split_special_tokens=True)
        assert tokenizer.decode(ids) == text
    record = hfgen.load(str(done.folder)).generate("the fox", max_new_tokens=8, seed=1)
    assert record.completion
    assert json.loads((done.folder / "tokenizer_config.json").read_text())[
        "tokenizer_class"
    ] == "PreTrainedTokenizerFast"  # fmt: skip


def test_the_report_and_the_card(trained: tuple[Pretrained, Heard]) -> None:
    done, heard = trained
    assert {path for path in done.folder.iterdir() if path.is_file()} == set(done.files)
    assert done.folder / "model.safetensors" in done.files
    report = read_report(done.folder)
    assert report.is_pretrained and report.base.source == "new" and report.method == "full"
    told = [(event.step, event.loss, event.is_best) for event in heard.evaluations]
    assert told == [(e.step, e.loss, e.is_best) for e in (report.before, *report.evaluations)]
    assert (report.before.loss, report.after.loss) == (done.before.loss, done.after.loss)
    assert report.data.rows == 120 and report.data.bytes > 10 * report.data.validation_bytes / 4
    card = (done.folder / "README.md").read_text()
    assert "trained from the beginning with hfgen" in card
    assert f"| after | {done.after.bits_per_byte:.4g} |" in card
    assert "fine-tuned" not in card and "base model" not in card


def test_before_it_begins_it_tells_what_it_takes(trained: tuple[Pretrained, Heard]) -> None:
    told = "\n".join(trained[1].notices)
    parameters = sum(p.numel() for p in hfgen.load(str(trained[0].folder)).model.parameters())
    assert f"{parameters / 1000:.0f}K parameters (2 layers, 32 wide, 2 heads, window 64)" in told
    assert re.search(r"in 1[01]\d documents; .* in \d+ documents for validation", told)
    assert "= 3 epochs" in told and "tokens per parameter" in told
    assert "expected: about " in told and " of memory" in told


# Stopped and resumed


def random_stops() -> list[Any]:
    """Optimizers and steps; the stock optimizer's resumes are quickly tested with `finetune`."""
    drawn = random.Random(5)
    return [
        pytest.param(optim, at, marks=() if (optim, n) == ("muon", 0) else pytest.mark.slow)
        for optim in ("muon", "adamw_torch")
        for n, at in enumerate(drawn.sample(range(1, 19), 4))
    ]


@pytest.fixture(scope="module")
def wholes(stories: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Pretrained]:
    """Uninterrupted runs over the end of an epoch, with dropout, by their optimizer."""
    folder = tmp_path_factory.mktemp("wholes")

    @functools.cache
    def whole(optim: str) -> Pretrained:
        return pretrain(stories, output=folder / optim, optim=optim, **CROSSING)

    return whole


CROSSING: dict[str, Any] = SHORT | {
    "max_steps": 20, "eval_steps": 7, "batch_size": 8, "gradient_accumulation_steps": 2,
}  # fmt: skip


@pytest.mark.parametrize(("optim", "at"), random_stops())
def test_stopped_and_resumed_equals_uninterrupted(
    optim: str, at: int, wholes: Callable[[str], Pretrained], stories: Path, tmp_path: Path
) -> None:
    whole = wholes(optim)
    assert whole.plan.steps_per_epoch < 20
    asked: dict[str, Any] = {"output": tmp_path / "o", "optim": optim, **CROSSING}
    heard = Heard(at)
    first = pretrain(stories, stop=heard.request, listener=heard, **asked)
    assert first.was_stopped and at <= first.steps <= at + 1
    assert not (tmp_path / "o" / "config.json").exists()
    second = pretrain(stories, resume=True, **asked)
    assert not second.was_stopped and second.steps == 20
    assert (second.before, second.after) == (whole.before, whole.after)
    assert second.tokens == whole.tokens
    assert_same_weights(second.folder, whole.folder)
    assert read_report(second.folder).steps[-1].loss == read_report(whole.folder).steps[-1].loss


def stopped(data: Path, folder: Path, **settings: Any) -> dict[str, Any]:
    """Begin a run and stop it; what resumes it."""
    heard = Heard(3)
    asked: dict[str, Any] = {"output": folder, **SHORT, **settings}
    assert pretrain(data, stop=heard.request, listener=heard, **asked).was_stopped
    return asked


def test_resuming_another_run_is_refused_and_nothing_is_lost(stories: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    shutil.copytree(stories, data)
    asked = stopped(data, tmp_path / "o")
    changed = data / "2_book.txt"
    original = changed.read_text()
    changed.write_text(original.replace("fox", "cat"))
    with pytest.raises(OptionConflict, match="other data"):
        pretrain(data, resume=True, **asked)
    with pytest.raises(OptionConflict, match="other data"):
        pretrain(stories / "1_book.txt", resume=True, **asked)
    changed.write_text(original)
    settings: dict[str, Any]
    for settings, message in (
        ({"learning_rate": 0.5}, r"learning_rate 0\.01, now it is 0\.5"),
        ({"n_layer": 3}, "n_layer 2, now it is 3"),
        ({"document_separator": "none"}, "document_separator left out"),
    ):
        with pytest.raises(OptionConflict, match=message):
            pretrain(data, resume=True, **(asked | settings))
    assert pretrain(data, resume=True, **asked).steps == 12


@pytest.mark.slow
def test_standard_input_is_read_once(stories: Path, tmp_path: Path) -> None:
    text = (stories / "0_book.txt").read_bytes() + (stories / "1_book.txt").read_bytes()
    heard = Heard(3)
    asked: dict[str, Any] = {"output": tmp_path / "o", **SHORT, "max_steps": 6, "eval_steps": 6}
    pretrain("-", stdin=io.BytesIO(text), stop=heard.request, listener=heard, **asked)
    done = pretrain("-", resume=True, stdin=io.BytesIO(b""), **asked)
    assert done.steps == 6
    file = tmp_path / "same.txt"
    file.write_bytes(text)
    assert_same_weights(pretrain(file, **(asked | {"output": tmp_path / "p"})).folder, done.folder)


@pytest.mark.slow  # it compiles
def test_a_compiled_model_is_stopped_resumed_and_stock(stories: Path, tmp_path: Path) -> None:
    settings = SHORT | {"n_layer": 1, "torch_compile": True, "max_steps": 8, "dropout": 0.0}
    whole = pretrain(stories, output=tmp_path / "whole", **settings)
    asked = stopped(stories, tmp_path / "o", **settings)
    (checkpoint,) = find_checkpoints(tmp_path / "o" / "checkpoints")
    in_checkpoint = weights(checkpoint).keys()
    resumed = pretrain(stories, resume=True, **asked)
    assert resumed.steps == 8 and resumed.after.samples
    assert resumed.after.loss == pytest.approx(whole.after.loss, rel=1e-5)
    plain = pretrain(stories, output=tmp_path / "p", **(settings | {"torch_compile": False}))
    assert resumed.after.loss == pytest.approx(plain.after.loss, rel=1e-3)
    names = weights(plain.folder).keys()
    assert weights(resumed.folder).keys() == in_checkpoint == names
    assert hfgen.load(str(resumed.folder)).generate("the fox", max_new_tokens=4).completion


# By the clock


def test_a_budget_fixes_the_steps_and_a_resume_keeps_them(
    stories: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    check_budget("1h", Speed(2.0, 5.0, 45.0), stories, tmp_path, monkeypatch)


@pytest.mark.slow  # by the clock
def test_a_measured_budget_fixes_the_steps(
    stories: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    check_budget("20s", None, stories, tmp_path, monkeypatch)


def check_budget(
    budget: str, speed: Speed | None, data: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stop and resume a run by the clock, which is so fast or is measured; compare the whole."""
    if speed is not None:
        monkeypatch.setattr(by_the_clock, "measure", lambda *asked: speed)
        monkeypatch.setattr(by_the_clock, "tokens_within", lambda *asked: 5000.0)
    settings = TINY | {"dropout": 0.1}
    asked: dict[str, Any] = {"output": folder / "o", "budget": budget, **settings}
    heard = Heard(5)
    first = pretrain(data, stop=heard.request, listener=heard, **asked)
    assert first.was_stopped and first.plan.steps > 10
    assert any(f"budget {budget}: {first.plan.steps:,} steps" in line for line in heard.notices)
    kept = json.loads((folder / "o" / "checkpoints" / "run.json").read_text())
    assert kept["plan"]["steps"] == first.plan.steps and kept["options"]["budget"] == budget

    def fail(*arguments: Any) -> Any:
        raise AssertionError("measured again")

    monkeypatch.setattr(by_the_clock, "measure", fail)
    monkeypatch.setattr(by_the_clock, "tokens_within", fail)
    second = pretrain(data, resume=True, **asked)
    assert second.plan == first.plan and second.steps == first.plan.steps
    # Measuring leaves no trace: the same steps without a budget give the same model.
    whole = pretrain(
        data, output=folder / "p", max_steps=first.plan.steps,
        warmup=float(first.plan.warmup_steps) or 0.0, **settings,
    )  # fmt: skip
    assert_same_weights(whole.folder, second.folder)


@pytest.mark.slow
def test_a_budget_is_kept(stories: Path, tmp_path: Path) -> None:
    import time

    begun = time.monotonic()
    pretrain(stories, output=tmp_path / "o", budget="40s", **TINY)
    assert 20 < time.monotonic() - begun < 60


def test_steps_of_a_budget() -> None:
    # 100 s, 1 s for each step, 1 s for a validation every 10 steps, and two besides.
    assert steps_within(Speed(1.0, 1.0, 100), 10) == int(98 / 1.1)
    # Ten validations are the usual number.
    assert steps_within(Speed(1.0, 1.0, 1012), None) == pytest.approx(1000, rel=0.01)
    with pytest.raises(InvalidOption, match="budget"):
        steps_within(Speed(1.0, 2.0, 3), None)


@pytest.mark.slow  # by the clock: a quiet machine
def test_no_time_for_a_step_is_refused(stories: Path, tmp_path: Path) -> None:
    with pytest.raises(InvalidOption, match="budget"):
        pretrain(stories, output=tmp_path / "o", budget="1s", **TINY)


# Text for validation


def test_files_are_held_out_by_name(stories: Path, tmp_path: Path) -> None:
    settings = SHORT | {"val_split": None, "max_steps": 2}
    done = pretrain(stories, output=tmp_path / "o", held_out=("3_*",), **settings)
    data = read_report(done.folder).data
    alone = tmp_path / "train"
    alone.mkdir()
    for number in range(3):
        shutil.copy(stories / f"{number}_book.txt", alone)
    other = pretrain(
        alone, output=tmp_path / "p", val_data=str(stories / "3_book.txt"), **settings
    )  # fmt: skip
    assert data.validation_rows == read_report(other.folder).data.validation_rows == 30
    assert done.after.loss == other.after.loss
    assert_same_weights(done.folder, other.folder)
    tokenizers = [(run.folder / "tokenizer.json").read_bytes() for run in (done, other)]
    assert tokenizers[0] == tokenizers[1]
    with pytest.raises(InvalidOption, match="held_out"):
        pretrain(stories, output=tmp_path / "q", held_out=("9_*",), **settings)
    assert not (tmp_path / "q" / "model.safetensors").exists()


def test_without_validation(stories: Path, tmp_path: Path) -> None:
    heard = Heard()
    settings = SHORT | {"val_split": 0.0, "max_steps": 4, "eval_steps": 2}
    done = pretrain(stories, output=tmp_path / "o", listener=heard, **settings)
    assert done.after.loss is None and done.after.bits_per_byte is None and done.after.samples
    assert [event.step for event in heard.evaluations] == [0, 2, 4]


# Models and tokenizers


def test_going_on_with_a_model(
    trained: tuple[Pretrained, Heard], stories: Path, tmp_path: Path
) -> None:
    base, heard = trained[0], Heard()
    settings: dict[str, Any] = {
        "max_steps": 6, "eval_steps": 3, "batch_size": 4, "precision": "fp32", "val_split": 0.1,
        "learning_rate": 1e-3, "max_length": 32, "device": "cpu",
    }  # fmt: skip
    done = pretrain(
        stories, model=str(base.folder), output=tmp_path / "o", listener=heard, **settings
    )
    assert base.after.loss is not None and done.before.loss is not None
    # The same text is held out, in the same rows.
    assert done.before.loss == pytest.approx(base.after.loss, abs=1e-5)
    # A base that could still learn much: what made it worse would be seen.
    assert done.after.loss is not None and done.after.loss < done.before.loss
    report = read_report(done.folder)
    assert report.is_pretrained and report.base.source != "new"
    with pytest.raises(OptionConflict, match="n_layer is for a new model"):
        pretrain(stories, model=str(base.folder), output=tmp_path / "p", n_layer=3)


def test_going_on_by_the_defaults_undoes_nothing(tmp_path: Path) -> None:
    """Of its own texts a model has nothing to learn; before, it lost a third of what it knew."""
    lm = hfgen.load("storyteller", device="cpu")
    prompts = ["Once upon a time", "The king", "In the forest", "The old woman", "One day", "A fox"]
    made = [p.record for p in lm.stream(prompts, slots=6, max_new_tokens=250, seed=1) if p.record]
    data, held = tmp_path / "own.txt", tmp_path / "held.txt"
    texts = [record.text for record in made]
    data.write_text("\n\n\n".join(texts[:4]), encoding="utf-8")
    held.write_text("\n\n\n".join(texts[4:]), encoding="utf-8")
    heard = Heard()
    done = pretrain(
        data, model="storyteller", output=tmp_path / "o", val_data=str(held), max_length=128,
        listener=heard, precision="fp32", early_stopping=0, device="cpu",
    )  # fmt: skip
    before, last = done.before.bits_per_byte, heard.evaluations[-1].bits_per_byte
    assert before is not None and last is not None and last < 1.02 * before
    assert done.after.bits_per_byte is not None and done.after.bits_per_byte <= before


def test_characters_are_tokens(stories: Path, tmp_path: Path) -> None:
    settings = SHORT | {"vocab_size": None, "tokenizer": "chars", "max_steps": 2}
    done = pretrain(stories, output=tmp_path / "o", **settings)
    tokenizer = hfgen.load(str(done.folder)).tokenizer
    text = (stories / "0_book.txt").read_text().split("<|endoftext|>")[0]
    assert len(tokenizer.encode(text)) == len(text)


def test_a_tokenizer_of_another_model(
    trained: tuple[Pretrained, Heard], stories: Path, tmp_path: Path
) -> None:
    settings = SHORT | {"vocab_size": None, "tokenizer": str(trained[0].folder), "max_steps": 2}
    done = pretrain(stories, output=tmp_path / "o", **settings)
    ours, theirs = (hfgen.load(str(run.folder)).tokenizer for run in (done, trained[0]))
    assert ours.get_vocab() == theirs.get_vocab()


@pytest.mark.slow
def test_isolated_documents_do_not_see_each_other(stories: Path, tmp_path: Path) -> None:
    settings = SHORT | {"max_steps": 2, "isolate_documents": True}
    done = pretrain(stories, output=tmp_path / "o", **settings)
    together = pretrain(stories, output=tmp_path / "p", **(settings | {"isolate_documents": False}))
    assert done.before.loss != together.before.loss


# What is refused


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda folder: None, "no data files in this folder"),
        (lambda folder: (folder / "a.txt").write_text(""), "no text"),
        (lambda folder: (folder / "a.txt").write_bytes(b"\0\1\2" * 99), "binary data"),
        (lambda folder: (folder / "a.txt").write_bytes(b"caf\xe9 " * 99), "not valid UTF-8"),
        (lambda folder: (folder / "a.txt").write_text("abcd"), "vocabulary"),
    ],
)
def test_bad_data(make: Any, message: str, tmp_path: Path) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    make(folder)
    with pytest.raises(DataError, match=message) as caught:
        pretrain(folder, output=tmp_path / "o", **SHORT)
    assert caught.value.hint
    assert not (tmp_path / "o").exists() or not list((tmp_path / "o").rglob("*.safetensors"))


def test_binary_among_text_is_left_out_on_request(stories: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    shutil.copytree(stories, data)
    (data / "9_image.txt").write_bytes(bytes(range(256)) * 40)
    with pytest.raises(DataError, match=r"9_image\.txt: binary data"):
        pretrain(data, output=tmp_path / "o", **SHORT)
    heard = Heard()
    settings = SHORT | {"on_bad_row": "skip", "max_steps": 2}
    done = pretrain(data, output=tmp_path / "o", listener=heard, **settings)
    assert any("bad documents skipped: 1" in line for line in heard.notices)
    clean = pretrain(stories, output=tmp_path / "p", **(SHORT | {"max_steps": 2}))
    assert_same_weights(done.folder, clean.folder)


def test_a_vocabulary_that_the_data_cannot_fill(stories: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"fill a vocabulary of [\d,]+ tokens") as caught:
        pretrain(stories, output=tmp_path / "o", **(SHORT | {"vocab_size": 50_000}))
    assert caught.value.hint is not None
    reached = int(caught.value.hint.split()[1].strip(",").removeprefix("vocab_size="))
    done = pretrain(
        stories, output=tmp_path / "o", **(SHORT | {"vocab_size": reached, "max_steps": 1})
    )
    assert len(hfgen.load(str(done.folder)).tokenizer) == reached


def test_a_model_too_large_for_memory_is_refused_first(stories: Path, tmp_path: Path) -> None:
    settings = SHORT | {"n_layer": 1000, "n_embd": 32_768, "n_head": 64}
    with pytest.raises(OutOfMemory, match=r"takes at least [\d,.]+ GB") as caught:
        pretrain(stories, output=tmp_path / "o", **settings)
    assert "smaller model" in (caught.value.hint or "") or "size=" in (caught.value.hint or "")
    assert not (tmp_path / "o").exists()


def test_a_full_disk_is_seen_first(
    stories: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=1000))
    heard = Heard()
    with pytest.raises(OutputError, match="free") as caught:
        pretrain(stories, output=tmp_path / "o", listener=heard, **SHORT)
    assert "(size)" in (caught.value.hint or "") and "lora" not in (caught.value.hint or "")
    assert not (tmp_path / "o").exists() and not heard.stages


def test_a_disk_that_fills_while_encoding(
    stories: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from hfgen.training.corpus import store

    def full(*arguments: Any, **settings: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(store.np, "save", full)
    with pytest.raises(OutputError, match="no space left"):
        pretrain(stories, output=tmp_path / "o", **SHORT)
    monkeypatch.undo()
    assert pretrain(stories, output=tmp_path / "o", **(SHORT | {"max_steps": 1})).steps == 1


def test_what_is_there_is_not_overwritten(trained: tuple[Pretrained, Heard], stories: Path) -> None:
    before = (trained[0].folder / "model.safetensors").read_bytes()
    with pytest.raises(OutputExists):
        pretrain(stories, output=trained[0].folder, **SHORT)
    assert (trained[0].folder / "model.safetensors").read_bytes() == before


def test_what_fails_when_it_first_computes_leaves_the_earlier_checkpoints(
    stories: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*arguments: Any) -> None:
        raise ValueError("no such thing")

    settings = SHORT | {"max_steps": 1}
    done = pretrain(stories, output=tmp_path / "o", **settings)
    before = find_checkpoints(done.folder / "checkpoints")
    monkeypatch.setattr(cost, "seconds_of", fails)
    with pytest.raises(ValueError, match="no such thing"):
        pretrain(stories, output=tmp_path / "o", overwrite=True, **settings)
    assert before and find_checkpoints(done.folder / "checkpoints") == before


@pytest.mark.slow
def test_overwriting_uses_the_encoded_text_again(stories: Path, tmp_path: Path) -> None:
    first, second = Heard(), Heard()
    pretrain(stories, output=tmp_path / "o", listener=first, **(SHORT | {"max_steps": 2}))
    again = SHORT | {"max_steps": 1, "n_layer": 1}
    pretrain(stories, output=tmp_path / "o", overwrite=True, listener=second, **again)
    assert any("encoded" in stage for stage in first.stages)
    assert not any("encoded" in stage for stage in second.stages)
    names = {path.name for path in (tmp_path / "o" / "checkpoints").glob("checkpoint-*")}
    assert names == {"checkpoint-1"}


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"size": "huge"}, InvalidOption, "size = 'huge'"),
        ({"n_embd": 30, "n_head": 4}, OptionConflict, "n_embd 30 cannot be divided"),
        ({"vocab_size": 100}, InvalidOption, "vocab_size"),
        ({"vocab_size": 300, "tokenizer": "chars"}, OptionConflict, "tokenizer and vocab_size"),
        ({"budget": "10 parsecs"}, InvalidOption, "budget"),
        ({"budget": "1h", "epochs": 1}, OptionConflict, "budget and epochs"),
        ({"budget": "1h", "max_steps": 1}, OptionConflict, "budget and max_steps"),
        ({"held_out": "a", "val_data": "b"}, OptionConflict, "held_out and val_data"),
        ({"held_out": "a", "val_split": 0.1}, OptionConflict, "held_out and val_split"),
        ({"document_separator": "/(/"}, InvalidOption, "document_separator"),
        ({"min_lr_rate": 0.1, "lr_scheduler": "linear"}, OptionConflict, "min_lr_rate"),
        ({"train_sampling_strategy": "random"}, UsageError, "train_sampling_strategy cannot be"),
        ({"lora": True}, UsageError, "unknown option 'lora'"),
        ({"prompt_column": "x"}, UsageError, "unknown option"),
        ({"max_length": 4096}, InvalidOption, "max_length"),
        ({"optim": "best"}, InvalidOption, "optim"),
        ({"optim": "muon", "fsdp": "full_shard"}, OptionConflict, "fsdp"),
    ],
)
def test_wrong_settings(
    settings: dict[str, Any],
    error: type[HfgenError],
    message: str,
    stories: Path,
    tmp_path: Path,
) -> None:
    with pytest.raises(error, match=message) as caught:
        pretrain(stories, output=tmp_path / "o", **settings)
    # Nothing is near `lora`; the command line adds where the options are listed.
    assert caught.value.hint or isinstance(caught.value, InvalidOption | UnknownOption)
    assert not list((tmp_path / "o").rglob("*.safetensors"))


@pytest.mark.parametrize(
    ("text", "seconds"), [("90m", 5400), ("2h", 7200), ("45s", 45), ("1h30m", 5400), ("0.5h", 1800)]
)
def test_durations(text: str, seconds: float) -> None:
    assert parse_duration("budget", text) == seconds
    assert PretrainOptions(budget=text).budget_s == seconds


@pytest.mark.parametrize("text", ["", "m", "90", "1h90", "-1m", "0s", "1m1h", "inf", "1e3s", "٣m"])
def test_what_is_no_duration(text: str) -> None:
    with pytest.raises(InvalidOption, match="budget"):
        parse_duration("budget", text)


# Schedules


@pytest.mark.parametrize(
    ("settings", "last"),
    [
        pytest.param({}, 0.0, marks=pytest.mark.slow),
        pytest.param({"min_lr_rate": 0.1}, 0.1, marks=pytest.mark.slow),
        pytest.param({"lr_scheduler": "warmup_stable_decay"}, 0.0, marks=pytest.mark.slow),
        ({"lr_scheduler": "warmup_stable_decay", "min_lr_rate": 0.2}, 0.2),
        pytest.param({"lr_scheduler": "constant"}, 1.0, marks=pytest.mark.slow),
    ],
)
def test_where_the_rate_falls_to(
    settings: dict[str, Any], last: float, stories: Path, tmp_path: Path
) -> None:
    heard = Heard()
    asked = SHORT | {"max_steps": 30, "eval_steps": 30, "val_split": 0.0, "warmup": 3}
    pretrain(stories, output=tmp_path / "o", listener=heard, **(asked | settings))
    rates = [event.learning_rate / 1e-2 for event in heard.steps]
    # Transformers' warmup_stable_decay rises from where it falls to, the others from 0.
    first = settings.get("min_lr_rate", 0.0) if "lr_scheduler" in settings else 0.0
    assert rates[:4] == pytest.approx([first + (1 - first) * part / 3 for part in range(4)])
    assert max(rates) == pytest.approx(1)
    # The rate of the last step; that of the one behind it is what the schedule falls to.
    falls = [a - b for a, b in itertools.pairwise(rates[5:])]
    assert all(fall >= -1e-9 for fall in falls)
    assert last - 1e-9 <= rates[-1] <= last + 0.2
    if settings.get("lr_scheduler") == "warmup_stable_decay":
        assert rates[4:23] == pytest.approx([1] * 19)


# Rehearsals


def test_a_dry_run_writes_nothing(
    stories: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    told = rehearsed(stories, epochs=2, **TINY)
    assert list(tmp_path.iterdir()) == []
    assert told.output == Path("gpt2-3m-pretrained")
    assert told.is_new and told.vocab_size == 300 and told.data.rows == 120
    assert told.plan.steps == 2 * math.ceil(told.plan.train_rows / 4)
    assert told.cost.seconds is not None and told.cost.memory_bytes > 0
    assert told.beginnings and all(text.startswith("the ") for text in told.beginnings)


def test_a_dry_run_with_a_budget(stories: Path) -> None:
    told = rehearsed(stories, budget="15s", **TINY)
    assert told.cost.seconds == 15 and told.plan.steps > 1


# Several processes

SCRIPT = """
import json, os, sys
from pathlib import Path
from hfgen.training.runs.pretraining import pretrain
from tests.training.runs import Heard
from tests.training.test_pretraining import TOGETHER

data, folder, rank = sys.argv[1], Path(sys.argv[2]), int(os.environ["RANK"])
found = {}
for optim in ("muon", "adamw_torch"):
    done = pretrain(data, output=folder / optim, optim=optim, batch_size=8, **TOGETHER)
    found[optim] = [done.before.loss, done.after.loss, done.tokens]
asked = TOGETHER | {"dropout": 0.1}
stop = Heard(5)
first = pretrain(data, output=folder / "stopped", batch_size=8, listener=stop, stop=stop.request,
                 **asked)
found["stopped"] = [first.was_stopped, first.steps]
found["resumed"] = pretrain(
    data, output=folder / "stopped", batch_size=8, resume=True, **asked).after.loss
found["whole"] = pretrain(data, output=folder / "whole", batch_size=8, **asked).after.loss
timed = {name: value for name, value in TOGETHER.items() if name != "max_steps"}
done = pretrain(data, output=folder / "budget", batch_size=8, budget="15s", **timed)
found["budget"] = [done.steps, done.plan.steps]
(folder / f"rank{rank}.json").write_text(json.dumps(found))
import torch
torch.distributed.destroy_process_group()
"""
TOGETHER: dict[str, Any] = {
    name: value for name, value in SHORT.items() if name not in ("batch_size", "dropout")
} | {"max_steps": 20, "eval_steps": 7}


@pytest.mark.slow
def test_two_processes_equal_one(stories: Path, tmp_path: Path) -> None:
    """The first encodes, the second waits; the same losses and weights, stopped and resumed too."""
    (tmp_path / "script.py").write_text(SCRIPT)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    launcher = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2"]
    done = subprocess.run(
        [*launcher, "--master_port", str(port), str(tmp_path / "script.py"), str(stories),
         str(tmp_path)],
        env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path.cwd())},
        capture_output=True, text=True, timeout=280,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    ranks = [json.loads((tmp_path / f"rank{rank}.json").read_text()) for rank in range(2)]
    assert ranks[0] == ranks[1]
    for optim in ("muon", "adamw_torch"):
        one = pretrain(
            stories, output=tmp_path / f"{optim}1", optim=optim, batch_size=16, **TOGETHER
        )
        assert one.plan.steps_per_epoch < 20
        expected = [one.before.loss, one.after.loss, one.tokens]
        # Muon rounds to 16 bits: small differences grow.
        assert ranks[0][optim] == pytest.approx(expected, abs=1e-3)
        losses = [
            [step.loss for step in read_report(folder).steps]
            for folder in (one.folder, tmp_path / optim)
        ]
        assert losses[0][:4] == pytest.approx(losses[1][:4], abs=1e-4)
        assert losses[0] == pytest.approx(losses[1], abs=1e-3)
        ours, theirs = weights(one.folder), weights(tmp_path / optim)
        for name, weight in ours.items():
            assert torch.allclose(weight, theirs[name], atol=5e-3), name
    was_stopped, at = ranks[0]["stopped"]
    assert was_stopped and 5 <= at <= 6
    assert ranks[0]["resumed"] == ranks[0]["whole"]
    assert_same_weights(tmp_path / "stopped", tmp_path / "whole")
    assert ranks[0]["budget"][0] == ranks[0]["budget"][1] > 1
