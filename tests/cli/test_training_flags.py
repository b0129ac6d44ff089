"""Flags, `-O` and `--config` of finetune: each reaches the options, and errors name it as typed."""

from __future__ import annotations

import dataclasses
import random
import re
import subprocess
import sys

import pytest

import hfgen
from hfgen.cli.flags.training import EVERYDAY, FINETUNE
from hfgen.cli.program.main import run
from hfgen.errors import ConfigError, DataError, HfgenError, UnknownOption, UsageError
from hfgen.mentions import spelled
from hfgen.training.options.finetune import SPECS, TrainingOptions
from hfgen.training.options.trainer_fields import BY_OPTION, PASSED_ON, REFUSED, RENAMED
from hfgen.training.runs.finetuning import FinetuneRun
from tests.processor_time import best_s

read_options = FINETUNE.read_options

# A valid value of each option, as typed and as TrainingOptions holds it, and what it needs.
VALUES = {
    "text_column": ("body", "body", []),
    "prompt_column": ("q", "q", ["--completion-column", "a"]),
    "completion_column": ("a", "a", ["--prompt-column", "q"]),
    "template": ("Q: {q}\\nA: {a}", "Q: {q}\\nA: {a}", []),
    "chat_template": ("tool_use", "tool_use", []),
    "on_bad_row": ("skip", "skip", []),
    "max_length": ("64", 64, []),
    "long_rows": ("drop", "drop", []),
    "val_data": ("other.jsonl", "other.jsonl", []),
    "val_split": ("0.1", 0.1, []),
    "lora_r": ("8", 8, ["--lora"]),
    "lora_alpha": ("16", 16.0, ["--dora"]),
    "lora_dropout": ("0.05", 0.05, ["--qlora"]),
    "lora_target": ("attention", ("attention",), ["--lora"]),
    "epochs": ("2.5", 2.5, []),
    "max_steps": ("10", 10, []),
    "batch_size": ("auto", "auto", []),
    "gradient_accumulation_steps": ("4", 4, []),
    "learning_rate": ("3e-4", 3e-4, []),
    "lr_scheduler": ("linear", "linear", []),
    "warmup": ("0.1", 0.1, []),
    "weight_decay": ("0", 0.0, []),
    "optim": ("adafactor", "adafactor", []),
    "max_grad_norm": ("0.5", 0.5, []),
    "dropout": ("0.2", 0.2, []),
    "seed": ("7", 7, []),
    "precision": ("bf16", "bf16", []),
    "eval_steps": ("5", 5, []),
    "save_steps": ("6", 6, []),
    "early_stopping": ("3", 3, []),
    "report_to": ("tensorboard", ("tensorboard",), []),
}
SWITCHES = ["train_on_prompt", "packing", "lora", "dora", "qlora", "gradient_checkpointing"]


@pytest.fixture
def library(monkeypatch):
    """What the library is called with; it then refuses, so that nothing is trained."""
    calls = []

    def execute(run):
        calls.append(vars(run.request))
        raise HfgenError("that is all")

    monkeypatch.setattr(FinetuneRun, "execute", execute)
    monkeypatch.setattr("hfgen.cli.program.main._QUIET_LIBRARIES", {})
    return calls


def test_the_tables_above_are_complete():
    assert {*VALUES, *SWITCHES} == set(SPECS)


@pytest.mark.parametrize("name", VALUES)
def test_option_reaches_the_library_in_every_way(library, tmp_path, name):
    typed, value, needs = VALUES[name]
    flag = "--" + name.replace("_", "-")
    file = tmp_path / "options.toml"
    written = f"'{typed}'" if isinstance(value, str | tuple) else typed
    file.write_text(f"{name} = {written}\n")
    ways = [
        [flag, typed], [f"{flag}={typed}"], ["-O", f"{name}={typed}"],
        ["--set", f"{name.replace('_', '-')}={typed}"], ["--config", str(file)],
    ]  # fmt: skip
    needed = {need[2:].replace("-", "_") for need in needs if need.startswith("--")}
    for way in ways:
        library.clear()
        assert run(["finetune", "x.jsonl", *way, *needs]) == 1
        given = library[0]["options"].given()
        assert given.pop(name) == value, way
        assert set(given) == needed, way


