"""What hands type: other spellings are accepted, foreign names answered, slips refused.

Everything here is settled before a model or a library is loaded.
"""

from __future__ import annotations

import subprocess
import sys

import pytest
from test_flags import model as model

from hfgen.cli.flags import spellings
from hfgen.cli.flags.typed import CommandLine, own_command
from hfgen.cli.program.commands import COMMANDS, load_command
from hfgen.cli.program.main import run
from hfgen.errors import UsageError

ANSWER = " there was a fox."


def all_commands():
    for name in COMMANDS:
        command = load_command(name)
        if hasattr(command, "commands"):
            yield from ((f"{name} {sub}", one) for sub, one in command.commands.items())
        else:
            yield name, command


PROGRAM = dict(all_commands())


def options_of(command):
    return [p for p in command.params if p.param_type_name == "option"]


def line_of(name):
    return CommandLine(name, PROGRAM[name].params, lambda flag: None)


def switches_of(name):
    """The switches of a command, and what says the opposite."""
    for parameter in options_of(PROGRAM[name]):
        if parameter.is_flag:
            both = (parameter.opts, parameter.secondary_opts)
            for own, other in (both, both[::-1]):
                yield from ((flag, other[-1] if other else None) for flag in own)


@pytest.mark.parametrize("name", PROGRAM)
def test_a_value_behind_any_switch_is_refused_with_the_right_spelling(name):
    for flag, opposite in switches_of(name):
        off = f"write {opposite}" if opposite else f"leave {flag} out"
        for word in ("true", "False", "0", "1"):
            glued = [[f"{flag}={word}"]] if flag.startswith("--") else []
            for typed in ([flag, word], ["a", flag, word, "b"], *glued):
                with pytest.raises(UsageError, match=f"{flag} takes no value: {word}") as raised:
                    line_of(name).read(typed)
                right = off if word in ("False", "0") else f"write {flag} alone"
                assert raised.value.hint.partition(";")[0] == right, (name, typed)


def test_such_words_are_prompts_where_they_stand_alone_or_behind_two_dashes(fake):
    assert fake("generate", "true").out == "true" + ANSWER + "\n"
    assert fake("generate", "--greedy", "--", "0").out == "0" + ANSWER + "\n"
    assert fake("generate", "--greedy", "1984").out == "1984" + ANSWER + "\n"


@pytest.mark.parametrize("name", PROGRAM)
def test_no_flag_takes_another_flag_for_its_value(name):
    valued = [p for p in options_of(PROGRAM[name]) if not p.is_flag]
    for flag in (flag for parameter in valued for flag in parameter.opts):
        for other in ("--debug", "-q", "--", "--debug=1"):
            with pytest.raises(UsageError, match=f"{flag} needs a value, and {other} is a flag"):
                line_of(name).read([flag, other])
        if flag.startswith("--"):
            assert line_of(name).read([f"{flag}=--debug"]).arguments == [f"{flag}=--debug"]
        assert line_of(name).read([flag, "-1", "x"]).arguments == [flag, "-1", "x"]


@pytest.mark.parametrize("name", PROGRAM)
def test_every_flag_may_be_written_with_underscores(name):
    for parameter in options_of(PROGRAM[name]):
        for flag in (*parameter.opts, *parameter.secondary_opts):
            value = [] if parameter.is_flag else ["x"]
            other = "--" + flag[2:].replace("-", "_") if flag.startswith("--") else flag
            assert line_of(name).read([other, *value]).arguments == [flag, *value]


def test_other_spellings_reach_the_model(model):
    ways = [
        (["--max-tokens", "7"], "max_new_tokens", 7),
        (["--max_tokens=7"], "max_new_tokens", 7),
        (["--max_new_tokens", "7"], "max_new_tokens", 7),
        (["--temp", "1.5"], "temperature", 1.5),
        (["--no_repeat_ngram_size=3"], "no_repeat_ngram_size", 3),
    ]
    for typed, name, value in ways:
        assert run(["generate", "x", *typed]) == 0
        assert model.options.given()[name] == value
        assert run(["run", "x", *typed]) == 0
    for typed in (["-s", "Be kind"], ["-sBe kind"], ["-qsBe kind"], ["--system=Be kind"]):
        assert run(["generate", "x", *typed]) == 0
        assert model.settings["system"] == "Be kind"


def test_json_and_jsonl_are_formats(fake):
    for typed, right in ((["--json"], "json"), (["--jsonl"], "jsonl")):
        result = fake("generate", "x", "--seed", "1", *typed)
        assert (result.code, result.err) == (0, "")
        assert result.out == fake("generate", "x", "--seed", "1", "--format", right).out


def test_learning_rate():
    assert line_of("finetune").read(["d", "--lr", "1e-4"]).arguments == [
        "d", "--learning-rate", "1e-4",
    ]  # fmt: skip


