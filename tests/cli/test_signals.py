"""Ctrl-C and SIGTERM: what is done is kept, two lines, the promised status."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time

import pytest
from processes import Result, environment, scripted

KINDS = [
    (signal.SIGINT, 130, "interrupted"),
    (signal.SIGTERM, 143, "terminated"),
    (signal.SIGHUP, 143, "terminated"),
]
kinds = pytest.mark.parametrize(("number", "code", "word"), KINDS, ids=lambda v: str(v))


def start(*arguments, stdin=subprocess.DEVNULL, **env):
    return subprocess.Popen(
        [*scripted(), *arguments],
        stdin=stdin,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment({"FAKE_DELAY": "0.3"} | env),
    )


def end(process):
    out, err = process.communicate(timeout=20)
    return Result(process.returncode, out, err)


@kinds
def test_text_so_far_stays_and_its_line_is_ended(number, code, word):
    process = start("generate", "Once")
    seen = b""
    while b" there" not in seen:
        seen += os.read(process.stdout.fileno(), 100)
    process.send_signal(number)
    result = end(process)
    assert result.code == code
    assert "Once there was a fox.\n".startswith((seen.decode() + result.out)[:-1])
    assert result.out.endswith("\n")
    assert re.fullmatch(rf"error: {word}\nhint: --seed \d+ gives this text again\n", result.err), (
        result.err
    )


def test_a_text_that_was_interrupted_comes_again_with_the_same_command():
    for flags in (["--seed", "3"], ["--greedy"]):
        process = start("generate", "Once", *flags)
        assert os.read(process.stdout.fileno(), 100)
        process.send_signal(signal.SIGINT)
        assert end(process).err == (
            "error: interrupted\nhint: the same command gives this text again\n"
        )


@kinds
def test_while_the_model_loads(tmp_path, number, code, word):
    marker = tmp_path / "loading"
    process = start(
        "generate", "Once", "-o", str(tmp_path / "out"),
        FAKE_LOADED=str(marker), FAKE_LOAD_DELAY="10",
    )  # fmt: skip
    while not marker.exists():
        time.sleep(0.02)
    process.send_signal(number)
    end(process).assert_error(code, word, "nothing was written")
    assert list(tmp_path.iterdir()) == [marker]


@kinds
@pytest.mark.parametrize(
    "form", ["jsonl", *(pytest.param(form, marks=pytest.mark.slow) for form in ("text", "json"))]
)
def test_finished_rows_are_kept(tmp_path, number, code, word, form):
    path = tmp_path / "out"
    command = ["generate", "--lines", "--slots", "1", "--format", form, "-o", str(path)]
    process = start(*command, stdin=subprocess.PIPE)
    process.stdin.write(b"a\nb\nlong:c\nd\n")
    process.stdin.close()
    process.stdin = None
    time.sleep(0.3 * 4 * 2 + 1.2)
    process.send_signal(number)
    result = end(process)
    result.assert_error(code, word, f"finished texts kept in {path}: 2")
    text = path.read_text()
    if form == "text":
        assert text == "a there was a fox.\nb there was a fox.\n"
    else:
        rows = json.loads(text) if form == "json" else list(map(json.loads, text.splitlines()))
        assert [row["prompt"] for row in rows] == ["a", "b"]
    assert list(tmp_path.iterdir()) == [path]


def test_interruption_that_a_library_turned_into_its_own_error(tmp_path):
    script = tmp_path / "program.py"
    script.write_text(
        "import os, signal, sys\n"
        "import hfgen.loading\n"
        "from hfgen.cli.program.main import main\n"
        "def load(which):\n"
        "    try:\n"
        "        os.kill(os.getpid(), signal.SIGINT)\n"
        "        import time; time.sleep(5)\n"
        "    except BaseException as error:\n"
        "        raise RuntimeError('could not load') from error\n"
        "hfgen.loading.load_model = load\n"
        "main()\n"
    )
    done = subprocess.run(
        [sys.executable, str(script), "generate", "x"], capture_output=True, timeout=20
    )
    Result(done.returncode, done.stdout, done.stderr).assert_error(130, "interrupted")


def test_ignored_hangup_stays_ignored(tmp_path):
    process = subprocess.Popen(
        ["nohup", *scripted(), "generate", "Once"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment({"FAKE_DELAY": "0.3"}),
    )
    time.sleep(0.6)
    process.send_signal(signal.SIGHUP)
    result = end(process)
    assert (result.code, result.out) == (0, "Once there was a fox.\n")


def test_reading_a_slow_prompt_can_be_interrupted():
    process = start("generate", stdin=subprocess.PIPE)
    time.sleep(0.8)
    process.send_signal(signal.SIGINT)
    time.sleep(0.3)
    result = end(process)
    result.assert_error(130, "interrupted", "nothing was written")


@pytest.mark.parametrize(
    ("number", "status"),
    [(signal.SIGTERM, -signal.SIGTERM), (signal.SIGINT, 0), (signal.SIGHUP, 0)],
)
def test_a_signal_to_a_forked_process_stops_no_training(number, status):
    """Data loaders and compilers are forks: a terminal's Ctrl-C reaches them too."""
    script = f"""
import os, signal, time
from types import SimpleNamespace
from hfgen.cli.program.signals import stopping_on_signals
stop = SimpleNamespace(is_made=False, make=lambda: print("stop", flush=True))
display = SimpleNamespace(is_training=True, stopping=lambda: print("again", flush=True))
for name in ("SIGTERM", "SIGHUP"):
    signal.signal(getattr(signal, name), lambda *_: print("earlier", flush=True))
with stopping_on_signals(stop, display):
    child = os.fork()
    if not child:
        time.sleep(1)
        os._exit(0)
    time.sleep(0.2)
    os.kill(child, {int(number)})
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert (done.stdout, done.stderr) == (f"{status}\n", "")
