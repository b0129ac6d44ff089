"""`hfgen chat` on a terminal, as a user sees it."""

from __future__ import annotations

import json
import os
import re
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from processes import environment
from terminal import Terminal

import hfgen

SAID = [
    "What is a fox?", "And a vixen? 🦊", "Why?", "Tell me of the king.", "Of the queen.",
    "Of the bird.", "Of the sea.", "Of the moon.", "Of the wood.", "Good night.",
]  # fmt: skip


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return tmp_path / "data"


@pytest.fixture
def begin(hfgen_program: str, data: Path, tmp_path: Path) -> Iterator[Any]:
    begun: list[Terminal] = []

    def run(*arguments: str, **env: str) -> Terminal:
        model = [] if "-m" in arguments else ["-m", "storyteller", "--threads", "1"]
        command = [hfgen_program, "chat", *model, *arguments]
        terminal = Terminal(command, environment({"HFGEN_DATA_DIR": str(data), **env}))
        begun.append(terminal)
        terminal.wait_until(lambda: terminal.is_asking, seconds=200)
        return terminal

    yield run
    for terminal in begun:
        terminal.kill()


def messages(data: Path) -> list[dict[str, Any]]:
    (path,) = (data / "chats").glob("*.jsonl")
    row: dict[str, Any] = json.loads(path.read_bytes())
    found: list[dict[str, Any]] = row["messages"]
    return found


def words(text: str) -> list[str]:
    return text.replace(">>>", " ").split()


def test_ten_turns(begin: Any, data: Path, tmp_path: Path) -> None:
    terminal = begin("--seed", "3", "-n", "8")
    assert "storyteller is no chat model" in " ".join(terminal.lines)
    assert "/help lists the commands, Ctrl-D ends" in terminal.text
    for number, text in enumerate(SAID):
        shown = terminal.say(text)
        turns = messages(data)
        assert len(turns) == 2 * number + 2
        assert turns[-2] == {"role": "user", "content": text}
        assert turns[-1]["hfgen"]["seed"] == 3 + number
        for word in words(turns[-1]["content"]):
            assert word in shown, shown
    assert "the answer was cut at 8 tokens" in terminal.text
    # Every message and answer stands on the screen once.
    assert terminal.text.count("Of the moon.") == 1

    # Nothing comes of an empty message.
    assert terminal.say(" ").split() == [">>>", ">>>"]
    assert "there is no command /tokns" in terminal.say("/tokns")
    assert len(messages(data)) == 20
    assert "of 512 tokens" in terminal.say("/tokens")
    assert "→" in terminal.say("/why")
    assert "top_p 3: must be" in terminal.say("/set top_p 3")

    # What was typed comes back, ready to be changed.
    terminal.type("/undo\r")
    terminal.wait_until(lambda: terminal.text.endswith(">>> Good night."))
    terminal.type(" 🦊")
    terminal.say("")
    assert messages(data)[-2]["content"] == "Good night. 🦊"
    first = messages(data)[-1]
    terminal.say("/retry --seed 3")
    assert messages(data)[-1]["hfgen"]["seed"] == 3
    assert "20 messages" in terminal.say("/branch")
    assert first != messages(data)[-1]

    # Several lines, and a command of another program.
    terminal.type('"""\rOne\rTwo\r')
    terminal.say('"""')
    assert messages(data)[-2]["content"] == "One\nTwo"
    terminal.say("!set max_new_tokens 400")
    terminal.say("/set ignore_eos true")

    # Ctrl-C stops an answer and keeps it; what is typed meanwhile is the next message.
    before = len(terminal.raw)
    terminal.type("Tell me all.\r")
    terminal.wait_until(lambda: len(terminal.raw) - before > 1200)
    terminal.type("next\x03")
    terminal.wait_until(lambda: "(stopped; what was said is kept)" in terminal.text)
    terminal.wait_until(lambda: terminal.text.endswith(">>> next"))
    last = messages(data)[-1]
    assert last["hfgen"]["finish_reason"] == "stopped" and len(last["content"]) > 20
    terminal.type("\x15")

    # A file that fills the window: the oldest turns leave.
    file = tmp_path / "a file.txt"
    file.write_text("the king and the golden bird " * 60)
    terminal.say("/set max_new_tokens 8")
    terminal.say(f"/read '{file}' What is it?")
    assert "context window of 512 tokens is full" in " ".join(terminal.text.split())
    assert messages(data)[-2]["content"].endswith("\n\nWhat is it?")
    terminal.type("\x04")
    assert terminal.end() == 0
    assert "hfgen chat -c goes on" in terminal.text


