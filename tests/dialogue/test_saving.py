"""Conversations on the disk: added turn by turn, torn, killed, on a full disk, and for training."""

from __future__ import annotations

import errno
import json
import os
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hfgen.dialogue import saved, store
from hfgen.dialogue.conversation import Conversation, Message
from hfgen.dialogue.journal import Journal
from hfgen.errors import DataError, OutputError, UsageError

FACTS = {"id": "one", "model": "tiny", "created": "2026-11-28T10:00:00+00:00"}


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HFGEN_DATA_DIR", str(tmp_path))
    return tmp_path / "chats"


@pytest.fixture
def journal(folder: Path) -> Iterator[Journal]:
    journal = Journal(folder / "one.jsonl", FACTS)
    yield journal
    journal.close()


def talk(journal: Journal, conversation: Conversation | None = None) -> Conversation:
    conversation = conversation or Conversation()
    conversation.on_change = lambda: journal.save(conversation)
    return conversation


def user(text: str) -> Message:
    return Message("user", text)


def assistant(text: str, **facts: Any) -> Message:
    return Message("assistant", text, facts)


def test_every_turn_is_on_the_disk_as_it_is_added(journal: Journal) -> None:
    conversation = talk(journal)
    conversation.set_system("Be brief.")
    assert not journal.path.exists()
    for number in range(4):
        for turn in (user(f"Question {number} 🦊\n\u2028"), assistant("Yes.", seed=number)):
            conversation.add(turn)
            held = saved.read(journal.path)
            assert held.conversation.messages == conversation.messages
            assert held.facts == FACTS
            assert not held.is_torn
            (line,) = journal.path.read_bytes().split(b"\n")[:-1]
            assert json.loads(line)["messages"][-1]["content"] == turn.content
    assert stat.S_IMODE(journal.path.stat().st_mode) == 0o600
    assert stat.S_IMODE(journal.path.parent.stat().st_mode) == 0o700


