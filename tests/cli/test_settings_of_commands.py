"""Every command takes its model, device, dtype and offline from config file and environment.

The commands run as they are, up to the library function that would do the work; what that one is
given is what counts. A command with such an option that is missing here fails the first test.
"""

from __future__ import annotations

import importlib
import io
import json

import pytest

from hfgen.cli.program.commands import COMMANDS, load_command
from hfgen.cli.program.main import run
from hfgen.errors import HfgenError
from hfgen.models.checkpoint.load_options import LoadOptions
from hfgen.training.request import TrainingRequest

LOAD = "hfgen.loading:load_model"
# Command -> its arguments, and the library's function with the names of its parameters there.
COMMANDS_WITH_SETTINGS = {
    "generate": (["x"], LOAD, {}),
    "batch": (["rows.jsonl"], LOAD, {}),
    "code": (["rows.jsonl"], LOAD, {}),
    "score": (["x"], LOAD, {}),
    "classify": (["x", "--labels", "a,b"], LOAD, {}),
    "extract": (["x", "--choices", "a,b"], LOAD, {}),
    "chat": (["--no-save"], LOAD, {}),
    "serve": (["--port", "0"], LOAD, {}),
    "evaluate perplexity": (["rows.jsonl"], LOAD, {}),
    "evaluate cloze": (["rows.jsonl"], LOAD, {}),
    "evaluate choice": (["rows.jsonl"], LOAD, {}),
    "evaluate compare": (["rows.jsonl", "-m", "a", "-m", "b"], LOAD, {}),
    "explain tokens": (["x y"], LOAD, {}),
    "explain attention": (["x y"], LOAD, {}),
    "explain lens": (["x y"], LOAD, {}),
    "explain attribute": (["x y"], LOAD, {}),
    "explain positions": ([], LOAD, {}),
    "explain heads": ([], LOAD, {}),
    "bias builtin": ([], LOAD, {}),
    "bias crows": (["rows.jsonl"], LOAD, {}),
    "bias stereoset": (["stereoset.json"], LOAD, {}),
    "bias pairs": (["rows.jsonl"], LOAD, {}),
    "bias template": (["{x}.", "--swap", "rows.jsonl"], LOAD, {}),
    "bench": ([], LOAD, {}),
    "estimate": ([], "hfgen.models.sizing.estimate:estimate", {"model": 0}),
    "detect-watermark": (["x"], "hfgen.models.naming.resolve:resolve", {"model": 0}),
    "finetune": (["rows.jsonl"], "hfgen.training.runs.finetuning:FinetuneRun", {}),
    "pretrain": (["rows.jsonl"], "hfgen.training.runs.pretraining:PretrainRun", {}),
    "merge": (["adapter", "-o", "new"], "hfgen.models.adapters.merge:merge", {}),
    "models show": (["x"], "hfgen.models.sizing.info:describe", {}),
    "models pull": (["x"], "hfgen.models.hub.local:pull", {}),
}
# A row that each of them can read.
ROW = (
    '{"prompt": "a", "text": "a b", "query": "a", "choices": ["b", "c"], "gold": 0, '
    '"more": "a", "less": "b"}\n'
)
STEREOSET = {
    "data": {
        "intrasentence": [{"sentences": {"gold_label": [0, 1, 2], "sentence": ["a", "b", "c"]}}]
    }
}
VALUES = {"model": "me/mine", "device": "cuda:3", "dtype": "bfloat16", "offline": True}
# Options that a setting must not reach.
APART = {
    ("pretrain", "model"): "it would turn a new model into an old one",
    ("evaluate compare", "model"): "it takes two, which are named",
    ("merge", "dtype"): "it is what is written, not what is computed in",
}


def all_commands():
    for name in COMMANDS:
        command = load_command(name)
        if hasattr(command, "commands"):
            yield from ((f"{name} {sub}", one) for sub, one in command.commands.items())
        else:
            yield name, command


def options_of(command):
    return {flag for parameter in command.params for flag in parameter.opts}


CASES = [
    (name, setting)
    for name, command in all_commands()
    for setting in VALUES
    if f"--{setting}" in options_of(command) and (name, setting) not in APART
]


class Seen(HfgenError):
    """Enough was seen."""


def test_no_command_is_missing():
    assert {name for name, _ in CASES} == set(COMMANDS_WITH_SETTINGS)
    assert len(CASES) == 101


