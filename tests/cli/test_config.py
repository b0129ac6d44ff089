"""`hfgen config`, and how other commands take what it sets."""

from __future__ import annotations

import functools
import json
import subprocess
import sys

import pytest
from processes import TERMINAL

from tests.processor_time import best_s


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "config"


@pytest.fixture
def hfgen(installed, folder):
    """Run the installed program with a config folder of its own."""

    def run(*arguments, data=None, **env):
        return installed(*arguments, data=data, **{"HFGEN_CONFIG_DIR": str(folder)} | env)

    return run


@pytest.fixture
def edit(hfgen):
    """Run `hfgen config edit` on a terminal."""
    return functools.partial(hfgen, "config", "edit", data=TERMINAL)


@pytest.fixture
def write(folder):
    def write(text):
        folder.mkdir(exist_ok=True)
        (folder / "config.toml").write_text(text)

    return write


def assert_output(result, out="", err=""):
    assert (result.code, result.out, result.err) == (0, out, err), result


def test_set_get_unset(hfgen, folder):
    assert_output(hfgen("config", "path"), f"{folder}/config.toml\n")
    assert_output(hfgen("config", "set", "temperature", "0.5"))
    assert_output(hfgen("config", "get", "temperature"), "0.5\n")
    assert_output(
        hfgen("config", "get", "temperature", "-v"),
        "0.5\n",
        f"notice: temperature comes from {folder}/config.toml:1\n",
    )
    assert_output(hfgen("config", "set", "-v", "model", "me/mine"),
                  err=f'notice: model = "me/mine" in {folder}/config.toml\n')  # fmt: skip
    assert_output(hfgen("config", "get", "model"), "me/mine\n")
    assert_output(hfgen("config", "set", "stop-strings", "END", "5"))
    assert_output(hfgen("config", "get", "stop_strings"), '["END", "5"]\n')
    assert_output(hfgen("config", "set", "presets.poem.temperature", "1.1"))
    assert (folder / "config.toml").read_text() == (
        'temperature = 0.5\nmodel = "me/mine"\nstop_strings = ["END", "5"]\n'
        "\n[presets.poem]\ntemperature = 1.1\n"
    )
    assert_output(hfgen("config", "get", "presets.poem.temperature"), "1.1\n")
    assert_output(hfgen("config", "get", "presets.code.temperature"), "0.2\n")
    assert_output(hfgen("config", "unset", "presets.poem"))
    assert_output(hfgen("config", "unset", "temperature"))
    assert (folder / "config.toml").read_text() == (
        'model = "me/mine"\nstop_strings = ["END", "5"]\n\n'
    )
    assert_output(hfgen("config", "get", "temperature"), "0.8\n")
    assert sorted(item.name for item in folder.iterdir()) == ["config.toml"]


def test_list(hfgen, write, folder):
    write("top_k = 7\ntemperature = 0.5\nmodel = 'm'\n[presets.poem]\nstop_strings = ['.']\n")
    env = {"HFGEN_TEMPERATURE": "0.25", "HFGEN_DEVICE": "cpu"}
    result = hfgen("config", "list", **env)
    rows = [line.split(maxsplit=2) for line in result.out.splitlines()]
    place = f"{folder}/config.toml"
    for row in (
        ["model", '"m"', f"{place}:3"], ["device", '"cpu"', "HFGEN_DEVICE"],
        ["dtype", '"auto"', "default"], ["temperature", "0.25", "HFGEN_TEMPERATURE"],
        ["top_k", "7", f"{place}:1"], ["top_p", "0.95", "default"],
        ["presets.poem.stop_strings", '["."]', f"{place}:5"],
        ["presets.code.temperature", "0.2", "built in"],
    ):  # fmt: skip
        assert row in rows
    assert (result.code, result.err) == (0, "")
    assert "seed" not in {row[0] for row in rows}
    rows = json.loads(hfgen("config", "list", "--json", **env).out)
    found = {row["name"]: row for row in rows}
    assert found["top_k"] == {
        "name": "top_k", "value": 7, "source": "file", "place": f"{place}:1"
    }  # fmt: skip
    assert found["slots"] == {"name": "slots", "value": 16, "source": "default", "place": None}
    assert found["presets.poem.stop_strings"]["value"] == ["."]
    assert json.loads(hfgen("config", "get", "top_k", "--json").out) == found["top_k"]
    everything = {row["name"]: row for row in json.loads(
        hfgen("config", "list", "--all", "--json").out)}  # fmt: skip
    assert everything["seed"] == {"name": "seed", "value": None, "source": None, "place": None}


def test_list_says_what_counts_where_levels_contradict(hfgen, write):
    write("temperature = 0.5\nrepetition_penalty = 1.5\n")
    rows = json.loads(hfgen("config", "list", "--json", HFGEN_DO_SAMPLE="false").out)
    values = {row["name"]: row["value"] for row in rows}
    assert values["do_sample"] is False and values["repetition_penalty"] == 1.5
    assert "temperature" not in values and "top_p" not in values