@pytest.mark.parametrize("name", SWITCHES)
def test_switches_reach_the_library(library, name):
    for way in ([f"--{name.replace('_', '-')}"], ["-O", f"{name}=true"]):
        assert run(["finetune", "x.jsonl", *way]) == 1
        assert library.pop()["options"].given() == {name: True}


def test_nothing_typed_is_nothing_given(library):
    assert run(["finetune", "x.jsonl"]) == 1
    assert library[0]["options"] == TrainingOptions()


def test_other_flags_reach_the_library(library, monkeypatch):
    monkeypatch.delenv("HFGEN_MODEL", raising=False)
    assert run(
        ["finetune", "a", "b", "-m", "org/name", "-o", "out", "--device", "cpu", "--offline",
         "--trust-remote-code", "--resume"]
    ) == 1  # fmt: skip
    call = library.pop()
    assert (call["data"], call["model"], call["output"]) == (["a", "b"], "org/name", "out")
    assert (call["device"], call["offline"], call["trust_remote_code"]) == ("cpu", True, True)
    assert (call["resume"], call["overwrite"], call["stdin"]) == (True, False, None)
    monkeypatch.setenv("HFGEN_MODEL", "from-environment")
    assert run(["finetune", "a", "--overwrite"]) == 1
    call = library.pop()
    assert (call["model"], call["output"]) == ("from-environment", None)
    assert (call["device"], call["offline"], call["trust_remote_code"]) == ("auto", False, False)
    assert (call["resume"], call["overwrite"]) == (False, True)


def test_the_command_line_and_python_make_the_same_request(library, monkeypatch):
    monkeypatch.delenv("HFGEN_MODEL", raising=False)
    typed = ["-m", "org/name", "-o", "out", "--learning-rate", "0.1", "--device", "cpu", "--resume"]
    assert run(["finetune", "a", *typed]) == 1
    with pytest.raises(HfgenError, match="that is all"):
        hfgen.finetune(
            ["a"], model="org/name", output="out", learning_rate=0.1, device="cpu", resume=True
        )
    from_command, from_python = (
        {name: call[name] for name in call if name not in ("listener", "stop", "command")}
        for call in library
    )
    assert from_command == from_python
    assert from_command["options"].learning_rate == 0.1


def test_repeated_flags_add_up_where_they_are_lists_and_the_last_wins_elsewhere(library):
    targets = ["--lora-target", "c_attn", "--lora-target", "c_proj"]
    assert run(["finetune", "x", "--lora", *targets, "--epochs", "1", "--epochs", "2"]) == 1
    options = library.pop()["options"]
    assert (options.lora_target, options.epochs) == (("c_attn", "c_proj"), 2)


@pytest.mark.parametrize("name", sorted(PASSED_ON))
def test_every_other_training_argument_is_set_by_name(name, tmp_path):
    value = 0 if name.startswith("adam_beta") else 1  # which are below 1
    options, typed = read_options({}, [f"{name}={value}"])
    assert dict(options.arguments) == {name: value}
    assert typed == {name: f"-O {name}={value}"}
    file = tmp_path / "options.toml"
    file.write_text(f"{name} = {value}\n")
    assert read_options({}, file=str(file))[0] == options


@pytest.mark.parametrize(
    ("typed", "message", "hint"),
    [
        ("group_by_length=true", "group_by_length (renamed to train_sampling_strategy in "
         "Transformers 5) cannot be set: rows are drawn at random, and packed instead of padded",
         "drop group_by_length"),
        ("warmup_ratio=0.1", "warmup_ratio (renamed to warmup_steps in Transformers 5) is set by "
         "--warmup", "write --warmup instead"),
        ("no-cuda=true", "no_cuda (renamed to use_cpu in Transformers 5) is set by --device",
         "write --device instead"),
        ("per_gpu_eval_batch_size=4", "Transformers renamed per_gpu_eval_batch_size to "
         "per_device_eval_batch_size", "write per_device_eval_batch_size instead"),
        ("save_safetensors=true", "save_safetensors cannot be set: Transformers 5 has no such "
         "field; weights are always written as safetensors", "drop save_safetensors"),
    ],
)  # fmt: skip
def test_names_of_transformers_4_say_what_became_of_them(library, capfd, typed, message, hint):
    assert run(["finetune", "x.jsonl", "-O", typed]) == 2
    assert capfd.readouterr().err == f"error: -O {typed}: {message}\nhint: {hint}\n"
    name, _, value = typed.replace("-", "_").partition("=")
    with pytest.raises(UnknownOption) as caught:
        TrainingOptions.from_mapping({name: value})
    assert name in caught.value.message and "Transformers" in caught.value.message


