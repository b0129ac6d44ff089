"""Every example runs as its first lines say."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests import warm

ROOT = Path(__file__).parent.parent
EXAMPLES = sorted(path for path in (ROOT / "examples").iterdir() if path.suffix in (".py", ".sh"))


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_example(path: Path) -> None:
    if path.suffix == ".sh" and not shutil.which("jq"):
        pytest.skip("jq is not installed")
    command = [warm.python("torch") if path.suffix == ".py" else "bash", str(path)]
    name = "python" if path.suffix == ".py" else "bash"
    assert f"Run: {name} examples/{path.name}" in path.read_text(encoding="utf-8")
    # The program of this environment, wherever the tests were called from.
    path_variable = os.pathsep.join([str(Path(warm.program()).parent), os.environ["PATH"]])
    settings = {"PATH": path_variable, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        command, capture_output=True, text=True, cwd=ROOT, env=os.environ | settings
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert len(done.stdout.splitlines()) >= 2


def test_the_examples_for_finetuning_are_what_the_readme_says() -> None:
    (file,) = (ROOT / "examples" / "finetune").iterdir()
    rows = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    assert len({row["prompt"] for row in rows}) == len(rows) == 84
    for row in rows:
        assert row.keys() == {"prompt", "completion"}
        assert row["prompt"].endswith(". Mood:")
    answers = [row["completion"] for row in rows]
    assert answers.count(" happy") == answers.count(" sad") == 42
