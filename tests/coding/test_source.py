"""Files as they are read, places in them, and what becomes of them."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hfgen.coding.edit import check_in_place, diff, write_in_place
from hfgen.coding.source import Source, gap_of, read_source
from hfgen.errors import DataError, OutputError, UsageError


def source(text, name="a.py"):
    return Source.of(name, text.encode())


def test_without_a_place_the_end_is_completed():
    gap = gap_of(source("a = 1\nb"))
    assert (gap.before, gap.after, gap.line, gap.column) == ("a = 1\nb", "", 2, 2)
    assert gap.seen() == ("a = 1\nb", "")
    assert gap_of(source("")).seen() == ("", "")


@pytest.mark.parametrize(
    ("line", "column", "before", "after"),
    [
        (1, 1, "", "ab\ncd\n"),
        (1, 2, "a", "b\ncd\n"),
        (1, 3, "ab", "\ncd\n"),
        (1, None, "ab", "\ncd\n"),
        (2, None, "ab\ncd", "\n"),
        (3, None, "ab\ncd\n", ""),
    ],
)
def test_line_and_column(line, column, before, after):
    for newline in ("\n", "\r\n"):
        gap = gap_of(source("ab\ncd\n".replace("\n", newline)), line=line, column=column)
        assert gap.before == before.replace("\n", newline)
        assert gap.after == after.replace("\n", newline)
        assert (gap.line, gap.column) == (line, column or len(before.rpartition("\n")[2]) + 1)
        # What the model sees: nothing but blanks is no suffix.
        assert gap.seen() == (before, after if after.strip() else "")


def test_a_marker_is_replaced():
    gap = gap_of(source("x = <FILL>\ny\n"))
    assert (gap.before, gap.after) == ("x = ", "\ny\n")
    assert gap.completed("1") == "x = 1\ny\n"
    gap = gap_of(source("x = <FILL> # HERE\n"), marker="# HERE")
    assert (gap.before, gap.after) == ("x = <FILL> ", "\n")
    gap = gap_of(source("<FILL> <FILL>\n"), line=1, column=1)
    assert gap.after == "<FILL> <FILL>\n"


@pytest.mark.parametrize(
    ("place", "message", "hint"),
    [
        ({"line": 4}, "a.py has no line 4", "it has 3"),
        ({"line": 1, "column": 9}, "line 1 of a.py has no column 9", "from 1 to 7"),
        ({"column": 1}, "column needs a line", "line=1"),
        ({"marker": "?"}, "a.py has no ?", "write it where"),
        ({"marker": ""}, "a.py has no empty marker", "write it where"),
        ({}, "a.py has <FILL> in 2 places", "leave one of them"),
    ],
)
def test_places_that_are_not_there(place, message, hint):
    with pytest.raises(UsageError) as caught:
        gap_of(source("<FILL>\n<FILL>\n"), **place)
    assert message in caught.value.message
    assert hint in caught.value.hint


def test_line_ends_and_byte_order_mark_are_kept():
    data = "\ufeffa = 1\r\nb = \r\n".encode()
    gap = gap_of(Source.of("a.py", data), line=2)
    assert gap.seen() == ("a = 1\nb = ", "")
    assert gap.inserted("(\n2)") == "(\r\n2)"
    assert gap.inserted("(\r\n2)") == "(\r\n2)"
    assert gap.completed("(\n2)") == "a = 1\r\nb = (\r\n2)\r\n"
    assert gap.source.byte_order_mark == "\ufeff"
    # A file of both kinds is left as it is.
    mixed = gap_of(source("a\r\nb\n"))
    assert mixed.seen() == ("a\r\nb\n", "")
    assert mixed.completed("c\n") == "a\r\nb\nc\n"


@given(st.text("ab \n\r\ufeff<", max_size=30), st.text("xy\n", max_size=10), st.data())
def test_nothing_else_changes(text, completion, data):
    given_source = source(text)
    at = data.draw(st.integers(0, len(given_source.text)))
    line = given_source.text[:at].count("\n") + 1
    gap = gap_of(given_source, line=line)
    whole = gap.completed(completion)
    assert whole.startswith(gap.before)
    assert whole.endswith(gap.after)
    assert gap.before + gap.after == given_source.text


def test_a_completion_at_the_end_gets_a_line_end():
    assert gap_of(source("x = ")).completed("1") == "x = 1\n"
    assert gap_of(source("x = ")).completed("1\n") == "x = 1\n"
    assert gap_of(source("x")).completed("") == "x"
    assert gap_of(source("x = \ny"), line=1).completed("1") == "x = 1\ny"


def test_files_that_are_no_text(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.bin").write_bytes(b"MZ\0\1")
    (tmp_path / "latin.py").write_bytes("# a\n# é\n".encode("latin-1"))
    (tmp_path / "folder").mkdir()
    for name, message in (
        ("a.bin", "a.bin is a binary file"),
        ("latin.py", "latin.py:2: not valid UTF-8 (byte 0xe9)"),
        ("folder", "folder is a folder"),
        ("none.py", "cannot read none.py: No such file"),
        ("a\0b", "cannot read"),
    ):
        with pytest.raises(DataError) as caught:
            read_source(name)
        assert message in caught.value.message
        assert caught.value.hint


@pytest.mark.skipif(not shutil.which("patch"), reason="patch is not installed")
def test_a_diff_is_what_patch_reads(tmp_path):
    (tmp_path / "a.py").write_text("one\ntwo = <FILL>\nlast")
    gap = gap_of(Source.of("a.py", (tmp_path / "a.py").read_bytes()))
    lines = "".join(diff(gap, "(\n  2)"))
    assert lines.startswith(
        "--- a/a.py\n+++ b/a.py\n@@ -1,3 +1,4 @@\n one\n-two = <FILL>\n+two = (\n"
    )
    assert lines.endswith(" last\n\\ No newline at end of file\n")
    done = subprocess.run(["patch", "-p1"], input=lines, text=True, cwd=tmp_path, check=False,
                          capture_output=True)  # fmt: skip
    assert done.returncode == 0, done.stdout
    assert (tmp_path / "a.py").read_text() == gap.completed("(\n  2)")


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "a.sh"
    path.write_bytes(b"\xef\xbb\xbff() {\r\n")
    path.chmod(0o750)
    return path


def test_in_place(file):
    gap = gap_of(read_source(str(file)))
    check_in_place(gap.source, has_backup=True)
    backup = write_in_place(gap, "  x\n}", has_backup=True)
    assert file.read_bytes() == b"\xef\xbb\xbff() {\r\n  x\r\n}\r\n"
    assert backup == file.with_name("a.sh~")
    assert backup.read_bytes() == gap.source.data
    for path in (file, backup):
        assert stat.S_IMODE(path.stat().st_mode) == 0o750
    assert {path.name for path in file.parent.iterdir()} == {"a.sh", "a.sh~"}


def test_in_place_through_a_link(file, tmp_path):
    link = tmp_path / "link.sh"
    link.symlink_to(file)
    gap = gap_of(read_source(str(link)))
    assert write_in_place(gap, "}", has_backup=False) is None
    assert link.is_symlink()
    assert file.read_bytes().endswith(b"{\r\n}\r\n")


def test_a_file_that_has_changed_is_left_alone(file):
    gap = gap_of(read_source(str(file)))
    file.write_text("new")
    with pytest.raises(OutputError, match="has changed meanwhile"):
        write_in_place(gap, "}", has_backup=True)
    assert file.read_text() == "new"
    assert not file.with_name("a.sh~").exists()


def test_a_backup_replaces_no_link(file, tmp_path):
    (tmp_path / "other").write_text("mine")
    file.with_name("a.sh~").symlink_to(tmp_path / "other")
    with pytest.raises(OutputError, match="no file that a backup may replace"):
        check_in_place(read_source(str(file)), has_backup=True)
    check_in_place(read_source(str(file)), has_backup=False)


@pytest.mark.skipif(os.getuid() == 0, reason="root may write anywhere")
def test_a_folder_that_cannot_be_written(file):
    file.parent.chmod(0o500)
    try:
        with pytest.raises(OutputError, match="Permission denied"):
            check_in_place(read_source(str(file)), has_backup=True)
    finally:
        file.parent.chmod(0o700)


KILLED = """
import os, signal, sys
from pathlib import Path
from hfgen.coding.edit import write_in_place
from hfgen.coding.source import gap_of, read_source
calls = 0
def dying(function):
    def call(*given, **named):
        global calls
        calls += 1
        if calls == int(sys.argv[2]):
            os.kill(os.getpid(), signal.SIGKILL)
        return function(*given, **named)
    return call
os.fsync, os.open, Path.replace = dying(os.fsync), dying(os.open), dying(Path.replace)
os.chmod = dying(os.chmod)
write_in_place(gap_of(read_source(sys.argv[1])), "}", has_backup=True)
"""


def test_a_kill_at_any_step_leaves_the_old_file_or_the_new_one(file):
    old = file.read_bytes()
    for step in range(1, 20):
        done = subprocess.run([sys.executable, "-c", KILLED, str(file), str(step)], check=False)
        data = file.read_bytes()
        assert data in (old, old + b"}\r\n")
        if data != old:
            assert file.with_name("a.sh~").read_bytes() == old
        if done.returncode == 0:
            break
        file.write_bytes(old)
    assert step > 6
    assert data == old + b"}\r\n"


def test_a_full_disk_leaves_the_file(file, monkeypatch):
    gap = gap_of(read_source(str(file)))
    monkeypatch.setattr("os.fsync", lambda fd: (_ for _ in ()).throw(OSError(28, "No space left")))
    with pytest.raises(OutputError, match="No space left"):
        write_in_place(gap, "}", has_backup=False)
    assert file.read_bytes() == gap.source.data
    assert list(file.parent.iterdir()) == [file]