def test_a_conversation_goes_on_and_is_edited(begin: Any, data: Path, tmp_path: Path) -> None:
    (data / "chats").mkdir(parents=True)
    row = {"messages": [{"role": "user", "content": "One"}, {"role": "assistant", "content": "1"}]}
    (data / "chats" / "old.jsonl").write_text(json.dumps(row) + "\n")
    editor = tmp_path / "editor"
    editor.write_text('#!/bin/sh\necho "An answer of mine." > "$1"\n')
    editor.chmod(0o755)
    terminal = begin("-c", "-n", "4", EDITOR=str(editor))
    assert ">>> One\n1\n" in terminal.text
    terminal.say("/edit -1 assistant")
    assert [turn["content"] for turn in messages(data)] == ["One", "An answer of mine."]
    terminal.say("Two")
    terminal.say(f"/save {tmp_path / 'mine.jsonl'}")
    assert len(json.loads((tmp_path / "mine.jsonl").read_text())["messages"]) == 4
    assert "already exists" in " ".join(terminal.say(f"/save {tmp_path / 'mine.jsonl'}").split())
    terminal.say("/system Be brief.")
    assert messages(data)[0] == {"role": "system", "content": "Be brief."}
    terminal.say("/copy")
    assert b"\x1b]52;c;" in terminal.raw
    terminal.say("/clear")
    terminal.say("Three")
    assert len(list((data / "chats").glob("*.jsonl"))) == 2
    assert "earlier messages\n>>> Two\n" in terminal.say("/load old")
    terminal.type("exit\r")
    assert terminal.end() == 0
    history = data / "history" / "storyteller"
    assert "/edit -1 assistant" in history.read_text()
    assert history.stat().st_mode & 0o077 == 0


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_ten_turns_with_a_real_chat_model(begin: Any, data: Path, tmp_path: Path) -> None:
    from tests.models.smollm2 import smollm2_file

    file = str(smollm2_file(tmp_path))
    terminal = begin("--seed", "3", "-n", "10", "-m", file)
    for number, text in enumerate(SAID):
        shown = terminal.say(text)
        turns = messages(data)
        assert len(turns) == 2 * number + 2
        for word in words(re.sub("[*`#]", "", turns[-1]["content"]))[:5]:
            assert word in shown, shown
    terminal.type("\x04")
    assert terminal.end() == 0
    # It is the text of the same conversation anywhere else.
    said = [{"role": turn["role"], "content": turn["content"]} for turn in turns]
    record = hfgen.load(file).generate(said[:-1], seed=3 + 9, max_new_tokens=10)
    assert record.completion == said[-1]["content"]


def test_a_signal_ends_the_dialogue_and_says_what_is_kept(begin: Any, data: Path) -> None:
    terminal = begin("-n", "2")
    terminal.say("Hello")
    os.kill(terminal.pid, signal.SIGTERM)
    assert terminal.end() == 143
    assert "hint: what was said is saved: hfgen chat -c goes on" in terminal.text
    assert len(messages(data)) == 2


def test_a_kill_leaves_the_message_that_was_asked(begin: Any, data: Path) -> None:
    terminal = begin("-n", "400", "--ignore-eos")
    before = len(terminal.raw)
    terminal.type("What is a fox?\r")
    terminal.wait_until(lambda: len(terminal.raw) - before > 400)
    terminal.kill()
    assert messages(data) == [{"role": "user", "content": "What is a fox?"}]
