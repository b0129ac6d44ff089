"""The installed program with the bundled model: whole runs, as a newcomer makes them."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import time

import pytest
from processes import Result, environment

PROMPT = "Once upon a time"


@pytest.fixture
def storyteller(installed):
    def run(*arguments, **settings):
        return installed("generate", "-m", "storyteller", *arguments, **settings)

    return run


def test_first_run_without_the_hub_uses_the_bundled_model_and_says_so(installed, tmp_path):
    result = installed("generate", PROMPT, "-n", "20", HF_HOME=str(tmp_path))
    assert result.code == 0
    assert result.out.startswith(PROMPT)
    assert len(result.out) > len(PROMPT) + 20
    assert result.err.startswith("notice: gpt2 is not on this machine")
    assert len(result.err.splitlines()) == 1
    assert installed("generate", PROMPT, "-n", "3", "-q", HF_HOME=str(tmp_path)).err == ""


@pytest.mark.slow
def test_text_depends_on_prompt_and_seed_and_not_on_its_neighbours(storyteller):
    alone = storyteller(PROMPT, "--seed", "7", "-n", "30")
    assert (alone.code, alone.err) == (0, "")
    assert storyteller("--seed", "7", "-n", "30", data=PROMPT + "\n").out == alone.out
    others = ["The old king", "A fox", "In a small village by the sea", "Said the wolf", "Snow"]
    for width, place in (("1", 0), ("4", 1), ("16", 4)):
        rows = [*others[:place], PROMPT, *others[place:]]
        result = storyteller(
            "--lines", "--format", "jsonl", "-n", "30", "--seed", str(7 - place), "--slots", width,
            data="\n".join(rows),
        )  # fmt: skip
        records = [json.loads(line) for line in result.out.splitlines()]
        assert [record["prompt"] for record in records] == rows
        assert records[place]["seed"] == 7
        assert records[place]["text"] + "\n" == alone.out, width


def test_record_and_statistics(storyteller):
    result = storyteller(
        PROMPT, "-n", "5", "--greedy", "--format", "json", "--logprobs", "2", "--stats"
    )
    record = json.loads(result.out)
    assert record["model"] == "storyteller"
    assert record["prompt"] == PROMPT
    assert record["completion_tokens"] == len(record["logprobs"]) == 5
    assert record["finish_reason"] == "length"
    assert "".join(token["token"] for token in record["logprobs"]) == record["completion"]
    assert all(len(token["top"]) == 2 for token in record["logprobs"])
    assert [line.split(":")[0] for line in result.err.splitlines()] == [
        "load", "first token", "prefill", "decode", "peak memory",
    ]  # fmt: skip


def test_stop_string_and_file(storyteller, tmp_path):
    path = tmp_path / "story.txt"
    result = storyteller(PROMPT, "--greedy", "-n", "100", "--stop", ",", "-o", str(path))
    assert (result.code, result.out, result.err) == (0, "", "")
    text = path.read_text()
    assert text.startswith(PROMPT)
    assert "," not in text


FAILURES = [
    (["-n", "9999"], 1, "the model's window is", "-n"),
    (["-m", "no/such-model-here"], 1, "no/such-model-here", "-m"),
    (["-m", "/dev/null"], 1, "/dev/null", None),
    (["--device", "cuda:99"], 1, "there is no", "--device"),
    (["-O", "eos_token_id=99999999"], 2, "-O eos_token_id=99999999: must be a token", None),
]


@pytest.mark.parametrize(("flags", "code", "message", "hint"), FAILURES, ids=lambda v: str(v)[:30])
def test_failures_of_the_library(storyteller, flags, code, message, hint):
    storyteller(PROMPT, "-n", "5", *flags).assert_error(code, message, hint)


def test_interruption_while_it_streams(hfgen_program):
    process = subprocess.Popen(
        [hfgen_program, "generate", PROMPT, "-m", "storyteller", "-n", "480", "--ignore-eos"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment({}),
    )
    seen = process.stdout.read1(100)
    time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=30)
    result = Result(process.returncode, seen + out, err)
    assert result.code == 130
    assert result.out.startswith(PROMPT) and result.out.endswith("\n")
    assert re.fullmatch(
        r"error: interrupted\nhint: --seed \d+ gives this text again\n", result.err
    ), result.err


def test_pipe_to_a_reader_that_has_seen_enough(hfgen_program):
    line = f"yes '{PROMPT}' | {hfgen_program} generate -m storyteller --lines -n 10 --format jsonl"
    done = subprocess.run(
        ["bash", "-c", f"{line} | head -2; echo ${{PIPESTATUS[1]}}"],
        capture_output=True, env=environment({}), timeout=60,
    )  # fmt: skip
    *rows, status = done.stdout.decode().splitlines()
    assert [json.loads(row)["index"] for row in rows] == [0, 1]
    assert (status, done.stderr) == ("0", b"")


def test_a_slow_producer_delays_nothing(hfgen_program):
    """The first text is written while the second prompt is still to come."""
    command = [hfgen_program, "generate", "-m", "storyteller", "--lines", "-n", "5"]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, env=environment({})) as process:
        process.stdin.write(b"The king\n")
        process.stdin.flush()
        first = process.stdout.readline()
        process.stdin.write(b"The fox\n")
        process.stdin.close()
        rest = process.stdout.read()
        assert process.wait(timeout=30) == 0
    assert first.startswith(b"The king")
    assert rest.startswith(b"The fox")


def test_an_error_of_one_row_names_it_after_the_rows_before(hfgen_program):
    long = "word " * 700
    done = subprocess.run(
        [hfgen_program, "generate", "-m", "storyteller", "--lines", "-n", "5"],
        input=f"The king\n{long}\nThe fox\n".encode(),
        capture_output=True,
        env=environment({}),
        timeout=60,
    )
    assert done.returncode == 1
    assert done.stdout.startswith(b"The king")
    assert done.stderr.startswith(b"error: prompt 2: the prompt has ")
    assert len(done.stderr.splitlines()) == 2


def test_current_folder_that_was_removed(cold_program, tmp_path):
    script = f"mkdir gone; cd gone; rmdir ../gone; {cold_program} generate -m storyteller x -n 2"
    done = subprocess.run(
        ["bash", "-c", script], capture_output=True, cwd=tmp_path, env=environment({}), timeout=60
    )
    result = Result(done.returncode, done.stdout, done.stderr)
    result.assert_error(1, "the current folder is not there any more", "change to a folder")
