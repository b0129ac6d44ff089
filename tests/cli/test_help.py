"""Help, version and lists: what they show, and what they must not cost."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

from hfgen.cli.program.commands import COMMANDS, load_command
from hfgen.cli.program.main import run
from hfgen.generation.options.options import SPECS
from tests.processor_time import best_s

HEAVY = ("torch", "transformers", "huggingface_hub", "numpy", "tokenizers")


def test_without_arguments_the_commands_are_listed(installed):
    result = installed()
    assert result.code == 0
    assert result.err == ""
    assert "Usage: hfgen [OPTIONS] COMMAND [ARGS]..." in result.out
    assert "generate" in result.out
    assert result.out == installed("--help").out == installed("-h").out


def test_version(installed):
    result = installed("--version")
    assert (result.code, result.out, result.err) == (0, "hfgen 0.1.0\n", "")


def test_generate_help_shows_everyday_flags_first_and_every_panel_in_order(installed):
    out = installed("generate", "--help").out
    panels = [line.split("─ ")[1].split(" ─")[0] for line in out.splitlines() if "╭─" in line]
    assert panels == [
        "Arguments", "Options", "Input and output", "Chat models", "Length and stops", "Sampling",
        "Repetition and bias", "Beams", "Structured output", "Guidance and watermark",
        "Assisted decoding", "Model", "Advanced", "Messages",
    ]  # fmt: skip
    everyday = out[: out.index("─ Input and output")]
    for flag in ("--model", "--file", "--output", "--max-new-tokens", "--temperature", "--seed"):
        assert flag in everyday


def test_every_option_with_a_flag_is_in_the_help_with_its_range_and_default(installed):
    out = installed("generate", "--help", COLUMNS="200").out
    flags = set(re.findall(r"--[a-z0-9-]+", out))
    for name, spec in SPECS.items():
        assert (("--" + name.replace("_", "-")) in flags) == spec.has_flag, name
    assert "(above 0, up to 1; default 0.95)" in out
    assert "(1 or more; default 200)" in out
    assert "<bool>" not in out
    assert "list[str]" not in out


@pytest.mark.parametrize("width", [60, 80, 120])
def test_help_keeps_to_the_width_of_the_terminal(installed, width):
    out = installed("generate", "--help", COLUMNS=str(width)).out
    assert max(map(len, out.splitlines())) <= width


@pytest.mark.parametrize(
    "arguments",
    [["--help"], ["--version"], ["generate", "--help"], ["generate", "--top-p", "9"], ["genrate"]],
)
def test_no_library_is_imported(arguments):
    code = (
        "import sys; from hfgen.cli.program.main import run; run(sys.argv[1:]);"
        f"print([m for m in {HEAVY} if m in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, timeout=60
    )
    assert done.stderr.splitlines()[-1] == "[]"


def all_commands():
    for name in COMMANDS:
        command = load_command(name)
        yield [name], command
        yield from (([name, sub], one) for sub, one in getattr(command, "commands", {}).items())


@pytest.mark.parametrize(("words", "command"), [*all_commands()], ids=str)
def test_names_are_whole_and_defaults_in_one_style(monkeypatch, capsys, words, command):
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setattr("hfgen.cli.program.main._QUIET_LIBRARIES", {})
    assert run([*words, "--help"]) == 0
    out = capsys.readouterr().out
    for parameter in command.params:
        for flag in (*parameter.opts, *parameter.secondary_opts):
            is_argument = parameter.param_type_name == "argument"
            name = (parameter.metavar or flag) if is_argument else flag
            assert re.search(rf"(?<![\w-]){re.escape(name)}(?![\w-])", out), name
    for name in getattr(command, "commands", ()):
        assert re.search(rf"│ {name} ", out)
    assert "default:" not in out and "[default" not in out
    assert max(map(len, out.splitlines())) <= 80


def test_help_and_usage_errors_are_quick(cold):
    def best(*arguments):
        # Time of the processor, so that a busy machine does not count.
        return best_s(lambda: cold(*arguments))

    assert best("--help") < 0.8
    assert best("generate", "--top-p", "2", "x") < 0.8


def test_help_of_the_module(cold):
    done = subprocess.run(
        [sys.executable, "-m", "hfgen", "--version"], capture_output=True, text=True, timeout=60
    )
    assert done.stdout == cold("--version").out
