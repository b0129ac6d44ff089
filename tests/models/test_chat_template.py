"""A model folder with several chat templates and no default, by the program."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

Program = Callable[..., subprocess.CompletedProcess[str]]

TEMPLATE = "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}"


@pytest.fixture
def folder(tiny_folder: Path) -> Path:
    settings = tiny_folder / "tokenizer_config.json"
    names = ("rag", "tool_use")
    several = [{"name": name, "template": f"{name} {TEMPLATE}"} for name in names]
    written = json.loads(settings.read_text()) | {"chat_template": several}
    settings.write_text(json.dumps(written))
    return tiny_folder


def test_the_error_names_the_templates_and_the_option(program: Program, folder: Path) -> None:
    done = program("generate", "-m", str(folder), "Hello", "-n", "2")
    assert done.returncode == 2
    assert done.stderr.splitlines()[-2:] == [
        "error: the model has several chat templates and none of them is the default: rag, "
        "tool_use",
        "hint: choose one, as --chat-template rag",
    ]
    named = program("generate", "-m", str(folder), "Hello", "-n", "2", "--chat-template", "rag",
                    "--format", "json")  # fmt: skip
    assert json.loads(named.stdout)["prompt"] == "Hello", named