@pytest.mark.parametrize("name", COMMANDS_WITH_SETTINGS)
def test_more_and_less_said_is_refused_everywhere(monkeypatch, tmp_path, capfd, name):
    monkeypatch.setattr("hfgen.cli.program.main._QUIET_LIBRARIES", {})
    monkeypatch.chdir(tmp_path)
    assert run([*name.split(), *COMMANDS_WITH_SETTINGS[name][0], "-q", "-v"]) == 2
    assert "--quiet leaves errors only, --verbose asks for more" in capfd.readouterr().err


READERS = (
    "generate", "batch", "code", "score", "classify", "detect-watermark", "finetune", "pretrain",
)  # fmt: skip


@pytest.mark.parametrize("name", READERS)
def test_every_command_that_reads_standard_input_tells_when_it_does_not(
    monkeypatch, tmp_path, capfd, name
):
    arguments, target, _ = COMMANDS_WITH_SETTINGS[name]
    module, _, function = target.partition(":")

    def stand_in(*given, **named):
        raise Seen("seen")

    monkeypatch.setattr(importlib.import_module(module), function, stand_in)
    monkeypatch.setattr("hfgen.cli.io.unread.has_unread_input", lambda: True)
    monkeypatch.setattr("hfgen.cli.program.main._QUIET_LIBRARIES", {})
    monkeypatch.chdir(tmp_path)
    (tmp_path / "rows.jsonl").write_text(ROW)
    assert run([name, *arguments]) == 1
    assert "notice: standard input is not read: write - " in capfd.readouterr().err


@pytest.mark.parametrize("level", ["environment", "file"])
@pytest.mark.parametrize(("name", "setting"), CASES, ids=lambda v: v)
def test_a_setting_reaches_the_library(monkeypatch, tmp_path, capfd, name, setting, level):
    arguments, target, places = COMMANDS_WITH_SETTINGS[name]
    module, _, function = target.partition(":")
    seen = {}

    def stand_in(*given, **named):
        seen.update(named, **{key: given[i] for key, i in places.items() if i < len(given)})
        if given and isinstance(given[0], LoadOptions):
            seen.update(vars(given[0]), model=given[0].name)
        if given and isinstance(given[0], TrainingRequest):
            seen.update(vars(given[0]))
        raise Seen("seen")

    monkeypatch.setattr(importlib.import_module(module), function, stand_in)
    monkeypatch.setattr("hfgen.cli.program.main._QUIET_LIBRARIES", {})
    monkeypatch.setenv("HFGEN_CONFIG_DIR", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"a\n")))
    (tmp_path / "rows.jsonl").write_text(ROW)
    (tmp_path / "stereoset.json").write_text(json.dumps(STEREOSET))
    value = VALUES[setting]
    written = str(value).lower() if isinstance(value, bool) else f'"{value}"'
    if level == "file":
        (tmp_path / "config.toml").write_text(f"{setting} = {written}\n")
    else:
        monkeypatch.setenv(f"HFGEN_{setting.upper()}", written.strip('"'))
    assert run([*name.split(), *arguments]) == 1, capfd.readouterr().err
    assert "error: seen" in capfd.readouterr().err
    assert seen[setting] == value


@pytest.mark.parametrize("name", ["bench", "estimate"])
def test_the_model_is_an_argument_or_a_flag(monkeypatch, tmp_path, capfd, name):
    _, target, _ = COMMANDS_WITH_SETTINGS[name]
    module, _, function = target.partition(":")
    seen = []

    def stand_in(model, **named):
        seen.append(model.name if isinstance(model, LoadOptions) else model)
        raise Seen("seen")

    monkeypatch.setattr(importlib.import_module(module), function, stand_in)
    monkeypatch.setattr("hfgen.cli.program.main._QUIET_LIBRARIES", {})
    monkeypatch.setenv("HFGEN_MODEL", "weaker")
    for typed in (["me/mine"], ["-m", "me/mine"], ["--model=me/mine"]):
        assert run([name, *typed]) == 1
    assert run([name]) == 1
    assert seen == ["me/mine"] * 3 + ["weaker"]
    assert run([name, "a", "-m", "b"]) == 2
    assert "the model is given twice: a and -m b" in capfd.readouterr().err
