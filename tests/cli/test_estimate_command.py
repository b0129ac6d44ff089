from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

from tests import warm
from tests.processor_time import best_s


def run(*arguments: str) -> Any:
    return subprocess.run([warm.program(), "estimate", *arguments], capture_output=True, text=True)


def test_the_table() -> None:
    done = run("storyteller", "--context", "256", "--slots", "2")
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert lines[0] == "storyteller: 5,918,720 parameters, window 512"
    assert lines[1] == "2 texts at once of 256 tokens"
    assert lines[3].split() == ["weights", "KV", "cache", "working", "peak", "fits"]
    assert [line.split()[0] for line in lines[4:8]] == ["float32", "bfloat16", "int8", "int4"]
    assert lines[4].split()[1:3] == ["24", "MB"]
    assert lines[9].startswith("memory: ")


def test_json() -> None:
    done = run("storyteller", "--json")
    found = json.loads(done.stdout)
    assert (found["parameters"], found["window"], found["context"]) == (5918720, 512, 512)
    needs = {need["dtype"]: need for need in found["needs"]}
    assert needs["float32"]["weights_bytes"] == 5918720 * 4
    assert needs["float32"]["fits"] == {"cpu": True}
    assert found["memory"][0]["device"] == "cpu"


def test_a_context_beyond_the_window_is_told() -> None:
    done = run("storyteller", "--context", "600")
    assert done.stderr == "notice: the window of storyteller is 512 tokens\n"
    assert "1 text of 512 tokens" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (
            ("storyteller", "--context", "0"),
            2,
            "error: --context 0: must be a whole number from 1",
        ),
        (("storyteller", "--slots", "x"), 2, "error: --slots x: must be"),
        (("./none",), 1, "error: there is no folder ./none"),
        (("storyteler",), 1, "error: there is no model 'storyteler'"),
    ],
)
def test_errors(arguments: tuple[str, ...], code: int, message: str) -> None:
    done = run(*arguments)
    assert (done.returncode, done.stdout) == (code, "")
    first, second = done.stderr.splitlines()
    assert first.startswith(message)
    assert second.startswith("hint: ")


def test_it_takes_under_a_second_and_no_torch() -> None:
    code = (
        "import sys; from hfgen.cli.program.main import run; run(['estimate', 'storyteller']); "
        "print([m for m in ('torch', 'transformers') if m in sys.modules])"
    )

    def estimate() -> None:
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
        assert done.stdout.splitlines()[-1] == "[]"

    assert best_s(estimate) < 1.5


def test_generate_warns_in_one_line() -> None:
    code = (
        "import sys; from hfgen.models.sizing import fit\n"
        "from hfgen.models.sizing.memory import Memory\n"
        "fit.main_memory = lambda: Memory('cpu', 10**9, 10**6)\n"
        "from hfgen.cli.program.main import run\n"
        "sys.exit(run(['generate', '-m', 'storyteller', 'A tale', '-n', '3', '--device', 'cpu']))"
    )
    done = subprocess.run([warm.python("torch"), "-c", code], capture_output=True, text=True)
    assert done.returncode == 0
    assert done.stdout.startswith("A tale")
    assert done.stderr == (
        "notice: storyteller needs about 53 MB in float32, but only 1 MB of memory are free "
        "(hfgen estimate tells more)\n"
    )
