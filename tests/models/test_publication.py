"""A folder appears whole under its name or not at all, whatever happens on the way."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from hfgen.errors import HfgenError, OutputError, OutputExists, UsageError
from hfgen.models import atomic_folder
from hfgen.models.atomic_folder import check_space, check_target, written_aside


def write(target: Path, text: str, *, overwrite: bool = False) -> None:
    with written_aside(target, overwrite=overwrite) as aside:
        (aside / "config.json").write_text(text)
        (aside / "weights").write_text(text)


def read(target: Path) -> str:
    (text,) = {(target / name).read_text() for name in ("config.json", "weights")}
    return text


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_new_folder(tmp_path: Path) -> None:
    write(tmp_path / "out", "new")
    assert read(tmp_path / "out") == "new"
    assert names(tmp_path) == ["out"]
    (tmp_path / "empty").mkdir()
    write(check_target(tmp_path / "empty", overwrite=False, sources=[]), "new")
    assert read(tmp_path / "empty") == "new"


@pytest.mark.parametrize("has_exchange", [True, False])
def test_a_folder_is_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, has_exchange: bool
) -> None:
    if not has_exchange:
        monkeypatch.setattr(atomic_folder, "_exchange", lambda one, other: False)
    write(tmp_path / "out", "old")
    (tmp_path / "out" / "more.txt").write_text("")
    write(tmp_path / "out", "new", overwrite=True)
    assert read(tmp_path / "out") == "new"
    assert names(tmp_path / "out") == ["config.json", "weights"]
    assert names(tmp_path) == ["out"]


@pytest.mark.skipif(sys.platform != "linux", reason="the disk may not be able to")
def test_two_folders_change_places(tmp_path: Path) -> None:
    write(tmp_path / "one", "1")
    write(tmp_path / "other", "2")
    assert atomic_folder._exchange(tmp_path / "one", tmp_path / "other")
    assert (read(tmp_path / "one"), read(tmp_path / "other")) == ("2", "1")
    assert not atomic_folder._exchange(tmp_path / "one", tmp_path / "none")


@pytest.mark.parametrize("error", [KeyboardInterrupt(), OSError(errno.EIO, "broken")])
def test_a_failure_leaves_what_was_there(tmp_path: Path, error: BaseException) -> None:
    write(tmp_path / "out", "old")
    with (
        pytest.raises((KeyboardInterrupt, OutputError)),
        written_aside(tmp_path / "out", overwrite=True) as aside,
    ):
        (aside / "config.json").write_text("half")
        raise error
    assert read(tmp_path / "out") == "old"
    assert names(tmp_path) == ["out"]


def test_a_folder_that_came_up_meanwhile_stays(tmp_path: Path) -> None:
    with (
        pytest.raises(OutputExists),
        written_aside(tmp_path / "out", overwrite=False) as aside,
    ):
        (aside / "config.json").write_text("mine")
        write(tmp_path / "out", "theirs")
    assert read(tmp_path / "out") == "theirs"
    assert names(tmp_path) == ["out"]


def test_permissions_are_those_of_new_files(tmp_path: Path) -> None:
    with written_aside(tmp_path / "out", overwrite=False) as aside:
        (aside / "weights").touch(mode=0o600)
    plain = tmp_path / "plain"
    plain.touch()
    assert (tmp_path / "out" / "weights").stat().st_mode == plain.stat().st_mode


# What a killed process leaves -------------------------------------------------------------------

_WRITER = """
import sys, time, pathlib
from hfgen.models import atomic_folder
if sys.argv[2] == "two":
    atomic_folder._exchange = lambda one, other: False
target = pathlib.Path(sys.argv[1])
number = 0
print("go", flush=True)
while True:
    number += 1
    with atomic_folder.written_aside(target, overwrite=True) as aside:
        for name in ("config.json", "weights"):
            (aside / name).write_text(str(number))
