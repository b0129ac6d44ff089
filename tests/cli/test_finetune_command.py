"""`hfgen finetune` whole: streams, status, dry run, JSON, signals; the training is scripted."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from processes import FAKE_TRAINING, Result, environment, run_program, scripted

from hfgen.cli.program.signals import typed_command

RESULT = """\
model:       ./gpt2-finetuned
perplexity:  49.40 → 6.69 (61 validation rows)
trained:     4 steps in 3 minutes
kept:        the last step, the best by validation
clean up:    rm -r ./gpt2-finetuned/checkpoints
use it:      hfgen generate -m ./gpt2-finetuned "…"
"""
PROGRESS = """\
notice: rows recognised as question and answer
step 0  validation 3.900 (perplexity 49.40)
step 2/4  loss 3.250  validation 2.900 (perplexity 18.17, best)  1,234 tokens/s  2 s left
step 4/4  loss 2.250  validation 1.900 (perplexity 6.69, best)  1,234 tokens/s
"""
DRY_RUN = """\
data.jsonl: question and answer, written by the model's chat template

rows:        1,234, skipped 2
tokens:      123,456, learned 45,678
lengths:     median 85, 90% up to 134, 99% up to 300, longest 800
long rows:   12 split into 28 (longer than 512 tokens)
validation:  61 rows, 6,789 tokens

model:       gpt2, 124M parameters
trained:     all of them
steps:       4 (3 epochs of 100)
batches:     8 rows × 2 batches = 16 a step, padded to the longest
rate:        0.0002 after 15 steps of warmup, cosine
precision:   fp32
evaluation:  every 2 steps, with a checkpoint
early stop:  after 3 evaluations no better than the best

memory:      about 1.9 GB
disk:        about 4.1 GB in ./gpt2-finetuned
time:        about 12 minutes

examples, and ⟦what is learned⟧ of them:

── 1 ───────────────────
Q: What is 2 + 2?
A:⟦ 4<|endoftext|>⟧

