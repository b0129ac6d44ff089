"""README's transcripts are what the program prints.

Character for character, but for those of training: how fast a machine is decides its times, and
its arithmetic the last digits of a loss (see `Shape`).

`HFGEN_TEST_UPDATE_README=1 pytest tests/test_readme.py` writes them anew, for a new bundled model
or a changed message.
"""

from __future__ import annotations

import math
import os
import re
import subprocess
from pathlib import Path

import pytest

from tests import warm

README = Path(__file__).parent.parent / "README.md"
BLOCK = re.compile(r"```console\n(.*?)```\n", re.DOTALL)

FREE = re.compile(
    r"[\d,.]+(?= tokens/s| s\b| minutes?\b|%)|\b\d(\.\d+)?e-\d+\b|^kept: .*", re.MULTILINE
)
MEASURED = re.compile(r"\d+(?:,\d{3})*\.\d+|\d+(?:,\d{3})+|\d+(?= MB of memory)")
# How training goes on after the first step depends on the processor's rounding, and what is best
# with it; a few rows that are learned by heart make the most of it.
LEARNED = re.compile(r"^step [1-9]|→|^notice: expected: ")
NEAR_LEARNED, NEAR = 0.25, 0.01
EVALUATION = re.compile(
    r"^step (\d+)\S* .*?validation ([\d.]+) "
    r"\((?:perplexity )?([\d,.e+]+)( bits per byte)?(, best)?\)",
    re.MULTILINE,
)
SUMMARY = re.compile(r"^(?:perplexity|bits/byte): +([\d,.e+]+) → ([\d,.e+]+)", re.MULTILINE)


def transcripts() -> list[str]:
    blocks = BLOCK.findall(README.read_text(encoding="utf-8"))
    return [block for block in blocks if ".venv" not in block]


def run(block: str, folder: Path) -> str:
    """The block as a terminal would show it: every command and what it prints."""
    (folder / "examples").symlink_to(README.parent / "examples")
    path = os.pathsep.join([str(Path(warm.program()).parent), os.environ["PATH"]])
    settings = {
        "PATH": path, "HF_HOME": str(folder / "hf"), "HFGEN_DATA_DIR": str(folder / "d"),
        "HFGEN_CACHE_DIR": str(folder / "c"),
        "OMP_NUM_THREADS": "1",
    }  # fmt: skip
    shown = ""
    before = ""
    for line in block.splitlines():
        if line.startswith("$ export "):
            before += line[2:] + "\n"
            shown += line + "\n"
        elif line.startswith("$ "):
            done = subprocess.run(
                ["bash", "-c", before + line[2:]],
                cwd=folder,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                env=os.environ | settings,
                check=False,
            )
            shown += f"{line}\n{done.stdout.decode()}"
    return shown


class Shape:
    """A transcript of a training, equal to another one that differs as machines do.

    Times, speeds and rounding errors are free. Numbers with a comma or a point are the same to a
    hundredth, but for those that training has made: they may be off by a quarter, or by a quarter
    of one, and which evaluation was the best is open (`contradictions` looks at those). All else is
    the same, whole numbers included.
    """

    def __init__(self, text: str) -> None:
        text = FREE.sub("…", text.replace(", best)", ")"))
        self.words = MEASURED.sub("#", text)
        self.numbers = [
            (read(number), NEAR_LEARNED if LEARNED.search(line) else NEAR)
            for line in text.splitlines()
            for number in MEASURED.findall(line)
        ]

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, Shape)
            and self.words == other.words
            and all(
                abs(one - two) <= near * max(1, one, two)
                for (one, near), (two, _) in zip(self.numbers, other.numbers, strict=True)
            )
        )

    __hash__ = None  # type: ignore[assignment]


def read(number: str) -> float:
    return float(number.replace(",", ""))


def contradictions(text: str) -> list[str]:
    """What in a transcript of a training cannot be, whatever the machine."""
    found = [
        (line, int(step), float(loss), read(shown), bool(is_bits), bool(is_best))
        for line, (step, loss, shown, is_bits, is_best) in (
            (match[0], match.groups()) for match in EVALUATION.finditer(text)
        )
    ]
    wrong = []
    for number, (line, _, loss, shown, is_bits, is_best) in enumerate(found):
        earlier = [other[2] for other in found[:number]]
        # Bits are in one proportion to the loss; both are printed with three decimals.
        expected = loss * found[0][3] / found[0][2] if is_bits else math.exp(loss)
        if abs(shown - expected) > 0.006 + 0.002 * expected:
            wrong.append(f"{line}: expected {expected}")
        if earlier and loss != min(earlier) and is_best != (loss < min(earlier)):
            wrong.append(f"{line}: the best before it was {min(earlier)}")
    if found and (summary := SUMMARY.search(text)):
        best = min(found, key=lambda evaluation: evaluation[2])
        if [read(summary[1]), read(summary[2])] != [found[0][3], best[3]]:
            wrong.append(f"{summary[0]}: not the first and the best evaluation")
    return wrong


