"""`hfgen pretrain`: its flags reach the library, and a small run whole, in processes of its own."""

from __future__ import annotations

import json
import math
import re
import signal
import subprocess
import sys
import time

import pytest
from processes import Result, environment, run_program

from hfgen.cli.flags.training import PRETRAIN
from hfgen.cli.program.main import run
from hfgen.errors import HfgenError, InvalidOption
from hfgen.training.options.finetune import TrainingOptions
from hfgen.training.options.pretrain import SPECS, PretrainOptions
from hfgen.training.runs.pretraining import PretrainRun

# A valid value of each option of its own, as typed and as PretrainOptions holds it.
VALUES = {
    "size": ("10m", "10m"),
    "n_layer": ("4", 4),
    "n_embd": ("128", 128),
    "n_head": ("4", 4),
    "n_positions": ("256", 256),
    "vocab_size": ("1000", 1000),
    "tokenizer": ("chars", "chars"),
    "text_column": ("body", "body"),
    "document_separator": ("headings", "headings"),
    "max_length": ("64", 64),
    "held_out": ("1_*", ("1_*",)),
    "val_split": ("0.1", 0.1),
    "budget": ("90m", "90m"),
    "lr_scheduler": ("warmup_stable_decay", "warmup_stable_decay"),
    "min_lr_rate": ("0.1", 0.1),
    "optim": ("adamw_torch", "adamw_torch"),
    "weight_decay": ("0", 0.0),
    "dropout": ("0.2", 0.2),
}
SWITCHES = ["isolate_documents"]


@pytest.fixture
def library(monkeypatch):
    """What the library is called with; it then refuses, so that nothing is trained."""
    calls = []

    def execute(run):
        calls.append(vars(run.request))
        raise HfgenError("that is all")

    monkeypatch.setattr(PretrainRun, "execute", execute)
    monkeypatch.setattr("hfgen.cli.program.main._QUIET_LIBRARIES", {})
    return calls


def test_the_tables_above_are_complete():
    shared = {n for n in SPECS if SPECS[n] == TrainingOptions.specs().get(n)}
    assert {*VALUES, *SWITCHES} == set(SPECS) - shared
    # What is shared is the same, and nothing of finetune's own is here.
    assert {"epochs", "seed", "batch_size", "report_to", "early_stopping"} <= shared
    assert not {"lora", "packing", "template", "prompt_column"} & set(SPECS)


@pytest.mark.parametrize("name", VALUES)
def test_option_reaches_the_library_in_every_way(library, tmp_path, name):
    typed, value = VALUES[name]
    flag = "--" + name.replace("_", "-")
    file = tmp_path / "options.toml"
    written = f"'{typed}'" if isinstance(value, str | tuple) else typed
    file.write_text(f"{name} = {written}\n")
    for way in ([flag, typed], ["-O", f"{name}={typed}"], ["--config", str(file)]):
        library.clear()
        assert run(["pretrain", "x.txt", *way]) == 1
        assert library[0]["options"].given() == {name: value}, way


@pytest.mark.parametrize("name", SWITCHES)
def test_switches_reach_the_library(library, name):
    assert run(["pretrain", "x.txt", f"--{name.replace('_', '-')}"]) == 1
    assert library.pop()["options"].given() == {name: True}


def test_other_flags_reach_the_library(library, monkeypatch):
    arguments = ["-m", "org/name", "-o", "out", "--device", "cpu", "--offline", "--resume"]
    assert run(["pretrain", "a", "b", *arguments]) == 1
    call = library.pop()
    assert (call["data"], call["model"], call["output"]) == (["a", "b"], "org/name", "out")
    assert (call["device"], call["offline"], call["resume"]) == ("cpu", True, True)
    # A new model is made unless the command line itself names one.
    monkeypatch.setenv("HFGEN_MODEL", "from-environment")
    assert run(["pretrain", "a", "--overwrite"]) == 1
    call = library.pop()
    assert (call["model"], call["output"], call["overwrite"]) == (None, None, True)
    assert call["options"] == PretrainOptions()


