"""Two programs at once on one output: one of them writes it, the other is refused and changes it
not at all."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest
from processes import environment

import hfgen
from hfgen.cli.io.sinks import open_sink
from hfgen.errors import OutputError, OutputExists
from tests import warm

BUNDLED = str(Path(hfgen.__file__).parent / "models" / "bundled" / "storyteller")


def start(folder, command, *arguments, **streams):
    return subprocess.Popen(
        [warm.program(), command, *arguments],
        cwd=folder,
        env=environment({}),
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        **streams,
    )


def wait_for(path, program):
    while not path.exists():
        assert program.poll() is None, program.communicate()
        time.sleep(0.01)


def prompts_of(path):
    return [json.loads(line)["prompt"] for line in path.read_text().splitlines()]


@pytest.mark.parametrize("mode", [(), ("--overwrite",), ("--resume",)], ids=["", "new", "resume"])
def test_a_second_batch_is_refused_while_the_first_one_runs(tmp_path, mode) -> None:
    out, flags = tmp_path / "out.jsonl", ("-o", "out.jsonl", "-m", BUNDLED, "-n", "2", "-q")
    (tmp_path / "b.jsonl").write_text('"b1"\n"b2"\n')
    # It waits for its first row, long before it opens the file that it will write.
    first = start(tmp_path, "batch", *flags, stdin=subprocess.PIPE)
    wait_for(tmp_path / ".out.jsonl.lock", first)
    second = start(tmp_path, "batch", "b.jsonl", *flags, *mode, stdin=subprocess.DEVNULL)
    _, err = second.communicate(timeout=60)
    assert second.returncode == 1
    assert err.splitlines() == [
        "error: another process is writing out.jsonl",
        "hint: wait for it, or name another file",
    ]
    assert first.communicate('"a1"\n"a2"\n', timeout=120) == ("", "")
    assert first.returncode == 0
    assert prompts_of(out) == ["a1", "a2"]
    assert {path.name for path in tmp_path.iterdir()} == {
        "b.jsonl",
        "out.jsonl",
        "out.jsonl.run.json",
    }


def test_of_two_batches_at_one_moment_one_writes_all_its_rows(tmp_path) -> None:
    for name in "ab":
        (tmp_path / f"{name}.jsonl").write_text("".join(f'"{name}{i}"\n' for i in range(3)))
    flags = ("-o", "out.jsonl", "-m", BUNDLED, "-n", "2", "-q")
    both = [
        start(tmp_path, "batch", f"{name}.jsonl", *flags, stdin=subprocess.DEVNULL) for name in "ab"
    ]
    errors = [program.communicate(timeout=120)[1] for program in both]
    codes = [program.returncode for program in both]
    assert sorted(codes) == [0, 1], errors
    winner = "ab"[codes.index(0)]
    assert prompts_of(tmp_path / "out.jsonl") == [f"{winner}{i}" for i in range(3)]


def test_what_came_into_being_while_the_model_loaded_stays(tmp_path) -> None:
    out = tmp_path / "out.jsonl"
    first = start(
        tmp_path, "batch", "-o", "out.jsonl", "-m", BUNDLED, "-n", "2", stdin=subprocess.PIPE
    )
    wait_for(tmp_path / ".out.jsonl.lock", first)
    out.write_text("somebody's\n")  # by a program that knows no claims
    _, err = first.communicate('"a1"\n', timeout=120)
    assert first.returncode == 1
    assert "out.jsonl has come into being meanwhile" in err
    assert out.read_text() == "somebody's\n"


@pytest.mark.parametrize("command", ["finetune", "pretrain"])
@pytest.mark.parametrize("mode", [(), ("--overwrite",)], ids=["", "overwrite"])
def test_a_second_training_is_refused_before_it_reads_anything(tmp_path, command, mode) -> None:
    (tmp_path / "b.txt").write_text("Once there was a king who had a daughter.\n" * 50)
    flags = ("-o", "deep/out", "-m", BUNDLED)
    # It waits for its data, long before its first checkpoint.
    first = start(tmp_path, command, "-", *flags, stdin=subprocess.PIPE)
    try:
        wait_for(tmp_path / "deep" / "out" / "checkpoints" / ".lock", first)
        second = start(tmp_path, command, "b.txt", *flags, *mode, stdin=subprocess.DEVNULL)
        _, err = second.communicate(timeout=60)
        assert second.returncode == 1
        assert err.startswith("error: another hfgen trains in deep/out\n"), err
    finally:
        first.terminate()
        first.wait()
        first.communicate()
    assert [path.name for path in tmp_path.iterdir()] == ["b.txt"]


@pytest.mark.parametrize("is_overwrite", [False, True])
def test_a_file_of_rows_has_one_writer(tmp_path, is_overwrite) -> None:
    path = tmp_path / "out.jsonl"
    first = open_sink(path, is_document=False, is_overwrite=is_overwrite)
    second = open_sink(path, is_document=False, is_overwrite=True)
    first.write("one\n")
    with pytest.raises(OutputError, match="another process is writing"):
        second.write("two\n")
    first.write("more\n")
    first.close(is_kept=True)
    assert path.read_text() == "one\nmore\n"


def test_a_document_takes_no_name_that_has_come_into_being(tmp_path) -> None:
    path = tmp_path / "out.json"
    sinks = [open_sink(path, is_document=True, is_overwrite=False) for _ in "ab"]
    for text, sink in zip("ab", sinks, strict=True):
        sink.write(text)
    sinks[1].close(is_kept=True)
    with pytest.raises(OutputExists):
        sinks[0].close(is_kept=True)
    assert path.read_text() == "b"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("change", "file"),
    [
        ("from hfgen.models.naming.aliases import set_alias; set_alias(f'{name}-{i}', 'gpt2')",
         "aliases.json"),
        ("from hfgen.cli.program.main import run;"
         "assert run(['config', 'set', f'presets.{name}-{i}.top_k', '5', '-q']) == 0",
         "config.toml"),
    ],
    ids=["aliases", "config"],
)  # fmt: skip
def test_two_programs_that_change_a_file_lose_no_change(tmp_path, change, file) -> None:
    code = f"import sys; name = sys.argv[1]\nfor i in range(20): {change}"
    env = environment({"HFGEN_CONFIG_DIR": str(tmp_path / "config")})
    both = [subprocess.Popen([sys.executable, "-c", code, name], env=env) for name in "ab"]
    assert [program.wait(60) for program in both] == [0, 0]
    text = (tmp_path / "config" / file).read_text()
    assert all(f"{name}-{i}" in text for name in "ab" for i in range(20))
    assert [path.name for path in (tmp_path / "config").iterdir()] == [file]
