"""What a training shows: lines for a log, a drawing on a terminal, nothing that can break it."""

from __future__ import annotations

import fcntl
import math
import os
import pty
import random
import re
import select
import struct
import subprocess
import termios
import time

import pytest
from processes import FAKE_TRAINING, environment, scripted

from hfgen.cli.io.training_display import (
    STOPPING,
    TrainingDisplay,
    figure,
    sample_lines,
    showing_training,
)
from hfgen.cli.program.console import Console
from hfgen.training.events import Evaluation, Sample, Step


def step(number, loss, *, of=10, left=30.0):
    return Step(number, of, 0.1, loss, 1e-4, 1.0, 100, 1234.4, left, 1_900_000_000)


@pytest.fixture
def begin(capfd):
    """Make a display on standard error, which is no terminal; `lines()` is what it wrote since."""
    consoles = []

    def make():
        consoles.append(Console())
        display = TrainingDisplay(consoles[0])
        display.lines = lambda: capfd.readouterr().err.splitlines()
        return display

    yield make
    consoles[0].close()


def test_a_line_for_each_evaluation_and_nothing_for_steps(begin):
    display = begin()
    display.stage("loading …")
    display.evaluation(Evaluation(0, math.log(50), is_best=False))
    for number in range(1, 5):
        display.step(step(number, 5.0 - number))
        display.saved(number)
    assert display.lines() == ["step 0  validation 3.912 (perplexity 50.00)"]
    display.evaluation(Evaluation(4, 2.0, is_best=True))
    display.step(step(5, 7.0, left=400))
    display.evaluation(Evaluation(5, 3.0, is_best=False))
    assert display.lines() == [
        # The loss is the mean since the last evaluation: (4 + 3 + 2 + 1) / 4.
        "step 4/10  loss 2.500  validation 2.000 (perplexity 7.39, best)"
        "  1,234 tokens/s  30 s left",
        "step 5/10  loss 7.000  validation 3.000 (perplexity 20.09)"
        "  1,234 tokens/s  7 minutes left",
    ]
    assert display.last_saved == 4


def test_without_validation_and_at_the_end(begin):
    display = begin()
    display.step(step(9, 1.5))
    # The library tells of an evaluation without validation before it tells of its step.
    display.evaluation(Evaluation(10, None, is_best=False))
    assert display.lines() == ["step 10/10  loss 1.500  1,234 tokens/s"]


def test_without_validation_there_is_no_line_before_training(begin):
    display = begin()
    display.evaluation(Evaluation(0, None, is_best=False))
    assert display.lines() == []


def test_accuracy_stands_beside_perplexity(begin):
    display = begin()
    display.step(step(1, 2.0))
    display.evaluation(Evaluation(1, 1.0, is_best=True, accuracy=0.9375))
    (line,) = display.lines()
    assert "validation 1.000 (perplexity 2.72, accuracy 93.8%, best)" in line


def test_notices_are_told_once(begin):
    display = begin()
    for text in ("one", "two", "one"):
        display.notice(text)
    assert display.lines() == ["notice: one", "notice: two"]


def test_quiet_is_silent(begin):
    display = begin()
    display.console.configure(quiet=True)
    display.notice("one")
    display.step(step(1, 1.0))
    display.evaluation(Evaluation(1, 1.0, is_best=True))
    display.stopping()
    assert display.lines() == []


def test_it_knows_whether_steps_are_being_done(begin):
    display = begin()
    assert not display.is_training
    display.stage("loading …")
    assert not display.is_training
    display.evaluation(Evaluation(0, 1.0, is_best=False))
    assert display.is_training
    display.step(step(10, 1.0))
    assert display.is_training
    display.stage("writing …")
    assert not display.is_training


@pytest.mark.parametrize(
    ("value", "shown"),
    [(1.0, "1.00"), (11.023, "11.02"), (999.9, "999.90"), (1234.5, "1,234"), (29_104.0, "29,100"),
     (1.2345e9, "1,234,000,000"), (math.nan, "nan"), (math.inf, "over 1,000,000,000,000")],
)  # fmt: skip
def test_perplexities_have_the_digits_that_say_something(value, shown):
    assert figure(value) == shown


def test_a_sample():
    sample = Sample("Q: two?\nA:", " 2\n\n  \x1b[2Jand that\nis\nall", "eos")
    assert sample_lines(sample, width=80) == [
        "    Q: two? A:", "  → 2", "    ␛[2Jand that", "    is …",
    ]  # fmt: skip
    assert sample_lines(Sample("", "cut off", "length"), width=80) == ["", "  → cut off …"]
    assert sample_lines(Sample("a", "", "eos"), width=80) == ["    a", "  → "]
    assert (
        sample_lines(Sample("x" * 50 + "end", "y", "eos"), width=20)[0] == "  … " + "x" * 12 + "end"
    )


