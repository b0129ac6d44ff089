"""hfgen as a library: typed, named as the flags are, and in Python's words."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import venv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import hfgen
from hfgen.batch.input.rows import read_row
from hfgen.cli.flags.generation import read_options
from hfgen.errors import DataError, InvalidOption, OptionConflict, UsageError
from hfgen.generation.options.options import FLAG_NAMES, SPECS, GenerationOptions
from hfgen.generation.options.presets import PRESETS
from hfgen.generation.prompts.conversation import as_prompt

PROGRAM = """\
import hfgen

lm = hfgen.load("storyteller", device="cpu")
reveal_type(lm.generate("x", stop=".", greedy=True))
reveal_type(lm.generate(["x", hfgen.Prompt("y")], preset="precise", max_new_tokens=5))
reveal_type(lm.generate([{"role": "user", "content": "Hi"}], seed=1))
reveal_type(hfgen.finetune([{"text": "a"}], model="storyteller", lora=True, epochs=1))
reveal_type(hfgen.pretrain("book.txt", size="1m", adam_beta2=0.9).after)
for piece in lm.stream("x", slots=2):
    reveal_type(piece.text)
lm.stream("x", temprature=1)
lm.stream("x", preset="precize")
hfgen.finetune("a.jsonl", epochs="3")
"""
SEEN = [
    'note: Revealed type is "hfgen.generation.records.Record"',
    'note: Revealed type is "list[hfgen.generation.records.Record]"',
    'note: Revealed type is "hfgen.generation.records.Record"',
    'note: Revealed type is "hfgen.training.runs.outcome.Finetuned"',
    'note: Revealed type is "hfgen.training.events.Evaluation"',
    'note: Revealed type is "str"',
]


def test_a_type_checker_sees_the_installed_package(tmp_path: Path) -> None:
    pytest.importorskip("mypy")
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    venv.create(tmp_path / "env", with_pip=False)
    python = tmp_path / "env" / "bin" / "python"
    site = sysconfig.get_path("purelib", vars={"base": str(tmp_path / "env")})
    models = shutil.ignore_patterns("bundled", "__pycache__")
    shutil.copytree(Path(hfgen.__file__).parent, Path(site) / "hfgen", ignore=models)
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", f"--python-executable={python}", "program.py",
         f"--cache-dir={tmp_path / 'cache'}", "--no-error-summary"],
        cwd=tmp_path, capture_output=True, text=True, timeout=280,
        env={name: value for name, value in os.environ.items() if name != "MYPYPATH"},
    )  # fmt: skip
    lines = [line.partition(": ")[2] for line in done.stdout.splitlines()]
    assert [line for line in lines if line.startswith("note: Revealed")] == SEEN, done.stdout
    wrong = [line for line in lines if line.startswith("error: ")]
    assert len(wrong) == 3, done.stdout
    assert all(word in "\n".join(wrong) for word in ("temprature", "preset", "epochs"))


def test_every_flag_is_a_keyword() -> None:
    assert FLAG_NAMES == {"stop": ("stop_strings", False), "greedy": ("do_sample", True)}
    asked = GenerationOptions.from_mapping({"stop": ".", "greedy": True})
    assert asked == read_options({"stop_strings": ["."], "do_sample": False})
    assert GenerationOptions.from_mapping({"greedy": False}).do_sample is True
    assert GenerationOptions.from_mapping({"stop": None, "stop_strings": "."}).stop_strings == (
        ".",
    )
    with pytest.raises(OptionConflict, match="stop says what stop_strings says too"):
        GenerationOptions.from_mapping({"stop_strings": ".", "stop": "!"})
    with pytest.raises(InvalidOption, match="do_sample = 'perhaps'"):
        GenerationOptions.from_mapping({"greedy": "perhaps"})


def test_names_of_flags_give_the_same_text(lm_of: Callable[[str], Any]) -> None:
    lm = lm_of("gpt2")
    plain = lm.generate("Once", do_sample=False, max_new_tokens=12, seed=1)
    assert lm.generate("Once", greedy=True, max_new_tokens=12, seed=1) == plain
    stop = plain.completion[6:9]
    assert lm.generate("Once", greedy=True, stop=stop, max_new_tokens=12, seed=1) == lm.generate(
        "Once", do_sample=False, stop_strings=[stop], max_new_tokens=12, seed=1
    )


@pytest.mark.parametrize("preset", PRESETS)
def test_presets_stand_between_keywords_and_options(
    lm_of: Callable[[str], Any], preset: str
) -> None:
    lm, values = lm_of("gpt2"), dict(PRESETS[preset].values)
    asked = {"seed": 3, "max_new_tokens": 8}
    options = GenerationOptions(temperature=0.5, top_k=3)
    assert lm.generate("Once", options, preset=preset, **asked) == lm.generate(
        "Once", options, **(values | asked)
    )
    over = values | {"temperature": 0.6}
    assert lm.generate("Once", preset=preset, temperature=0.6, **asked) == lm.generate(
        "Once", **(over | asked)
    )


def test_an_unknown_preset_or_option_is_named_in_python(lm_of: Callable[[str], Any]) -> None:
    with pytest.raises(UsageError, match="no preset 'creativ'") as caught:
        lm_of("gpt2").generate("x", preset="creativ")
    assert caught.value.__notes__ == ['hint: use preset="creative"']
    with pytest.raises(UsageError, match="unknown option 'temprature'"):
        lm_of("gpt2").generate("x", temprature=1)


def test_a_loaded_model_shows_what_it_is(lm_of: Callable[[str], Any]) -> None:
    assert repr(lm_of("gpt2")) == (
        "<LanguageModel gpt2: 173K parameters, float32, cpu, context 128 tokens>"
    )


def test_a_conversation_is_read_as_in_a_batch() -> None:
    messages = [
        {"role": "system", "content": "Be kind."},
        {"role": "user", "content": [{"type": "text", "text": "Hi"}]},
    ]
    row = read_row({"messages": messages}, 0, "f:1")
    prompt = as_prompt(messages)
    assert (prompt.text, prompt.messages) == (row.prompt.text, row.prompt.messages)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ([[]], "prompt 0 is a list, not a text or a conversation"),
        ([{"role": "user"}], 'prompt 0: a message needs "role" and a text as "content"'),
        ([{"role": "assistant", "content": "x"}], "nothing is left to answer"),
        (iter([{"role": "user", "content": "x"}]), "prompt 0 is a dict"),
        ([3], "prompt 0 is a int"),
        ([[{"role": "user", "content": "x"}], 3], "prompt 1 is a int"),
    ],
)
def test_what_is_no_prompt(lm_of: Callable[[str], Any], value: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        lm_of("gpt2").generate(value, max_new_tokens=1)


ROWS = [{"prompt": f"{n} and {n} is", "completion": f" {2 * n}"} for n in range(20)]


@pytest.mark.parametrize("wrong", [[*ROWS, 3], [{"text": {1, 2}}], [*ROWS, "a.jsonl"]])
def test_rows_that_are_none_are_refused_at_once(wrong: Any, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"^rows:\d+: "):
        hfgen.finetune(wrong, model="storyteller", output=tmp_path / "o")


def test_bad_rows_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"^rows:21: ") as caught:
        hfgen.finetune(
            [*ROWS, {"prompt": "x"}], model="storyteller", output=tmp_path / "o", device="cpu"
        )
    assert 'on_bad_row="skip"' in str(caught.value.hint)


def test_the_keywords_are_all_options() -> None:
    from hfgen.generation.options.keywords import GenerationKeywords

    assert set(GenerationKeywords.__annotations__) == {*SPECS, *FLAG_NAMES, "preset"}