def test_former_names_are_fields_no_more_and_their_new_ones_are():
    from transformers import TrainingArguments

    fields = {field.name for field in dataclasses.fields(TrainingArguments)}
    assert fields.issuperset(RENAMED.values())
    assert not fields & set(RENAMED)


@pytest.mark.parametrize("name", sorted({*REFUSED, *BY_OPTION}))
def test_every_refused_training_argument_says_why(name):
    with pytest.raises(UnknownOption) as caught:
        read_options({}, [f"{name}=1"])
    assert caught.value.message.startswith(f"-O {name}=1: {name} ")
    reason = spelled(REFUSED.get(name) or " is set by --")
    assert reason in caught.value.message
    assert caught.value.hint


def refusal(flags=(), assignments=(), file=None):
    with pytest.raises(HfgenError) as caught:
        read_options(dict(flags), assignments, file=None if file is None else str(file))
    return caught.value


@pytest.mark.parametrize(
    ("flags", "assignments", "message", "hint"),
    [
        ({"epochs": "x"}, [], "--epochs x: must be a number above 0", ""),
        ({"batch_size": "0"}, [], "--batch-size 0: must be auto or a whole number", ""),
        ({"max_steps": ""}, [], '--max-steps "": must be a whole number', ""),
        ({"lr_scheduler": "cos"}, [], "--lr-scheduler cos: must be cosine or linear", ""),
        ({"lora_r": "8"}, [], "--lora-r has no effect without --lora, --dora or", "add --lora"),
        ({"dora": True, "qlora": True}, [], "--dora and --qlora contradict each other", ""),
        ({"epochs": "1"}, ["epochs=2"], "epochs is set twice: by --epochs 1 and by -O", "drop"),
        ({"lora": True}, ["lora=true"], "lora is set twice: by --lora and by -O lora=true", ""),
        ({}, ["seed=1", "seed=2"], "seed is set twice: by -O seed=1 and by -O seed=2", ""),
        ({}, ["learning_rate=11"], "-O learning_rate=11: must be a number above 0", ""),
        ({}, ["epochs"], "-O epochs: not NAME=VALUE", "as in -O"),
        ({}, ["adam_beta=1"], "-O adam_beta=1: unknown option 'adam_beta'", "did you mean adam"),
        ({}, ["lr=1"], "-O lr=1: unknown option 'lr'", ""),
        ({}, ["num_train_epochs=3"], "num_train_epochs is set by --epochs", "write --epochs"),
        ({}, ["auto_find_batch_size=1"], "is set by --batch-size auto", "--batch-size auto"),
        ({}, ["model=gpt2"], "model is no option of training", "give it as a flag: --model"),
        ({}, ["fsdp=null"], "-O fsdp=null: must be a value", ""),
    ],
)
def test_errors_name_the_option_as_typed(flags, assignments, message, hint):
    error = refusal(flags, assignments)
    assert message in error.message
    assert hint in (error.hint or "")
    assert error.exit_code == 2


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ('epochs = "3"', "1: epochs = '3': must be a number", "without quotes"),
        ("\n\nepochs = -1", "3: epochs = -1: must be a number above 0", "correct it"),
        ("epoch = 3", "1: unknown option 'epoch'", "did you mean epochs?"),
        ("seed = 1\nx =", "2: not valid TOML", "correct it"),
        ("seed = 1\n\ndora = true\nqlora = true", "3: dora and qlora contradict", "leave one"),
        ("lora_r = 8", "1: lora_r has no effect without lora, dora or qlora", "add lora"),
        ("[lora]\nr = 1", "1: lora = {'r': 1}: must be true or false", ""),
        ("num_train_epochs = 3", "1: num_train_epochs is set by epochs", "write epochs"),
        ("output_dir = 'x'", "1: output_dir is set by --output", "write --output"),
        ("model = 'gpt2'", "1: model is no option of training", "--model"),
        ("max-steps = 1\nmax_steps = 2", "2: max_steps is set twice", ""),
        ("push_to_hub = true", "1: push_to_hub cannot be set: hfgen uploads nothing", "drop"),
        ("warmup = 2.5", "1: warmup = 2.5: must be a part below 1", ""),
    ],
)
def test_errors_of_the_file_name_the_line(tmp_path, text, message, hint):
    file = tmp_path / "options.toml"
    file.write_text(text)
    error = refusal(file=file)
    assert error.message.startswith(f"{file}:{message}")
    assert hint in error.hint
    assert isinstance(error, ConfigError)