WRONG = [
    (["config", "lst"], 2, "there is no command 'lst'", "did you mean hfgen config list"),
    (["config", "get", "topp"], 2, "there is no setting 'topp'", "did you mean top_p?"),
    (["config", "get", "seed"], 1, "seed is not set", "hfgen config set seed VALUE"),
    (["config", "get", "presets.no.top_k"], 1, "presets.no.top_k is not set", None),
    (["config", "set", "topp", "1"], 2, "there is no setting 'topp'", "did you mean top_p?"),
    (["config", "set", "top_p", "2"], 2, "top_p 2: must be a number above 0", None),
    (["config", "set", "top_p"], 2, "missing argument 'VALUE", "hfgen config --help"),
    (["config", "set", "top_p", "0.5", "1"], 2, "top_p takes one value, not 2", None),
    (["config", "set", "logprobs", "1"], 2, "logprobs is no setting", "--logprobs N"),
    (["config", "set", "presets.a.model", "x"], 2, "model is no part of a preset", None),
    (["config", "set", "top_k", "5"], 2, "config.toml:2: top_k has no effect on gr", "drop top_k"),
    (["config", "unset", "seed"], 1, "seed is not in ", "hfgen config list"),
    (["config", "unset", "sed"], 2, "there is no setting 'sed'", "did you mean seed?"),
    (["config", "unset", "presets.x"], 1, "presets.x is not in ", None),
]


@pytest.mark.parametrize(("arguments", "code", "message", "hint"), WRONG)
def test_wrong_usage_changes_nothing(hfgen, write, folder, arguments, code, message, hint):
    write("do_sample = false\n")
    hfgen(*arguments).assert_error(code, message, hint)
    assert (folder / "config.toml").read_text() == "do_sample = false\n"


def test_a_wrong_file_is_named_by_every_command_and_can_be_put_right(hfgen, write, folder, refused):
    write("seed = 1\ntemprature = 1\n")
    message = f"{folder}/config.toml:2: there is no setting 'temprature'"
    for arguments in (
        ["config", "list"],
        ["config", "get", "seed"],
        ["config", "set", "seed", "2"],
    ):
        hfgen(*arguments).assert_error(2, message, "did you mean temperature?")
    refused("generate", "x", HFGEN_CONFIG_DIR=str(folder)).assert_error(2, message)
    refused("generate", "x", HFGEN_TOP_P="9").assert_error(2, "HFGEN_TOP_P=9: must be a number")
    assert_output(hfgen("config", "unset", "temprature"))
    assert (folder / "config.toml").read_text() == "seed = 1\n"
    write("seed = \n")
    for arguments in (["list"], ["set", "top_k", "1"], ["unset", "seed"]):
        hfgen("config", *arguments).assert_error(2, "config.toml:1: not valid TOML: Invalid value")


def test_a_variable_that_goes_before_is_told(hfgen):
    result = hfgen("config", "set", "top_k", "5", HFGEN_TOP_K="6")
    assert_output(
        result,
        err="notice: HFGEN_TOP_K is set in the environment and overrides the file\n",
    )


def test_another_file_and_none(hfgen, edit, write, tmp_path):
    write("top_k = 1\n")
    other = tmp_path / "other.toml"
    hfgen("config", "get", "top_k", HFGEN_CONFIG=str(other)).assert_error(
        1, f"there is no config file {other}, which HFGEN_CONFIG names"
    )
    assert_output(hfgen("config", "set", "top_k", "2", HFGEN_CONFIG=str(other)))
    assert_output(hfgen("config", "get", "top_k", HFGEN_CONFIG=str(other)), "2\n")
    assert_output(hfgen("config", "get", "top_k", HFGEN_CONFIG="/dev/null"), "0\n")
    hfgen("config", "set", "top_k", "2", HFGEN_CONFIG="/dev/null").assert_error(
        1, "/dev/null is no regular file"
    )
    edit(HFGEN_CONFIG="/dev/null").assert_error(1, "is no regular file")


# The editor: a line of sh that gets the file as $1.


def editor(tmp_path, line):
    script = tmp_path / "my editor"
    script.write_text(f"#!/bin/sh\n{line}\n")
    script.chmod(0o755)
    return {"EDITOR": f"'{script}'", "VISUAL": ""}


def test_edit(hfgen, edit, folder, tmp_path):
    path = folder / "config.toml"
    assert_output(edit(**editor(tmp_path, "true")))
    assert list(folder.iterdir()) == []
    assert_output(edit(**editor(tmp_path, "echo 'top_k = 5' >> \"$1\"")))
    assert path.read_text().startswith("# Settings of hfgen")
    assert_output(hfgen("config", "get", "top_k"), "5\n")
    env = editor(tmp_path, "false") | {"VISUAL": "sed -i s/5/6/"}
    assert_output(edit("-v", **env), err=f"notice: saved {path}\n")
    assert_output(hfgen("config", "get", "top_k"), "6\n")
    assert [item.name for item in folder.iterdir()] == ["config.toml"]