def test_any_sample_takes_few_lines_without_control_characters():
    rng = random.Random(0)
    alphabet = "ab \n\t\r\x00\x1b\x7f\x9b\u2028é你😀\ud800"
    for _ in range(500):
        prompt, completion = (
            "".join(rng.choices(alphabet, k=rng.choice([0, 1, 5, 50, 500]))) for _ in range(2)
        )
        width = rng.choice([10, 40, 80])
        lines = sample_lines(Sample(prompt, completion, rng.choice(["eos", "length"])), width=width)
        assert 2 <= len(lines) <= 4
        for line in lines:
            assert line.isprintable() or "\ud800" in line, line
        assert len(lines[0]) <= max(12, width)


# On a terminal


def run_on_terminal(*arguments, columns=80, until=b"", send=b"", **env):
    """Run the scripted training on a terminal; all that it was sent, and the exit status."""
    leader, follower = pty.openpty()
    os.set_blocking(leader, False)
    fcntl.ioctl(follower, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
    kept = {name: value for name, value in environment(env).items() if name != "COLUMNS"}
    process = subprocess.Popen(
        [*scripted(FAKE_TRAINING), "finetune", "x.jsonl", *arguments],
        stdin=follower, stdout=follower, stderr=follower, env=kept | {"TERM": "xterm-256color"},
        start_new_session=True, preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
    )  # fmt: skip
    os.close(follower)
    seen, end = b"", time.monotonic() + 30
    while time.monotonic() < end:
        if select.select([leader], [], [], 0.1)[0]:
            try:
                seen += os.read(leader, 65536)
            except OSError:
                break
        if send and until in seen:
            os.write(leader, send)
            send = b""
    os.close(leader)
    return seen.decode(), process.wait(timeout=20)


def plain(text):
    """What is left of terminal output without its sequences."""
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]|\r", "", text)


def test_a_terminal_shows_bar_figures_and_lasting_lines():
    seen, code = run_on_terminal(FAKE_STEPS="8", FAKE_EVERY="4", FAKE_DELAY="0.3", FAKE_NOISE="1")
    text = plain(seen)
    assert code == 0
    assert "━" in text and " left" in text
    assert "1,234 tokens/s  1.9 GB" in text
    assert "noise" not in text and "warning" not in text
    assert "step 4/8  loss 3.375  validation 2.900 (perplexity 18.17, best)\n" in text
    # Three evaluations of one sample: it is shown once.
    assert text.count("  → 4\n    It is ␛[2Jfour.\n    That is all.\n") == 1
    assert text.endswith('use it:      hfgen generate -m ./gpt2-finetuned "…"\n')
    # The cursor comes back, and the drawing is gone.
    assert seen.count("\x1b[?25l") == seen.count("\x1b[?25h") == 1
    assert "\x1b[2K" in seen[seen.index("step 8/8") :]


def test_the_drawing_knows_the_width_of_the_terminal():
    seen, _ = run_on_terminal(columns=50, FAKE_STEPS="4", FAKE_DELAY="0.4")
    drawn = [plain(line) for line in re.split("[\r\n]", seen) if "━" in line]
    assert drawn
    assert max(map(len, drawn)) <= 50
    assert any(len(line) > 40 for line in drawn)


def test_ctrl_c_is_answered_below_the_bar_and_the_run_stops():
    seen, code = run_on_terminal(
        FAKE_STEPS="50", FAKE_DELAY="0.7", until=b"1/50", send=b"\x03"
    )  # fmt: skip
    text = plain(seen)
    assert code == 130
    assert STOPPING in text
    assert text.endswith(
        "error: interrupted\nhint: resume with: hfgen finetune x.jsonl --resume\n"
    )  # fmt: skip
    assert "model: " not in text


@pytest.mark.parametrize("way", [["--verbose"], []], ids=["verbose", "dumb"])
def test_where_nothing_can_be_drawn_lines_are_written(way):
    term = {} if way else {"TERM": "dumb"}
    leader, follower = pty.openpty()
    done = subprocess.run(
        [*scripted(FAKE_TRAINING), "finetune", "x.jsonl", *way],
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=follower,
        env=environment({"TERM": "xterm", "FAKE_DELAY": "0.3"} | term), timeout=60,
    )  # fmt: skip
    os.close(follower)
    seen = os.read(leader, 65536).decode()
    os.close(leader)
    assert done.returncode == 0
    assert "━" not in seen
    assert "step 2/4  loss 3.250  validation 2.900 (perplexity 18.17, best)" in plain(seen)


def test_a_terminal_that_goes_away_does_not_end_the_training(monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    leader, follower = pty.openpty()
    saved = os.dup(2)
    os.dup2(follower, 2)
    os.close(follower)
    try:
        console = Console()
        console.configure()
        with showing_training(console) as display:
            display.step(step(1, 1.0))
            os.close(leader)
            display.step(step(2, 1.0))
            display.notice("nobody reads this")
            display.evaluation(Evaluation(2, 1.0, True, (Sample("a", "b", "eos"),)))
        console.close()
    finally:
        os.dup2(saved, 2)
        os.close(saved)