def test_flags_go_before_the_file(tmp_path):
    file = tmp_path / "options.toml"
    file.write_text("epochs = 2\nvocab_size = 500\nadam_beta2 = 0.99\n")
    options, _ = PRETRAIN.read_options({"budget": "1h"}, ["seed=1"], file=str(file))
    # The budget decides what contradicts it in the file.
    assert options.given() == {
        "budget": "1h", "seed": 1, "vocab_size": 500, "arguments": {"adam_beta2": 0.99},
    }  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "message", "hint"),
    [
        (["--budget", "90"], "--budget 90: must be a time, as 90m", ""),
        (["--budget", "1h", "--epochs", "2"], "--budget and --epochs contradict", "leave one"),
        (["--size", "tiny"], "--size tiny: must be 1m, 3m", ""),
        (["--vocab-size", "10"], "--vocab-size 10: must be a whole number from 257", ""),
        (["--n-embd", "30", "--n-head", "4"], "--n-embd 30 cannot be divided", "--n-embd 32"),
        (["--lora"], "there is no option --lora", ""),
        (["-O", "lora=true"], "-O lora=true: unknown option 'lora'", ""),
        (["-O", "num_train_epochs=1"], "num_train_epochs is set by --epochs", "--epochs"),
        (["-O", "adam_beta2=hello"], "-O adam_beta2=hello: must be a number from 0 to", ""),
        (["-O", "adam_epsilon=-1"], "-O adam_epsilon=-1: must be a number from 0", ""),
        (["-O", "modell=x"], "unknown option 'modell'", "hfgen pretrain --help"),
        (["--resume", "--overwrite"], "--resume continues a run", "drop one"),
        (["-o", "-"], "--output -: must be the name of a folder", "./gpt2-SIZE-pretrained"),
        (["--device", "abacus"], "abacus", "hfgen pretrain --help"),
    ],
)
def test_usage_errors_name_what_was_typed(installed, arguments, message, hint):
    result = installed("pretrain", "x.txt", *arguments)
    result.assert_error(2, message, hint)


def test_an_error_of_the_library_names_the_flag(monkeypatch, capfd):
    def execute(run):
        raise InvalidOption("held_out", "9_*", "a pattern that matches some of the data files")

    monkeypatch.setattr(PretrainRun, "execute", execute)
    monkeypatch.setattr("hfgen.cli.program.main._QUIET_LIBRARIES", {})
    assert run(["pretrain", "x", "--held-out", "9_*"]) == 2
    error = capfd.readouterr().err.splitlines()[0]
    assert error == "error: --held-out 9_*: must be a pattern that matches some of the data files"


