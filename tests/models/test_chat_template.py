"""A model folder with several chat templates and no default, on the command line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from hfgen.cli.program.main import run

TEMPLATE = "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}"


@pytest.fixture
def folder(tiny_folder: Path) -> Path:
    settings = tiny_folder / "tokenizer_config.json"
    names = ("rag", "tool_use")
    several = [{"name": name, "template": f"{name} {TEMPLATE}"} for name in names]
    written = json.loads(settings.read_text()) | {"chat_template": several}
    settings.write_text(json.dumps(written))
    return tiny_folder


def test_the_error_names_the_templates_and_the_option(folder: Path, capfd: Any) -> None:
    command = ["generate", "-m", str(folder), "Hello", "-n", "2", "--format", "json"]
    assert run(command) == 2
    assert capfd.readouterr().err.splitlines()[-2:] == [
        "error: the model has several chat templates and none of them is the default: rag, "
        "tool_use",
        "hint: choose one, as --chat-template rag",
    ]
    assert run([*command, "--chat-template", "rag"]) == 0
    assert json.loads(capfd.readouterr().out)["prompt"] == "Hello"