def test_a_broken_edit_is_kept_aside_and_gone_on_with(edit, write, folder, tmp_path):
    write("top_k = 5\n")
    path, aside = folder / "config.toml", folder / "config.edit.toml"
    wrong = edit(**editor(tmp_path, "echo 'topp = 5' >> \"$1\""))
    wrong.assert_error(2, f"{aside}:2: there is no setting 'topp'", f"{path} is as it was")
    assert path.read_text() == "top_k = 5\n"
    assert aside.read_text() == "top_k = 5\ntopp = 5\n"
    right = edit(**editor(tmp_path, 'sed -i s/topp.*/seed=7/ "$1"'))
    assert_output(right, err=f"notice: going on with the edit that was kept in {aside}\n")
    assert path.read_text() == "top_k = 5\nseed=7\n"
    assert not aside.exists()


def test_an_editor_that_fails(edit, write, folder, tmp_path):
    write("top_k = 5\n")
    path, aside = folder / "config.toml", folder / "config.edit.toml"
    failed = edit(**editor(tmp_path, "exit 3"))
    failed.assert_error(1, "the editor ended with status 3", f"{path} is as it was")
    assert not aside.exists()
    edit(EDITOR="no-such-editor", VISUAL="").assert_error(
        1, "cannot start the editor 'no-such-editor': No such file", "name another in EDITOR"
    )
    assert not aside.exists()
    edit(**editor(tmp_path, 'echo x=1 >> "$1"; exit 1')).assert_error(
        1, "the editor ended with status 1", f"the edit is kept in {aside}"
    )
    aside.unlink()
    meanwhile = editor(tmp_path, f"echo seed=1 >> '{path}'; echo top_p=1 >> \"$1\"")
    edit(**meanwhile).assert_error(1, f"{path} was changed meanwhile", "kept in")
    assert path.read_text() == "top_k = 5\nseed=1\n"


def test_without_a_terminal_no_editor_is_started(hfgen, folder, tmp_path):
    env = editor(tmp_path, "sleep 60")
    for data in (None, "", "text"):
        hfgen("config", "edit", data=data, **env).assert_error(
            2, "config edit needs a terminal", "hfgen config set NAME VALUE"
        )
    assert not folder.exists()


# generate


def test_generate_takes_model_and_options_from_the_file(fake, write, folder):
    write("num_return_sequences = 2\nseed = 7\n")
    result = fake("generate", "Once", "--format", "json", HFGEN_CONFIG_DIR=str(folder))
    assert [record["seed"] for record in json.loads(result.out)] == [7, 1007]


def test_an_error_met_later_names_the_place_and_not_a_flag(installed, write, folder):
    write("suppress_tokens = [1]\n\nbegin_suppress_tokens = [999999]\n")
    result = installed("generate", "x", "-m", "storyteller", HFGEN_CONFIG_DIR=str(folder))
    result.assert_error(2, f"{folder}/config.toml:3: begin_suppress_tokens = (999999,): must be")
    write("model = 'no-such-model'\n")
    result = installed("generate", "x", HFGEN_CONFIG_DIR=str(folder))
    result.assert_error(
        1, f"there is no model 'no-such-model' (the model comes from {folder}/config.toml:1)"
    )
    result = installed("generate", "x", HFGEN_MODEL="nope-nope")
    result.assert_error(1, "there is no model 'nope-nope' (the model comes from HFGEN_MODEL)")
    result = installed("generate", "x", "-m", "no-such-model", HFGEN_CONFIG_DIR=str(folder))
    result.assert_error(1, "there is no model 'no-such-model'")
    assert "comes from" not in result.err


def test_commands_without_generation_options_take_the_model_too(installed, write, folder):
    write("model = 'no-such-model'\n")
    result = installed("detect-watermark", "some text", HFGEN_CONFIG_DIR=str(folder))
    result.assert_error(1, f"'no-such-model' (the model comes from {folder}/config.toml:1)")


def test_help_names_presets_and_the_variable_of_the_model(installed):
    out = installed("generate", "--help", COLUMNS="200").out
    assert "[env var: HFGEN_MODEL]" in out
    assert "precise, balanced, creative, code, humaneval, or one of your config file" in out
    out = installed("config", "--help", COLUMNS="200").out
    for word in ("list", "get", "set", "unset", "path", "edit", "precise (", "HFGEN_CONFIG"):
        assert word in out


def test_wrong_preset(refused):
    refused("generate", "x", "--preset", "cod").assert_error(
        2, "--preset cod: there is no preset of that name", "did you mean code?"
    )


def test_config_imports_no_library_and_is_quick(cold, write, folder):
    write("top_k = 5\n")
    code = (
        "import sys; from hfgen.cli.program.main import run; run(['config', 'list']);"
        "print([m for m in ('torch', 'transformers', 'huggingface_hub', 'numpy', 'rich')"
        " if m in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stderr == "[]\n"
    assert best_s(lambda: cold("config", "list", HFGEN_CONFIG_DIR=str(folder))) < 0.6
