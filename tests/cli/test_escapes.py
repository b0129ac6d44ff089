r"""`\n`, `\t` and `\\` in texts that are typed: one rule, wherever they are typed."""

from __future__ import annotations

import pytest
from test_flags import model as model

from hfgen.cli.program.commands import load_command
from hfgen.cli.program.main import run
from hfgen.generation.options.options import SPECS, GenerationOptions
from hfgen.generation.options.specs import ESCAPES, unescaped
from hfgen.generation.prompts.row_template import RowTemplate
from hfgen.training.corpus.separators import parse_separator
from hfgen.training.options.finetune import TrainingOptions
from hfgen.training.options.pretrain import PretrainOptions

TYPED, MEANT = r"a\n\tb\\n\d\ ", "a\n\tb\\n\\d\\ "
TEXTS = ("stop_strings", "bad_words", "negative_prompt", "logit_bias")
NEEDS = {"negative_prompt": ["--guidance-scale", "2"]}


def typed(name, text):
    return f"{text}=1" if name == "logit_bias" else text


def meant(name, text=MEANT):
    if name == "logit_bias":
        return ((text, 1.0),)
    return text if name == "negative_prompt" else (text,)


def test_the_rule():
    assert unescaped(TYPED) == MEANT
    assert unescaped(unescaped(r"\\\\n")) == "\\n"


def test_every_text_has_it():
    """A new option of this kind fails here until it is decided."""
    kinds = {name for name, spec in SPECS.items() if spec.kind in ("str", "strs", "biases")}
    assert {name for name in kinds if SPECS[name].has_escapes} == set(TEXTS)
    # A name; patterns, whose backslashes are their own; a list that may be JSON's.
    assert kinds - set(TEXTS) == {"assistant_model", "regex", "grammar", "choices"}


@pytest.mark.parametrize("name", TEXTS)
def test_flags_assignments_variables_and_files(model, monkeypatch, tmp_path, capfd, name):
    monkeypatch.setenv("HFGEN_CONFIG_DIR", str(tmp_path))
    flag = "--" + name.replace("_", "-")
    value = typed(name, TYPED)
    file = tmp_path / "config.toml"
    needs = "guidance_scale = 2\n" * (name == "negative_prompt")
    file.write_text(needs)

    def read(*arguments):
        assert run(["generate", "x", *arguments, *NEEDS.get(name, ())]) == 0, capfd.readouterr().err
        return model.options.given()[name]

    assert read(flag, value) == meant(name)
    assert read("-O", f"{name}={value}") == meant(name)
    # What JSON and TOML read themselves is not read twice.
    if name != "logit_bias":
        assert read("-O", rf'{name}="\\n\n"') == meant(name, "\\n\n")
    assert run(["config", "set", name, value]) == 0
    assert read() == meant(name)
    assert r"\n" in file.read_text()
    file.write_text(f"{needs}{name} = '{value}' # it's\n")
    assert read() == meant(name)
    if name != "negative_prompt":
        file.write_text(f"{name} = [\n  '{value}', # a ' and a \"\n]\n")
        assert read() == meant(name)
    file.write_text(f"{needs}{name} = '''{value}'''\n")
    assert read() == meant(name)
    text = typed(name, r"\\n\n")
    file.write_text(f'{needs}{name} = "{text}"')
    assert read() == meant(name, "\\n\n")
    file.write_text(f"[presets.mine]\n{needs}{name} = '{value}'\n")
    assert read("--preset", "mine") == meant(name)
    file.unlink()
    if name == "negative_prompt":
        monkeypatch.setenv("HFGEN_GUIDANCE_SCALE", "2")
        monkeypatch.setenv("HFGEN_NEGATIVE_PROMPT", value)
        assert read() == meant(name)


def test_system_message(model):
    for flag in ("--system", "-s"):
        assert run(["generate", "x", flag, TYPED]) == 0
        assert model.settings["system"] == MEANT


def test_templates_and_separators():
    prompt, completion = RowTemplate(TYPED + "{q}: {a}\\n").fill({"q": "Q", "a": "A"})
    assert (prompt + completion) == MEANT + "Q: A\n"
    pattern = parse_separator(TYPED).pattern
    assert pattern and pattern.fullmatch(MEANT)


def test_python_reads_no_escapes():
    assert GenerationOptions(stop_strings=TYPED).stop_strings == (TYPED,)


def test_the_help_says_so():
    found = {
        (name, flag)
        for name in ("generate", "batch", "finetune", "pretrain")
        for parameter in load_command(name).params
        if ESCAPES in (getattr(parameter, "help", "") or "")
        for flag in parameter.opts
        if flag.startswith("--")
    }
    flags = {"--stop", "--stop-strings", "--bad-words", "--negative-prompt", "--logit-bias"}
    expected = {(name, flag) for name in ("generate", "batch") for flag in flags | {"--system"}}
    expected |= {("finetune", "--template"), ("pretrain", "--document-separator")}
    assert found == expected
    texts = {**TrainingOptions.specs(), **PretrainOptions.specs()}
    assert not any(spec.has_escapes for spec in texts.values())
