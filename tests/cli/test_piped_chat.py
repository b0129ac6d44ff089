"""`hfgen chat` through pipes, and what is saved of it."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest
from processes import environment

from hfgen.cli.program.main import run

CHAT = ["chat", "-m", "storyteller", "--seed", "3", "-n", "12", "--threads", "1"]


@pytest.fixture(autouse=True)
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HFGEN_DATA_DIR", str(tmp_path / "data"))
    return tmp_path / "data" / "chats"


def saved(data: Path) -> dict:
    (path,) = data.glob("*.jsonl")
    return json.loads(path.read_bytes())


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch, capfd):
    """Run the program in this process: (status, standard output, standard error)."""

    def run_here(*arguments: str, data: str = "") -> tuple[int, str, str]:
        capfd.readouterr()
        stream = io.TextIOWrapper(io.BytesIO(data.encode()))
        monkeypatch.setattr("sys.stdin", stream)
        return run(arguments), *capfd.readouterr()

    return run_here


def test_a_line_in_an_answer_out(installed, here, data: Path) -> None:
    lines = "What is a fox?\n\n  \nAnd a vixen?\n"
    text = installed(*CHAT, data=lines)
    assert text.code == 0
    assert "notice: storyteller is no chat model" in text.err
    assert "notice: empty messages skipped: 2" in text.err
    assert "\x1b" not in text.out + text.err
    messages = saved(data)["messages"]
    assert [turn["role"] for turn in messages] == ["user", "assistant"] * 2
    answers = [turn["content"] for turn in messages[1::2]]
    assert text.out == "".join(f"{answer}\n" for answer in answers)

    # As records, and going on with what was saved.
    code, out, err = here(*CHAT, "-q", "-c", "--format", "jsonl", data="Why?\n")
    assert (code, err) == (0, "")
    (record,) = map(json.loads, out.splitlines())
    assert (record["prompt"], record["seed"]) == ("Why?", 3 + 2)
    now = saved(data)["messages"]
    assert now[:-2] == messages
    assert now[-1]["content"] == record["completion"]

    # One record for the same conversation everywhere.
    rows = data.parent / "in.jsonl"
    asked = [{"role": turn["role"], "content": turn["content"]} for turn in now[:-1]]
    rows.write_text(json.dumps({"messages": asked, "seed": record["seed"]}) + "\n")
    out = data.parent / "out.jsonl"
    command = ["batch", str(rows), "-o", str(out), "-m", "storyteller", "-n", "12", "-q"]
    assert run(command) == 0
    assert json.loads(out.read_text())["completion"] == record["completion"]


def test_a_named_conversation_and_a_file_of_messages_go_on(installed, here, data: Path) -> None:
    file = data.parent.parent / "mine.jsonl"
    row = {"messages": [{"role": "user", "content": "One"}, {"role": "assistant", "content": "1"}]}
    file.write_text(json.dumps(row))
    assert here(*CHAT, "-q", "--load", str(file), data="Two\n")[0] == 0
    assert json.loads(file.read_text()) == row
    found = saved(data)
    assert [turn["content"] for turn in found["messages"]][:3] == ["One", "1", "Two"]
    assert here(*CHAT, "-q", "--load", found["id"][:15], data="Three\n")[0] == 0
    assert len(saved(data)["messages"]) == 6
    listed = installed("chat", "list")
    assert listed.out.split() == [found["id"], "storyteller", "6", "One"]
    (entry,) = json.loads(installed("chat", "list", "--json").out)
    assert (entry["messages"], entry["first"]) == (6, "One")
    assert installed("chat", "show", found["id"]).out.startswith("> One\n\n1\n\n> Two\n\n")
    shown = json.loads(installed("chats", "show", "--json").out)
    assert len(shown["messages"]) == 6
    assert installed("chat", "rm", found["id"]).code == 2
    assert installed("chat", "rm", found["id"], "-y").out == f"removed {found['id']}\n"
    assert list(data.iterdir()) == []
    installed("chat", "show").assert_error(2, "no saved conversation")


def test_nothing_is_saved_where_that_is_not_wanted(here, data: Path) -> None:
    assert here(*CHAT, "-q", "--no-save", data="Hello\n")[0] == 0
    assert not data.exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["-c"], "no saved conversation to continue"),
        (["-c", "--load", "x"], "name two conversations"),
        (["--load", "x"], "no saved conversation x"),
        (["--format", "json"], "--format json: must be text or jsonl"),
        (["--no-markdown"], "--no-markdown has no effect here"),
        (["-O", "num_return_sequences=2"], "num_return_sequences has no meaning here"),
        (["storyteller", "-m", "gpt2"], "the model is given twice"),
        (["--top-p", "3"], "--top-p 3: must be"),
        (["-q", "-v"], "--quiet leaves errors only"),
    ],
)
def test_what_is_refused_before_a_model_loads(refused, arguments, message) -> None:
    refused("chat", *arguments, data="Hello\n").assert_error(2, message)


def test_an_interruption_keeps_what_was_said(hfgen_program, data: Path) -> None:
    command = [hfgen_program, *CHAT[:5], "--ignore-eos", "-n", "400", "--threads", "1"]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        env=environment({"HFGEN_DATA_DIR": os.environ["HFGEN_DATA_DIR"]}),
    ) as process:  # fmt: skip
        assert process.stdin is not None and process.stdout is not None
        process.stdin.write(b"What is a fox?\n")
        process.stdin.flush()
        said = os.read(process.stdout.fileno(), 100)
        # The user's turn is on the disk before the answer begins.
        assert saved(data)["messages"][0]["content"] == "What is a fox?"
        time.sleep(0.1)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate()
    assert process.returncode == 130
    assert err.decode().splitlines()[-2:] == [
        "error: interrupted",
        "hint: what was said is saved: hfgen chat -c goes on",
    ]
    answer = saved(data)["messages"][1]
    text = (said + out).decode().removesuffix("\n")
    assert text.rstrip() and answer["content"].startswith(text.rstrip()[:40])
    assert answer["hfgen"]["finish_reason"] == "stopped"
