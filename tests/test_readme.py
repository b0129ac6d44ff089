"""README's transcripts are what the program prints.

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


def transcripts() -> list[str]:
    blocks = BLOCK.findall(README.read_text(encoding="utf-8"))
    return [block for block in blocks if ".venv" not in block]


def run(block: str, folder: Path) -> str:
    """The block as a terminal would show it: every command and what it prints."""
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


@pytest.mark.skipif(bool(os.environ.get("HFGEN_TEST_UPDATE_README")), reason="being rewritten")
@pytest.mark.parametrize("block", transcripts(), ids=lambda block: block.splitlines()[0][2:60])
def test_transcript(block: str, tmp_path: Path) -> None:
    assert run(block, tmp_path) == block


@pytest.mark.skipif(not os.environ.get("HFGEN_TEST_UPDATE_README"), reason="not asked for")
def test_rewrite_transcripts(tmp_path: Path) -> None:
    text = README.read_text(encoding="utf-8")
    for block in transcripts():
        text = text.replace(block, run(block, tmp_path))
    README.write_text(text, encoding="utf-8")


def test_the_commands_of_ci_are_those_of_the_readme() -> None:
    words = README.read_text(encoding="utf-8")
    script = (README.parent / ".ci" / "run").read_text(encoding="utf-8")
    for command in ("-m venv", "pip install -q -c constraints.txt -e '.[dev]'", "pytest"):
        assert command in words
    assert "install -q -c constraints.txt -e '.[dev]'" in script


def test_the_python_example_runs() -> None:
    (code,) = re.findall(r"```python\n(.*?)```\n", README.read_text(encoding="utf-8"), re.DOTALL)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("Once upon a time")
    assert done.stderr == ""