def test_what_is_added_is_all_that_is_written(
    journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    conversation = talk(journal)
    conversation.add(user("word " * 10_000))
    written: list[int] = []
    write = os.write
    monkeypatch.setattr(os, "write", lambda fd, data: written.append(len(data)) or write(fd, data))
    conversation.add(assistant("Yes."))
    assert sum(written) < 100


def test_branches_are_kept(journal: Journal) -> None:
    conversation = talk(journal)
    for turn in (user("One"), assistant("1", seed=1), user("Two"), assistant("2")):
        conversation.add(turn)
    conversation.cut(1)
    conversation.add(assistant("uno"))
    conversation.add(user("Three"))
    held = saved.read(journal.path).conversation
    assert [turn.content for turn in held.messages] == ["One", "uno", "Three"]
    assert [[turn.content for turn in way] for way in held.branches] == [["One", "1", "Two", "2"]]
    assert held.branches[0][1].facts == {"seed": 1}
    conversation.cut(0)
    held = saved.read(journal.path).conversation
    assert (held.messages, len(held.branches)) == ((), 2)
    conversation.add(user("Four"))
    assert saved.read(journal.path).conversation.messages == (user("Four"),)


def test_a_saved_conversation_goes_on_in_its_file(journal: Journal) -> None:
    talk(journal).add(user("One"))
    journal.close()
    held = saved.read(journal.path)
    other = Journal(journal.path, held.facts)
    assert other.resume(held) is None
    with pytest.raises(OutputError, match="open in another chat"):
        Journal(journal.path, FACTS).claim()
    conversation = talk(other, held.conversation)
    conversation.add(assistant("1"))
    other.close()
    with pytest.raises(OutputError, match="changed meanwhile"):
        Journal(journal.path, FACTS).resume(saved.Saved(Conversation([user("One")])))
    assert saved.read(journal.path).conversation.messages == (user("One"), assistant("1"))


def test_a_torn_end_is_left_out_and_kept_aside(folder: Path) -> None:
    conversation = Conversation(
        [Message("system", "S"), user('Öne {["🦊'), assistant("1", seed=3), user("Two")],
        [[user("Zero"), assistant("0")]],
    )
    data = saved.to_bytes(conversation, FACTS)
    folder.mkdir()
    path = folder / "torn.jsonl"
    begin = data.index(b'"messages"') + len('"messages": [')
    for length in range(begin, len(data) - 1):
        path.write_bytes(data[:length])
        held = saved.read(path)
        assert held.is_torn or length == len(data) - 1
        got = held.conversation.messages
        assert got == conversation.messages[: len(got)]
        assert len(got) == sum(data[begin:length].count(end) for end in (b'"}', b"3}}"))
        assert held.conversation.branches == conversation.branches
    journal = Journal(path, held.facts)
    notice = journal.resume(held)
    assert notice is not None and "torn" in notice
    assert path.with_suffix(".torn").read_bytes() == data[:length]
    talk(journal, held.conversation).add(assistant("2"))
    assert saved.read(path).conversation.messages == (*conversation.messages, assistant("2"))
    journal.close()
    for wrong in (b"", b"{}", b'{"messages": 3}', b'{"mess', b"Hello\n", b'[{"messages": []}]'):
        path.write_bytes(wrong)
        with pytest.raises(DataError, match="no saved conversation"):
            saved.read(path)
    path.write_bytes(data + data)
    with pytest.raises(DataError, match="holds 2 conversations"):
        saved.read(path)


@pytest.mark.parametrize("kept", [0, 1, 7, 40])
def test_a_full_disk_spoils_nothing(
    kept: int, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard: list[str] = []
    journal = Journal(folder / "one.jsonl", FACTS, notify=heard.append)
    conversation = talk(journal)
    conversation.add(user("One"))
    before = journal.path.read_bytes()
    write, room = os.write, [kept]

    def full(fd: int, data: Any) -> int:
        if len(data) <= len(saved.END):
            return write(fd, data)  # these bytes are the file's already
        if not (taken := min(room[0], len(data))):
            raise OSError(errno.ENOSPC, "No space left on device")
        room[0] -= taken
        return write(fd, data[:taken])

    monkeypatch.setattr(os, "write", full)
    conversation.add(assistant("A long answer that does not fit on the disk any more."))
    conversation.add(user("Two"))
    assert journal.path.read_bytes() == before
    assert len(heard) == 1 and "No space left" in heard[0]
    room[0] = 10**6
    conversation.add(assistant("2"))
    assert len(heard) == 2 and "saved again" in heard[1]
    assert saved.read(journal.path).conversation.messages == conversation.messages
    journal.close()


KILLED = """
import sys
from pathlib import Path
from hfgen.dialogue.conversation import Conversation, Message
from hfgen.dialogue.journal import Journal
journal = Journal(Path(sys.argv[1]), {"id": "k"})
conversation = Conversation()
conversation.on_change = lambda: journal.save(conversation)
for number in range(100_000):
    conversation.add(Message("user", f"{number} " + "x" * (number * 997 % 20_000)))
    if number % 7 == 0:
        conversation.cut(number // 2)
    print(number, len(conversation.messages), flush=True)
"""


def test_kills_lose_nothing_that_was_said(folder: Path) -> None:
    for delay in (0.0, 0.03, 0.11):
        path = folder / f"killed{delay}.jsonl"
        with subprocess.Popen(
            [sys.executable, "-c", KILLED, str(path)], stdout=subprocess.PIPE, text=True
        ) as process:
            assert process.stdout is not None
            told = [process.stdout.readline() for _ in range(3)]
            time.sleep(delay)
            process.send_signal(signal.SIGKILL)
            told += process.stdout.read().splitlines()
        number, length = map(int, [line for line in told if line.count(" ") == 1][-1].split())
        held = saved.read(path)
        found = {int(turn.content.split()[0]) for turn in held.conversation.messages}
        found |= {int(t.content.split()[0]) for way in held.conversation.branches for t in way}
        assert set(range(number + 1)) <= found
        assert len(held.conversation.messages) >= length - number // 2
        journal = Journal(path, held.facts)
        journal.resume(held)  # the lock of a process that is gone holds nobody up
        journal.close()


def test_training_reads_what_was_saved(journal: Journal) -> None:
    from hfgen.training.data.recognition import recognise
    from hfgen.training.reading.files import read_rows

    conversation = talk(journal)
    conversation.set_system("Be brief.")
    conversation.add(user("One"))
    conversation.add(assistant("1", seed=4, finish_reason="eos"))
    conversation.cut(2)
    conversation.add(assistant("uno", seed=5, thinking="Hm."))
    (row,) = read_rows([journal.path])
    shape = recognise([row])
    (example,) = shape.read(row)
    assert example.messages == (("system", "Be brief."), ("user", "One"), ("assistant", "uno"))


def test_what_is_there(folder: Path) -> None:
    assert list(store.entries()) == []
    with pytest.raises(UsageError, match="no saved conversation to continue"):
        store.newest()
    folder.mkdir()
    for number, name in enumerate(["2026-01-01-a", "2026-01-02-b", "2026-01-02-bc"]):
        path = folder / f"{name}.jsonl"
        path.write_bytes(saved.to_bytes(Conversation([user(name)]), FACTS))
        os.utime(path, (number, number))
    (folder / "broken.jsonl").write_bytes(b"{}")
    os.utime(folder / "broken.jsonl", (9, 9))
    found = list(store.entries())
    assert [entry.first for entry in found[1:]] == ["2026-01-02-bc", "2026-01-02-b", "2026-01-01-a"]
    assert found[0].problem is not None and found[1].model == "tiny"
    assert store.find("2026-01-02-b") == folder / "2026-01-02-b.jsonl"
    assert store.find("2026-01-01") == folder / "2026-01-01-a.jsonl"
    with pytest.raises(UsageError, match="2 conversations begin"):
        store.find("2026-01-02")
    with pytest.raises(UsageError, match="no saved conversation x"):
        store.find("x")
    store.remove(store.find("broken"))
    assert len(list(store.entries())) == 3
    assert store.new_path().parent == folder