── 2 ───────────────────
⟦Tom went to the
shop to buy a \x1b[31mred ball.⟧
"""


@pytest.fixture
def fake():
    """Run finetune with the scripted training: `fake("x.jsonl", "--json", FAKE_…=…)`."""

    def run(*arguments, data=None, **env):
        command = [*scripted(FAKE_TRAINING), "finetune"]
        return run_program(command, arguments, data, env)

    return run


def test_a_run_in_a_pipe(fake):
    result = fake("x.jsonl", FAKE_NOISE="1")
    assert (result.code, result.out, result.err) == (0, RESULT, PROGRESS)


def test_quiet_leaves_the_result(fake):
    result = fake("x.jsonl", "-q", FAKE_NOISE="1")
    assert (result.code, result.out, result.err) == (0, RESULT, "")


def test_verbose_shows_what_libraries_say_on_standard_error(fake):
    result = fake("x.jsonl", "-v", FAKE_NOISE="1")
    assert (result.code, result.out) == (0, RESULT)
    for words in ("noise on stdout", "noise on stderr", "noise on fd 1", "noise on fd 2"):
        assert words in result.err


def test_without_validation_and_with_an_adapter(fake):
    result = fake("x.jsonl", "-o", "my model", FAKE_NO_VALIDATION="1", FAKE_METHOD="lora")
    assert result.out == (
        "adapter:     ./my model\ntrained:     4 steps in 3 minutes\n"
        "clean up:    rm -r './my model/checkpoints'\n"
        "use it:      hfgen generate -m './my model' \"…\"\n"
    )
    assert result.err.splitlines()[1:] == [
        "step 2/4  loss 3.250  1,234 tokens/s  2 s left",
        "step 4/4  loss 2.250  1,234 tokens/s",
    ]  # fmt: skip


def test_the_result_as_json(fake):
    result = fake("x.jsonl", "--json", "-o", "/tmp/é")
    found = json.loads(result.out)
    assert result.err == PROGRESS
    assert (found["folder"], found["method"], found["steps"]) == ("/tmp/é", "full", 4)
    assert found["files"] == ["/tmp/é/model.safetensors"]
    assert found["plan"]["learning_rate"] == 2e-4
    assert (found["before"]["loss"], found["after"]["loss"]) == (3.9, 1.9)
    assert found["after"]["perplexity"] == pytest.approx(2.718281828459045**1.9)
    assert found["after"]["samples"][0]["prompt"] == "Q: What is 2 + 2?\nA:"
    assert not found["was_stopped"]


# The dry run


def test_a_dry_run_in_a_pipe(fake):
    result = fake("x.jsonl", "--dry-run", FAKE_NOISE="1")
    assert result.code == 0
    assert result.out.startswith(DRY_RUN)
    # What was recognised is the first line already, and nothing is told twice.
    assert result.err == "notice: the model comes from the cache\nnotice: no GPU: this is slow\n"


def test_notices_of_a_dry_run_that_fails_are_told(fake):
    result = fake("x.jsonl", "--dry-run", FAKE_FAIL="DataError:x.jsonl:3: bad", FAKE_FAIL_AT="1")
    assert result.err.splitlines()[:-1] == [
        "notice: the model comes from the cache",
        "notice: no GPU: this is slow",
        "error: x.jsonl:3: bad",
    ]
    assert (result.code, result.out) == (1, "")


def test_long_examples_show_both_ends(fake):
    last = fake("x.jsonl", "--dry-run").out.split("── 3 ")[1]
    assert "line\n […] \nline\n" in last
    assert last.count("line\n") == 8 + 3
    assert "ask:⟦ word word" in last
    assert "[…]  word" not in last.split("⟦")[0]
    assert last.endswith("word⟧\n")
    assert len(last) < 900


def test_a_dry_run_as_json(fake):
    found = json.loads(fake("x.jsonl", "--dry-run", "--json").out)
    assert (found["model"], found["parameters"]) == ("gpt2", 124439808)
    assert found["output"] == "gpt2-finetuned"
    assert found["summary"]["rows"] == 1234
    assert found["summary"]["percentiles"]["99"] == 300
    assert found["plan"]["steps"] == 4
    assert found["cost"] == {
        "memory_bytes": 1_900_000_000, "disk_bytes": 4_100_000_000, "seconds": 750.0,
    }  # fmt: skip
    assert found["examples"][0] == [
        {"text": "Q: What is 2 + 2?\nA:", "is_learned": False},
        {"text": " 4<|endoftext|>", "is_learned": True},
    ]


def test_json_has_no_nan(fake):
    result = fake("x.jsonl", "--json", FAKE_STEPS="4", FAKE_NAN="1")
    found = json.loads(result.out, parse_constant=lambda word: pytest.fail(word))
    assert found["after"]["loss"] is None


# What the library is called with


def asked_of(fake, tmp_path, *arguments, data=None, **env):
    file = tmp_path / "asked.json"
    result = fake(*arguments, data=data, FAKE_ASKED=str(file), **env)
    assert result.code == 0, result
    return json.loads(file.read_text())


def test_standard_input_is_read_only_where_it_is_named(fake, tmp_path):
    assert asked_of(fake, tmp_path, "-", data="rows\n")["stdin"] == "rows\n"
    assert asked_of(fake, tmp_path, "x", "--val-data", "-", data="rows\n")["stdin"] == "rows\n"
    assert asked_of(fake, tmp_path, "x", data="rows\n")["stdin"] is None


def test_settings_of_environment_and_config_file_apply(fake, tmp_path):
    (tmp_path / "config.toml").write_text("model = 'from-file'\noffline = true\nseed = 5\n")
    config = {"HFGEN_CONFIG_DIR": str(tmp_path)}
    asked = asked_of(fake, tmp_path, "x", **config)
    assert (asked["model"], asked["offline"]) == ("from-file", True)
    assert asked["options"] == {}
    asked = asked_of(fake, tmp_path, "x", HFGEN_MODEL="from-env", HFGEN_DEVICE="cpu", **config)
    assert (asked["model"], asked["device"]) == ("from-env", "cpu")
    assert asked_of(fake, tmp_path, "x", "-m", "flag", **config)["model"] == "flag"
    asked = asked_of(fake, tmp_path, "x", "-m", "flag", "--no-offline", "--dry-run", **config)
    assert (asked["model"], asked["offline"]) == ("flag", False)


def test_the_command_that_repeats_the_run(fake, tmp_path):
    command = ["a b.jsonl", "--lora", "--template", "{q}\n{a}", "-o", "./x"]
    for extra in ("--resume", "--overwrite"):
        asked = asked_of(fake, tmp_path, *command, extra)
        assert asked["command"] == "hfgen finetune 'a b.jsonl' --lora --template '{q}\n{a}' -o ./x"


def test_the_command_that_goes_on(monkeypatch):
    def typed(*arguments):
        monkeypatch.setattr(sys, "argv", ["hfgen", *arguments])
        return typed_command(is_resumed=True)

    assert typed("finetune", "x", "--overwrite") == "hfgen finetune x --resume"
    assert typed("finetune", "x", "--resume", "-q") == "hfgen finetune x -q --resume"
    assert typed("finetune", "--", "-x") == "hfgen finetune --resume -- -x"
    assert typed("finetune", "\udcff") == "hfgen finetune '\\udcff' --resume"


# Errors


@pytest.mark.parametrize(
    ("arguments", "message", "hint"),
    [
        (["x", "--resume", "--overwrite"], "--resume continues a run, --overwrite", "drop one"),
        (["x", "-q", "-v"], "--quiet leaves errors only", "drop one"),
        (["x", "-o", ""], '--output "": must be the name of a folder', "leave --output out"),
        (["x", "-o", "-"], "--output -: must be the name of a folder", "leave --output out"),
        (["x", "--device", "gpu"], "--device gpu: must be auto, cpu", "cuda:0"),
        (["x", "--device", "x"], "--device x: must be auto, cpu", "hfgen finetune --help"),
        (["x", "--template", "{"], "--template {: must be a text with", "hfgen finetune"),
        (["x", "--text-column", "a", "--prompt-column", "b"], "--text-column and --prompt", "one"),
        (["x", "--epochs", "0"], "--epochs 0: must be a number above 0", "hfgen finetune"),
        (["x", "--epoch", "1"], "there is no option --epoch", "--epochs"),
        ([], "missing argument", "hfgen finetune --help"),
    ],
)
def test_usage_errors_are_refused_before_anything_begins(fake, tmp_path, arguments, message, hint):
    marker = tmp_path / "begun"
    fake(*arguments, FAKE_MARKER=str(marker)).assert_error(2, message, hint)
    assert not marker.exists()


@pytest.mark.parametrize(
    ("failure", "message", "hint"),
    [
        ("MemoryError", "not enough memory", "--batch-size auto, --gradient-checkpointing, --lora"),
        ("RuntimeError:CUDA out of memory", "not enough memory", "a smaller --max-length"),
        ("DataError:x.jsonl:3: bad", "x.jsonl:3: bad", ""),
        ("RuntimeError:surprise", "unexpected RuntimeError: surprise", "--debug"),
    ],
)
@pytest.mark.parametrize("form", [(), ("--json",)])
def test_a_failure_in_the_middle_is_two_lines_and_no_result(fake, failure, message, hint, form):
    result = fake("x.jsonl", *form, FAKE_FAIL=failure, FAKE_FAIL_AT="3")
    assert result.err.startswith(PROGRESS[: PROGRESS.index("step 4")])
    result.err = "".join(result.err.splitlines(keepends=True)[-2:])
    result.assert_error(1, message, hint)


def test_a_reader_that_goes_away_and_a_closed_standard_output():
    script = f"{shlex.join(scripted(FAKE_TRAINING))} finetune x.jsonl"
    done = subprocess.run(
        ["bash", "-c", f"set -o pipefail; {script} -q | true"],
        capture_output=True, env=environment({}), timeout=60,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, b"")
    done = subprocess.run(
        ["bash", "-c", f"{script} >&-"], capture_output=True, env=environment({}), timeout=60
    )
    assert done.returncode == 1
    # Before anything is trained.
    assert done.stderr.startswith(b"error: standard output is closed\nhint: ")


# Several processes


def test_only_the_first_process_speaks(fake):
    together = {"WORLD_SIZE": "2", "FAKE_NOISE": "1"}
    assert fake("x.jsonl", RANK="0", **together).out == RESULT
    for arguments, code in (
        (["x.jsonl"], 0), (["x.jsonl", "--json"], 0), (["x.jsonl", "-v"], 0),
        (["x.jsonl", "--dry-run"], 0), (["x.jsonl", "--epochs", "0"], 2), (["--nope"], 2),
    ):  # fmt: skip
        result = fake(*arguments, RANK="1", **together)
        assert (result.code, result.out, result.err) == (code, "", ""), arguments
    failed = fake("x.jsonl", RANK="1", FAKE_FAIL="MemoryError", FAKE_FAIL_AT="1", **together)
    assert (failed.code, failed.out, failed.err) == (1, "", "")


@pytest.mark.parametrize("command", ["finetune", "pretrain"])
def test_a_usage_error_is_told_once(command):
    program = [sys.executable, "-m", "hfgen"]
    results = [
        run_program(program, [command, "--nope"], None, {"RANK": rank, "WORLD_SIZE": "2"})
        for rank in "01"
    ]
    assert [result.code for result in results] == [2, 2]
    assert [bool(result.err) for result in results] == [True, False]


# Signals

KINDS = [
    (signal.SIGINT, 130, "interrupted"),
    (signal.SIGTERM, 143, "terminated"),
    (signal.SIGHUP, 143, "terminated"),
]
kinds = pytest.mark.parametrize(("number", "code", "word"), KINDS, ids=lambda v: str(v))
STOPPING = "notice: stopping after this step; press Ctrl-C again to stop at once\n"


class Running:
    """The scripted training as a process, and how far it is."""

    def __init__(self, folder, *arguments, **env):
        self.marker = folder / "marker"
        self.process = subprocess.Popen(
            [*scripted(FAKE_TRAINING), "finetune", *arguments],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            env=environment({"FAKE_MARKER": str(self.marker)} | env),
        )  # fmt: skip

    def wait_for(self, **values):
        end = time.monotonic() + 30
        while time.monotonic() < end:
            if self.marker.exists() and self.marker.read_text() == json.dumps(values):
                return
            time.sleep(0.01)
        raise AssertionError(f"never {values}")

    def end(self):
        out, err = self.process.communicate(timeout=30)
        return Result(self.process.returncode, out, err)


def last_lines(result):
    """The result with the two last lines of standard error, which are the error."""
    lines = result.err.splitlines(keepends=True)
    return Result(result.code, result.out.encode(), "".join(lines[-2:]).encode())


@kinds
@pytest.mark.parametrize("form", [(), ("--json",)], ids=["text", "json"])
def test_the_first_signal_stops_after_the_step(tmp_path, number, code, word, form):
    running = Running(
        tmp_path, "my data.jsonl", "--overwrite", *form, FAKE_STEPS="50", FAKE_DELAY="0.4"
    )
    running.wait_for(step=1)
    running.process.send_signal(number)
    result = running.end()
    assert json.loads(running.marker.read_text()) == {"stage": "writing"}
    assert result.err.count(STOPPING) == 1
    assert result.err.index(STOPPING) < result.err.index("error: ")
    command = " ".join(["hfgen finetune 'my data.jsonl'", *form, "--resume"])
    assert last_lines(result).err == f"error: {word}\nhint: resume with: {command}\n"
    assert (result.code, result.out) == (code, "")


@kinds
def test_a_second_signal_stops_at_once(tmp_path, number, code, word):
    running = Running(tmp_path, "x.jsonl", FAKE_STEPS="3", FAKE_DELAY="20")
    running.wait_for(stage="loading")
    time.sleep(1.0)  # the first step runs
    running.process.send_signal(number)
    time.sleep(0.3)
    begun = time.monotonic()
    running.process.send_signal(number)
    result = running.end()
    assert time.monotonic() - begun < 5
    assert STOPPING in result.err
    assert (
        last_lines(result).err
        == f"error: {word}\nhint: resume with: hfgen finetune x.jsonl --resume\n"
    )
    assert (result.code, result.out) == (code, "")


@kinds
def test_before_the_first_step_a_signal_ends_the_run_at_once(tmp_path, number, code, word):
    running = Running(tmp_path, "x.jsonl", FAKE_LOAD_DELAY="20")
    running.wait_for(stage="loading")
    time.sleep(0.1)
    begun = time.monotonic()
    running.process.send_signal(number)
    running.end().assert_error(code, word, "nothing was written")
    assert time.monotonic() - begun < 5


def test_while_the_model_is_written_a_signal_ends_the_run_at_once(tmp_path):
    running = Running(tmp_path, "x.jsonl", FAKE_WRITE_DELAY="20")
    running.wait_for(stage="writing")
    time.sleep(0.1)
    running.process.send_signal(signal.SIGINT)
    result = running.end()
    assert STOPPING not in result.err
    last_lines(result).assert_error(130, "interrupted", "resume with: hfgen finetune x.jsonl --res")


def test_a_signal_in_the_last_step_changes_nothing(tmp_path):
    running = Running(tmp_path, "x.jsonl", FAKE_DELAY="1")
    running.wait_for(step=3)
    time.sleep(0.3)
    running.process.send_signal(signal.SIGINT)
    result = running.end()
    assert STOPPING in result.err
    assert (result.code, result.out) == (0, RESULT)
    assert result.err.replace(STOPPING, "") == PROGRESS


@kinds
def test_the_other_processes_finish_the_step_with_the_first(tmp_path, number, code, word):
    run = Running(tmp_path, "x.jsonl", RANK="1", WORLD_SIZE="2", FAKE_STEPS="9", FAKE_DELAY="0.5")
    run.wait_for(step=1)
    run.process.send_signal(number)
    run.wait_for(stage="writing")
    result = run.end()
    assert (result.code, result.out, result.err) == (code, "", "")


def test_a_stop_that_another_process_was_asked_for(tmp_path):
    script = tmp_path / "program.py"
    folder = str(Path(FAKE_TRAINING).parent)
    script.write_text(
        f"import sys; sys.path.insert(0, {folder!r})\n"
        "import fake_training as f\n"
        "def execute(run):\n"
        "    run.request.stop.make()\n"
        "    return f.execute(run)\n"
        "f.FinetuneRun.execute = execute\n"
        "f.main()\n"
    )
    done = subprocess.run(
        [sys.executable, str(script), "finetune", "x.jsonl"],
        capture_output=True, env=environment({"WORLD_SIZE": "2"}), timeout=60,
    )  # fmt: skip
    result = Result(done.returncode, done.stdout, done.stderr)
    last_lines(result).assert_error(143, "terminated", "the same command with --resume")


def test_ignored_hangup_stays_ignored(tmp_path):
    marker = tmp_path / "marker"
    process = subprocess.Popen(
        ["nohup", *scripted(FAKE_TRAINING), "finetune", "x.jsonl"],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        env=environment({"FAKE_DELAY": "0.3", "FAKE_MARKER": str(marker)}),
    )  # fmt: skip
    while not marker.exists() or "step" not in marker.read_text():
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGHUP)
    out, err = process.communicate(timeout=20)
    assert (process.returncode, out.decode(), err.decode()) == (0, RESULT, PROGRESS)