LINE = (
    "step 60/119  loss 0.024  validation 0.026 (perplexity 1,000.5, best)  873 tokens/s  2 s left"
)


@pytest.mark.parametrize(
    ("old", "new", "is_equal"),
    [("873", "1,022", True), ("2 s", "2 minutes", False), ("2 s", "12 s", True),
     (", best", "", True), ("0.026", "0.1", True), ("0.026", "0.4", False), ("60/", "61/", False),
     ("1,000.5", "1,200.1", True), ("1,000.5", "1,400.1", False), ("loss", "los", False),
     ("0.024", "nan", False)],
)  # fmt: skip
def test_shapes(old: str, new: str, is_equal: bool) -> None:
    assert (Shape(LINE) == Shape(LINE.replace(old, new))) is is_equal


@pytest.mark.parametrize("line", ["step 0  validation 10.284 (x)", "notice: text: 3.2 kB"])
def test_what_training_has_not_touched_is_the_same(line: str) -> None:
    for old, new in (("10.284", "10.4"), ("3.2", "3.3")):
        if old in line:
            assert Shape(line) != Shape(line.replace(old, new))


RUN = """\
step 0  validation 2.000 (perplexity 7.39)
step 10/30  loss 1.5  validation 1.000 (perplexity 2.72, best)  9 tokens/s
step 20/30  loss 1.5  validation 1.500 (perplexity 4.48)  9 tokens/s
step 30/30  loss 1.5  validation 0.500 (perplexity 1.65, best)  9 tokens/s
perplexity:  7.39 → 1.65 (16 validation rows)
"""


@pytest.mark.parametrize(
    ("old", "new"),
    [("2.72", "2.82"), ("7.39)", "7.5)"), ("2.72, best", "2.72"), ("4.48", "4.48, best"),
     ("→ 1.65", "→ 2.72"), ("7.39 →", "7.40 →")],
)  # fmt: skip
def test_a_transcript_that_contradicts_itself(old: str, new: str) -> None:
    assert contradictions(RUN) == []
    assert contradictions(RUN.replace(old, new))


@pytest.mark.skipif(bool(os.environ.get("HFGEN_TEST_UPDATE_README")), reason="being rewritten")
@pytest.mark.parametrize("block", transcripts(), ids=lambda block: block.splitlines()[0][2:60])
def test_transcript(block: str, tmp_path: Path) -> None:
    shown = run(block, tmp_path)
    assert contradictions(shown) == []
    if shown != block and ("$ hfgen finetune" in block or "$ hfgen pretrain" in block):
        assert Shape(shown) == Shape(block), shown
    else:
        assert shown == block


@pytest.mark.skipif(not os.environ.get("HFGEN_TEST_UPDATE_README"), reason="not asked for")
def test_rewrite_transcripts(tmp_path: Path) -> None:
    text = README.read_text(encoding="utf-8")
    for number, block in enumerate(transcripts()):
        (folder := tmp_path / str(number)).mkdir()
        text = text.replace(block, run(block, folder))
    README.write_text(text, encoding="utf-8")


def test_the_commands_of_ci_are_those_of_the_readme() -> None:
    words = README.read_text(encoding="utf-8")
    script = (README.parent / ".ci" / "run").read_text(encoding="utf-8").replace('"', "")
    (tests,) = re.findall(r"venv/bin/(pytest.*)", words)
    for command in ("-m venv", "pip install -q -c constraints.txt -e '.[dev]'", tests):
        assert command in words
        assert re.search(rf"{re.escape(command)}( \$venv)?$", script, re.MULTILINE), command


def test_there_are_transcripts_of_every_kind() -> None:
    found = "".join(transcripts())
    for command in ("generate", "batch", "finetune", "pretrain", "merge", "models", "config"):
        assert f"hfgen {command} " in found, command


def test_the_python_examples_run(tmp_path: Path) -> None:
    (tmp_path / "examples").symlink_to(README.parent / "examples")
    found = []
    for code in re.findall(r"```python\n(.*?)```\n", README.read_text(encoding="utf-8"), re.DOTALL):
        done = subprocess.run(
            [warm.python("torch"), "-c", code],
            capture_output=True,
            text=True,
            cwd=tmp_path,
            check=True,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
        )
        assert done.stderr == ""
        found.append(done.stdout)
    text, training = found
    assert text.startswith("Once upon a time")
    numbers, answer = training.splitlines()
    steps, before, after = map(float, numbers.split())
    assert steps == 20
    assert after < 1 < before
    assert answer in (" happy", " sad")