def test_help_names_every_option_and_loads_nothing(installed):
    out = installed("pretrain", "--help", COLUMNS="200").out
    for name in SPECS:
        assert f"--{name.replace('_', '-')} " in out, name
    panels = re.findall(r"╭─ ([\w ]+) ─", out)
    assert panels == [
        "Arguments", "Options", "New model", "Data", "Training", "Progress", "Model", "Messages",
    ]  # fmt: skip
    assert "1m, 3m, 10m" in out and "default muon" in out
    code = (
        "import sys, hfgen.cli.commands.pretrain;"
        "print([m for m in ('torch', 'transformers', 'numpy') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


# Whole

SMALL = [
    "--n-layer", "1", "--n-embd", "32", "--n-positions", "64", "--vocab-size", "300",
    "--batch-size", "8", "--learning-rate", "0.01", "--precision", "fp32", "--val-split", "0.1",
    "--device", "cpu", "--document-separator", "/\\n\\n/",
]  # fmt: skip


@pytest.fixture(scope="module")
def text(tmp_path_factory):
    """150 short documents in a file."""
    file = tmp_path_factory.mktemp("text") / "stories.txt"
    words = ["fox", "hen", "king", "river", "stone", "cloud", "bread", "night", "well", "ship"]
    texts = [
        f"The {words[n % 10]} met the {words[n // 10 % 10]} at the {words[n * 7 % 10]}, {n} times."
        for n in range(150)
    ]
    file.write_text("\n\n".join(texts), encoding="utf-8")
    return file


def program(hfgen_program, *arguments, data=None, **env):
    return run_program([hfgen_program, "pretrain"], arguments, data, env)


def test_a_run_and_its_model(hfgen_program, installed, text, tmp_path):
    out = tmp_path / "out"
    result = program(
        hfgen_program, str(text), "-o", str(out), "--max-steps", "8", "--eval-steps", "4", *SMALL
    )
    assert result.code == 0, result
    lines = result.out.splitlines()
    assert lines[0] == f"model:       {out}"
    assert re.fullmatch(
        r"bits/byte:   \d\.\d{3} → \d\.\d{3} \([\d,]+ validation tokens\)", lines[1]
    )
    assert lines[2].startswith("trained:     8 steps in ")
    told = result.err.splitlines()
    assert (
        told[0].startswith("notice: the new model: ")
        and "(1 layer, 32 wide, 1 head, window 64), 300 tokens in" in told[0]
    )
    assert re.search(r"text: .* in 1\d\d documents; .* in \d+ documents for validation", told[1])
    assert " epochs, " in told[2] and "tokens per parameter" in told[2]
    assert re.match(r"notice: expected: about .* of memory", told[3])
    assert re.match(r"step 0  validation \d\.\d{3} \(\d\.\d{3} bits per byte\)", told[-3])
    assert "bits per byte, best)" in told[-1]
    record = installed("generate", "-m", str(out), "-n", "8", "--seed", "1", "The fox")
    assert record.code == 0 and record.out.startswith("The fox")
    again = program(hfgen_program, str(text), "-o", str(out), *SMALL)
    again.assert_error(1, f"{out} holds a model already", "--overwrite")


def test_the_result_as_json(hfgen_program, text, tmp_path):
    result = program(
        hfgen_program, "-", "-o", str(tmp_path / "o"), "--max-steps", "2", "--json", "-q", *SMALL,
        data=text.read_text(),
    )  # fmt: skip
    assert (result.code, result.err) == (0, "")
    values = json.loads(result.out)
    assert values["steps"] == 2 and values["plan"]["batches"] == "windows"
    after = values["after"]
    assert after["perplexity"] == pytest.approx(math.exp(after["loss"]))
    assert 0 < after["bits_per_byte"] < after["loss"] / math.log(2)  # a token has several bytes


@pytest.mark.parametrize("form", [(), ("--json",)], ids=["text", "json"])
def test_a_dry_run(hfgen_program, text, tmp_path, form):
    out = tmp_path / "o"
    arguments = [str(text), "-o", str(out), "--epochs", "2", "--dry-run", *form, *SMALL]
    result = program(hfgen_program, *arguments)
    assert (result.code, result.err) == (0, ""), result
    assert not out.exists()
    if form:
        values = json.loads(result.out)
        assert values["is_new"] and values["vocab_size"] == 300
        assert values["data"]["rows"] == 150 and values["cost"]["seconds"] > 0
        return
    assert "documents:   150\n" in result.out
    assert "shape:       1 layer, 32 wide, 1 head, window 64\n" in result.out
    assert "vocabulary:  300 tokens\n" in result.out
    assert re.search(r"^steps: +\d+ \(2 epochs of \d+\)$", result.out, re.M)
    assert "documents begin:\n  The fox met the fox at the fox, 0 times." in result.out


def test_a_signal_stops_and_a_resume_goes_on(hfgen_program, text, tmp_path):
    asked = [
        str(text),
        "-o",
        str(tmp_path / "o"),
        "--max-steps",
        "120",
        "--eval-steps",
        "20",
        *SMALL,
    ]
    whole = [*asked, "-q", "--json"]
    whole[2] = str(tmp_path / "whole")
    expected = json.loads(program(hfgen_program, *whole).out)
    process = subprocess.Popen(
        [hfgen_program, "pretrain", *asked], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, env=environment({}),
    )  # fmt: skip
    checkpoints = tmp_path / "o" / "checkpoints"
    end = time.monotonic() + 120
    while not list(checkpoints.glob("checkpoint-*")) and time.monotonic() < end:
        time.sleep(0.02)
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=120)
    stopped = Result(process.returncode, out, err)
    assert stopped.code == 143 and stopped.out == "", stopped
    assert "error: terminated" in stopped.err
    resumed = program(hfgen_program, *asked, "--resume", "-q", "--json")
    values = json.loads(resumed.out)
    assert values["steps"] == 120 and values["after"] == expected["after"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "no text"),
        (b"\x89PNG\0\0" * 99, "binary data (a zero byte), not text"),
        (b"caf\xe9 " * 99, "not valid UTF-8 (byte 0xe9)"),
    ],
)
def test_bad_data_is_two_lines(hfgen_program, tmp_path, content, message):
    file = tmp_path / "bad.txt"
    file.write_bytes(content)
    result = program(hfgen_program, str(file), "-o", str(tmp_path / "o"), *SMALL)
    result.assert_error(1, message)
    assert not list(tmp_path.rglob("*.safetensors"))


def test_a_model_too_large_is_refused_before_anything_is_imported(cold_program, text, tmp_path):
    begun = time.monotonic()
    result = program(
        cold_program, str(text), "-o", str(tmp_path / "o"), "--n-layer", "1000", "--n-embd",
        "32768", "--n-head", "64",
    )  # fmt: skip
    result.assert_error(1, "parameters takes at least", "--size")
    assert time.monotonic() - begun < 5 and not (tmp_path / "o").exists()