def test_a_file_that_cannot_be_read(tmp_path):
    for name in (tmp_path / "none.toml", tmp_path, "a\0b"):
        error = refusal(file=name)
        assert isinstance(error, DataError)
        assert error.message.startswith("cannot read --config ")
    (tmp_path / "bad.toml").write_bytes(b"optim = '\xff'")
    assert "1: not valid UTF-8" in refusal(file=tmp_path / "bad.toml").message


@pytest.mark.parametrize(
    ("text", "flags", "assignments", "expected"),
    [
        ("epochs = 1\nseed = 2", {"epochs": "3"}, [], {"epochs": 3.0, "seed": 2}),
        ("adam_beta2 = 0.9", {}, ["adam_beta2=0.8"], {"arguments": {"adam_beta2": 0.8}}),
        ("adam_beta2 = 0.9", {}, ["tf32=true"], {"arguments": {"adam_beta2": 0.9, "tf32": True}}),
        # Each level needs the other.
        ("lora = true", {"lora_r": "8"}, [], {"lora": True, "lora_r": 8}),
        ("lora_r = 8", {"dora": True}, [], {"dora": True, "lora_r": 8}),
        # The stronger level decides what contradicts it.
        ("val_split = 0.1", {"val_data": "x"}, [], {"val_data": "x"}),
        ("dora = true", {"qlora": True}, [], {"qlora": True}),
        ("dora = true\nlora_r = 4", {"lora": True}, [], {"lora": True, "lora_r": 4}),
        ("lora = true\nlora_r = 8", {}, ["lora=false"], {"lora": False}),
        ("early_stopping = 2", {"val_split": "0"}, [], {"val_split": 0.0}),
        ("batch-size = 'auto'", {}, [], {"batch_size": "auto"}),
        ("report_to = 'wandb'", {}, [], {"report_to": ("wandb",)}),
        ("[fsdp_config]\nmin_num_params = 1", {}, [],
         {"arguments": {"fsdp_config": {"min_num_params": 1}}}),
    ],
)  # fmt: skip
def test_flags_go_before_the_file(tmp_path, text, flags, assignments, expected):
    file = tmp_path / "options.toml"
    file.write_text(text)
    assert read_options(flags, assignments, file=str(file))[0].given() == expected


def test_each_option_is_told_as_typed_or_with_its_line(tmp_path):
    file = tmp_path / "options.toml"
    file.write_text("epochs = 1\n\nmax_length = 100000\n")
    _, typed = read_options({"epochs": "3"}, ["tf32=true"], file=str(file))
    assert typed == {
        "epochs": "--epochs 3",
        "tf32": "-O tf32=true",
        "max_length": f"{file}:3: max_length = 100000",
    }


def test_an_error_of_the_library_names_the_line(monkeypatch, tmp_path, capfd):
    from hfgen.errors import InvalidOption

    def execute(run):
        raise InvalidOption("max_length", 100000, "at most 512, the model's window")

    monkeypatch.setattr(FinetuneRun, "execute", execute)
    monkeypatch.setattr("hfgen.cli.program.main._QUIET_LIBRARIES", {})
    file = tmp_path / "options.toml"
    file.write_text("max_length = 100000\n")
    assert run(["finetune", "x", "--config", str(file)]) == 2
    assert capfd.readouterr().err.splitlines()[0] == (
        f"error: {file}:1: max_length = 100000: must be at most 512, the model's window"
    )
    assert run(["finetune", "x", "--max-length", "100000"]) == 2
    assert "error: --max-length 100000: must be at most 512" in capfd.readouterr().err