def test_an_accepted_spelling_means_a_flag_of_some_command():
    flags = {f for command in PROGRAM.values() for p in options_of(command) for f in p.opts}
    meant = {typed: right.partition("=")[0] for typed, right in spellings.FLAGS.items()}
    assert [typed for typed, right in meant.items() if right not in flags] == []


def test_a_foreign_flag_is_answered_with_a_flag_of_the_command():
    answered = set()
    for name, command in PROGRAM.items():
        flags = {flag for p in options_of(command) for flag in (*p.opts, *p.secondary_opts)}
        for foreign, answers in spellings.ANSWERED_FLAGS.items():
            fit = [a for a in answers if not a.startswith("-") or a.split()[0] in flags]
            is_accepted = spellings.FLAGS.get(foreign, "-").partition("=")[0] in flags
            if foreign in flags or is_accepted or not fit:
                continue
            answered.add(foreign)
            with pytest.raises(UsageError, match=f"there is no option {foreign}") as raised:
                line_of(name).read(["x", foreign, "5"])
            right = f"write {fit[0]}" if fit[0][0] == "-" else fit[0]
            assert raised.value.hint == right, (name, foreign)
    assert answered == set(spellings.ANSWERED_FLAGS)


def test_the_table_is_as_long_as_it_should_be():
    assert len(spellings.ANSWERED_FLAGS) > 100


UNKNOWN = [
    (["generate", "x", "--renormalize-logits", "true"], "write -O renormalize_logits=VALUE"),
    (["generate", "x", "--penalty_alpha", "1"], "penalty_alpha cannot be set: contrastive"),
    (["finetune", "x", "--adam-beta2", "0.9"], "write -O adam_beta2=VALUE"),
    (["finetune", "x", "--num_train_epochs", "3"], "write --epochs"),
    (["finetune", "x", "--save-total-limit", "3"], "write --save-steps"),
    (["generate", "x", "--temperatur", "3"], "did you mean --temperature?"),
    (["generate", "x", "--qwertz", "3"], "hfgen generate --help"),
    (["models", "list", "--qwertz"], "hfgen models list --help"),
]


@pytest.mark.parametrize(("arguments", "hint"), UNKNOWN, ids=lambda v: str(v)[:40])
def test_unknown_flags(refused, arguments, hint):
    refused(*arguments).assert_error(2, "there is no option --", hint)


def test_commands_by_other_names():
    for typed, right in spellings.COMMANDS.items():
        assert own_command([*typed, "x", "--json"]) == [*right, "x", "--json"]
        assert " ".join(right) in PROGRAM, typed


def test_commands_of_other_programs():
    for typed, answer in spellings.ANSWERED_COMMANDS.items():
        assert typed not in COMMANDS
        with pytest.raises(UsageError, match=f"there is no command '{typed}'") as raised:
            own_command([typed, "x"])
        assert raised.value.hint == answer, typed


def test_help_and_version_as_commands(installed):
    assert installed("help").out == installed("--help").out
    assert installed("help", "models", "pull").out == installed("models", "pull", "--help").out
    assert installed("help", "run").out == installed("generate", "--help").out
    assert installed("version").out == installed("--version").out


def test_a_group_alone_is_its_list(installed):
    assert installed("models").out == installed("models", "list").out
    assert installed("models", "--json").out == installed("list", "--json").out
    assert installed("config").out == installed("config", "list").out
    assert "Usage: hfgen models" in installed("models", "-h").out


def test_a_model_of_a_command_may_be_named_with_m(installed):
    shown = installed("models", "show", "storyteller").out
    for typed in (["-m", "storyteller"], ["--model=storyteller"]):
        assert installed("models", "show", *typed).out == shown
        assert installed("show", *typed).out == shown


def test_words_of_a_prompt_that_stand_apart_are_noticed(fake):
    result = fake("generate", "Once", "--stop", "END", "STOP", "-n", "5", "x y")
    assert result.out == "Once STOP x y" + ANSWER + "\n"
    assert result.err == (
        "notice: STOP 'x y' is taken for part of the prompt, not for a flag's value\n"
    )
    for quiet in (["Once", "upon", "-n", "5"], ["-n", "5", "Once", "upon"], ["Once", "--", "upon"]):
        assert fake("generate", *quiet).err == ""
    assert fake("generate", "Say:", "-n", "5", "-", data="hello").err == ""
    assert fake("generate", "Once", "-n", "5", "-q", "5").err == ""


def test_usage_errors_import_no_library():
    code = (
        "import sys; from hfgen.cli.program.main import run\n"
        "for line in ('generate x --gpu', 'generate --lines 0', '-m x y', 'train', 'Hello'):\n"
        "    assert run(line.split()) == 2\n"
        "print([m for m in ('torch', 'transformers', 'numpy') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout == "[]\n"
