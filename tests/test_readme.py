"""README's transcripts are what the program prints.

Character for character, but for those of training: how fast a machine is decides its times, and
its arithmetic the last digits of a loss (see `Shape`).

`HFGEN_TEST_UPDATE_README=1 pytest tests/test_readme.py` writes them anew, for a new bundled model
or a changed message.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

README = Path(__file__).parent.parent / "README.md"
BLOCK = re.compile(r"```console\n(.*?)```\n", re.DOTALL)

FREE = re.compile(r"[\d,.]+(?= tokens/s| s\b| minutes?\b)|\b\d(\.\d+)?e-\d+\b")
MEASURED = re.compile(r"\d+(?:,\d{3})*\.\d+|\d+(?:,\d{3})+")
NEAR = 0.25


def transcripts() -> list[str]:
    blocks = BLOCK.findall(README.read_text(encoding="utf-8"))
    return [block for block in blocks if ".venv" not in block]


def run(block: str, folder: Path) -> str:
    """The block as a terminal would show it: every command and what it prints."""
    (folder / "examples").symlink_to(README.parent / "examples")
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
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
                env=os.environ | {"PATH": path, "HF_HOME": str(folder / "hf")},
                check=False,
            )
            shown += f"{line}\n{done.stdout.decode()}"
    return shown


class Shape:
    """A transcript of a training, equal to another one that differs as machines do.

    Times, speeds and rounding errors are free; other numbers with a comma or a point may be off by
    a quarter, or by a quarter of one; which evaluation was the best is open. All else is the same,
    whole numbers included.
    """

    def __init__(self, text: str) -> None:
        text = FREE.sub("…", text.replace(", best)", ")"))
        self.words = MEASURED.sub("#", text)
        self.numbers = [float(number.replace(",", "")) for number in MEASURED.findall(text)]

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, Shape)
            and self.words == other.words
            and all(
                abs(one - two) <= NEAR * max(1, one, two)
                for one, two in zip(self.numbers, other.numbers, strict=True)
            )
        )

    __hash__ = None  # type: ignore[assignment]


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


@pytest.mark.skipif(bool(os.environ.get("HFGEN_TEST_UPDATE_README")), reason="being rewritten")
@pytest.mark.parametrize("block", transcripts(), ids=lambda block: block.splitlines()[0][2:60])
def test_transcript(block: str, tmp_path: Path) -> None:
    shown = run(block, tmp_path)
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
    script = (README.parent / ".ci" / "run").read_text(encoding="utf-8")
    for command in ("-m venv", "pip install -q -c constraints.txt -e '.[dev]'", "pytest"):
        assert command in words
    assert "install -q -c constraints.txt -e '.[dev]'" in script


def test_the_python_examples_run(tmp_path: Path) -> None:
    (tmp_path / "examples").symlink_to(README.parent / "examples")
    found = []
    for code in re.findall(r"```python\n(.*?)```\n", README.read_text(encoding="utf-8"), re.DOTALL):
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, check=True
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