"""


@pytest.mark.parametrize("steps", ["one", "two"])
def test_killed_at_any_moment(tmp_path: Path, steps: str) -> None:
    target = tmp_path / "out"
    write(target, "0")
    for round_ in range(12):
        writer = subprocess.Popen(
            [sys.executable, "-c", _WRITER, str(target), steps], stdout=subprocess.PIPE, text=True
        )
        assert writer.stdout is not None
        assert writer.stdout.readline() == "go\n"
        if steps == "one" and sys.platform == "linux":
            # The name never stands for nothing, nor for a part.
            for _ in range(300):
                assert target.is_dir()
        time.sleep(0.01 + round_ * 0.003)
        writer.send_signal(signal.SIGKILL)
        writer.wait()
        writer.stdout.close()
        if steps == "one" and sys.platform == "linux":
            assert int(read(target)) >= 0
        check_target(target, overwrite=True, sources=[])
        assert int(read(target)) >= 0
    write(target, "last", overwrite=True)
    assert read(target) == "last"
    assert names(tmp_path) == ["out"]


def test_what_another_process_is_writing_stays(tmp_path: Path) -> None:
    target = tmp_path / "out"
    with written_aside(target, overwrite=True) as aside:
        (aside / "config.json").write_text("mine")
        (aside / "weights").write_text("mine")
        write(target, "theirs", overwrite=True)
        assert aside.is_dir()
    assert read(target) == "mine"
    assert names(tmp_path) == ["out"]


def test_what_is_no_model_by_now_is_not_replaced(tmp_path: Path) -> None:
    target = tmp_path / "out"
    write(target, "old")
    with (
        pytest.raises(OutputExists, match="more than a model"),
        written_aside(target, overwrite=True) as aside,
    ):
        (aside / "config.json").write_text("new")
        (target / "thesis").mkdir()  # since it was checked
    assert read(target) == "old"
    assert names(tmp_path) == ["out"]


# What is refused --------------------------------------------------------------------------------


def expect(kind: type[HfgenError], match: str, target: Path, *sources: Path, **how: bool) -> None:
    with pytest.raises(HfgenError, match=match) as caught:
        check_target(target, overwrite=how.get("overwrite", False), sources=sources)
    assert type(caught.value) is kind and caught.value.hint


def test_what_is_there(tmp_path: Path) -> None:
    write(tmp_path / "model", "x")
    expect(OutputExists, "model already exists", tmp_path / "model")
    check_target(tmp_path / "model", overwrite=True, sources=[])
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "mine.txt").touch()
    expect(OutputExists, "notes already exists", tmp_path / "notes")
    expect(OutputExists, "holds no model", tmp_path / "notes", overwrite=True)
    (tmp_path / "model" / "checkpoints").mkdir()
    expect(OutputExists, "holds more than a model", tmp_path / "model", overwrite=True)
    expect(OutputExists, "is a file", tmp_path / "notes" / "mine.txt", overwrite=True)
    expect(OutputError, "there is no folder", tmp_path / "none" / "out")


def test_the_sources_are_never_replaced(tmp_path: Path) -> None:
    write(tmp_path / "base", "x")
    for target in (tmp_path / "base", tmp_path, tmp_path / "notes" / ".." / "base"):
        expect(UsageError, "holds what is read", target, tmp_path / "base", overwrite=True)
    (tmp_path / "link").symlink_to(tmp_path / "base")
    expect(UsageError, "holds what is read", tmp_path / "link", tmp_path / "base", overwrite=True)
    expect(UsageError, "holds what is read", tmp_path / "base", tmp_path / "link", overwrite=True)
    check_target(tmp_path / "base" / "inside", overwrite=False, sources=[tmp_path / "base"])


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_no_permission(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    try:
        expect(OutputError, "Permission denied", tmp_path / "out")
    finally:
        tmp_path.chmod(0o700)


def test_space(tmp_path: Path) -> None:
    check_space(tmp_path / "out", 1)
    with pytest.raises(OutputError, match="out needs 1000000 GB, but only") as caught:
        check_space(tmp_path / "out", 10**15)
    assert "space" in str(caught.value.hint)


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        RuntimeError("I/O error: No space left on device (os error 28)"),  # safetensors
    ],
)
def test_a_full_disk(tmp_path: Path, error: Exception) -> None:
    with (
        pytest.raises(OutputError, match="no space left to write"),
        written_aside(tmp_path / "out", overwrite=False),
    ):
        raise error
    assert names(tmp_path) == []