def test_random_values_are_taken_or_refused_as_usage_errors():
    rng = random.Random(0)
    texts = ["0", "1", "-1", "0.5", "nan", "inf", "1e309", "", " ", "x", "true", "null", "[1]",
             "{}", "9" * 40, "1,2", "=", "\x1b[1m", "é你\u2028", "١", "1_000",
             "[" * 2000]  # fmt: skip
    outcomes = set()
    for _ in range(3000):
        names = rng.sample(list(SPECS), rng.choice([1, 2, 3]))
        flags = {
            name: True if SPECS[name].kind == "bool"
            else [rng.choice(texts)] if SPECS[name].kind == "strs" else rng.choice(texts)
            for name in names
        }  # fmt: skip
        other = rng.choice([*SPECS, *PASSED_ON, *REFUSED, *BY_OPTION, "x", ""])
        try:
            options, _ = read_options(flags, rng.choice([[], [f"{other}={rng.choice(texts)}"]]))
        except HfgenError as error:
            assert isinstance(error, UsageError), error
            outcomes.add("refused")
        else:
            assert TrainingOptions.from_mapping(options.given()) == options
            outcomes.add("taken")
    assert outcomes == {"refused", "taken"}


# The help page


def test_help_shows_everyday_flags_first_and_every_panel_in_order(installed):
    out = installed("finetune", "--help").out
    panels = [line.split("─ ")[1].split(" ─")[0] for line in out.splitlines() if "╭─" in line]
    assert panels == [
        "Arguments", "Options", "Data", "Adapters", "Training", "Progress", "Model", "Messages",
    ]  # fmt: skip
    first = out[out.index("─ Options") : out.index("─ Data ")]
    order = ["--model", "--output", *(f"--{name.replace('_', '-')}" for name in EVERYDAY),
             "--dry-run", "--resume"]  # fmt: skip
    places = [first.index(flag + " ") for flag in order]
    assert places == sorted(places)


def test_every_option_is_in_the_help_with_its_range_and_default(installed):
    out = installed("finetune", "--help", COLUMNS="200").out
    flags = set(re.findall(r"--[a-z0-9-]+", out))
    assert {"--" + name.replace("_", "-") for name in SPECS} <= flags
    assert "(auto or 1 to 65536)" in out
    assert "(1 to 4096; default 16)" in out
    assert "<bool>" not in out and "list[str]" not in out


@pytest.mark.parametrize("width", [60, 80, 120])
def test_help_keeps_to_the_width_of_the_terminal(installed, width):
    out = installed("finetune", "--help", COLUMNS=str(width)).out
    assert max(map(len, out.splitlines())) <= width


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["finetune", "--help"], 0), (["finetune"], 2), (["finetune", "x", "--epochs", "0"], 2),
        (["finetune", "x", "-O", "y=1"], 2), (["finetune", "./none.jsonl"], 1),
        (["finetune", "x", "--device", "gpu"], 2), (["finetune", "x", "--template", "{"], 2),
        (["finetune", "./none.jsonl", "--dry-run"], 1),
    ],
)  # fmt: skip
def test_no_library_is_imported(arguments, code):
    script = (
        "import sys; from hfgen.cli.program.main import run; code = run(sys.argv[1:]);"
        "heavy = ('torch', 'transformers', 'huggingface_hub', 'numpy', 'peft', 'accelerate');"
        "print(code, [m for m in heavy if m in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, *arguments], capture_output=True, text=True, timeout=60
    )
    assert done.stderr.splitlines()[-1] == f"{code} []", done


def test_help_and_usage_errors_take_little_processor_time(cold):
    def best(*arguments):
        return best_s(lambda: cold(*arguments))

    assert best("finetune", "--help") < 0.8
    assert best("finetune", "--epochs", "0", "x") < 0.8
