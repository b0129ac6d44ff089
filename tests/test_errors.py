"""Messages and hints name options as their reader writes them: in Python, as flags, in files."""

from __future__ import annotations

import ast
import traceback

import pytest
from test_structure import PACKAGE

from hfgen.cli.flags.common import in_words_of_flags
from hfgen.cli.flags.flag_spelling import FlagSpelling
from hfgen.cli.flags.generation import read_options
from hfgen.cli.program.failures import explain
from hfgen.errors import ContextOverflow, HfgenError, InvalidOption, OptionConflict, UsageError
from hfgen.generation.options.options import SPECS, GenerationOptions
from hfgen.generation.prompts.context import fit
from hfgen.mentions import mention, mentioned, spelled
from hfgen.setting_names import FileSpelling, VariableSpelling

FLAGS = FlagSpelling(specs=SPECS)


@pytest.mark.parametrize(
    ("value", "python", "flag", "file", "variable"),
    [
        (None, "overflow", "--overflow", "overflow", "HFGEN_OVERFLOW"),
        ("slide", 'overflow="slide"', "--overflow slide", 'overflow = "slide"',
         "HFGEN_OVERFLOW=slide"),
        ("a b", 'overflow="a b"', "--overflow 'a b'", 'overflow = "a b"', "HFGEN_OVERFLOW=a b"),
    ],
)  # fmt: skip
def test_a_mention_is_spelled_as_its_reader_writes(
    value: str | None, python: str, flag: str, file: str, variable: str
) -> None:
    text = f"use {mention('overflow', value)} (\u2013 =)"
    expected = [f"use {word} (\u2013 =)" for word in (python, flag, file, variable)]
    spellings = (FLAGS, FileSpelling(), VariableSpelling())
    assert [spelled(text), *(spelled(text, one) for one in spellings)] == expected
    assert mentioned(text) == ("overflow",)


def test_switches_and_short_flags() -> None:
    asked = [mention("do_sample", False), mention("watermark", True), mention("max_new_tokens", 7)]
    assert [spelled(one) for one in asked] == [
        "do_sample=False", "watermark=True", "max_new_tokens=7",
    ]  # fmt: skip
    assert [spelled(one, FLAGS) for one in asked] == ["--greedy", "--watermark", "-n 7"]


def test_an_error_speaks_python_and_has_its_hint_in_the_traceback() -> None:
    with pytest.raises(ContextOverflow) as caught:
        fit(range(90), 20, is_explicit=True, window=100, overflow="error")
    shown = traceback.format_exception_only(caught.value)
    assert "".join(shown).splitlines()[-1] == (
        'hint: use max_new_tokens=10, overflow="truncate" or overflow="slide"'
    )
    assert explain(caught.value).hint == (
        "use --max-new-tokens 10, --overflow truncate or --overflow slide"
    )


def test_the_boundary_knows_short_flags_and_what_was_typed() -> None:
    with pytest.raises(ContextOverflow) as caught, in_words_of_flags({}):
        fit(range(90), 20, is_explicit=True, window=100, overflow="error")
    assert explain(caught.value).hint == "use -n 10, --overflow truncate or --overflow slide"
    with pytest.raises(InvalidOption) as wrong:
        read_options({"temperature": "hot"})
    failure = explain(wrong.value, "hfgen batch")
    assert failure.message.startswith("--temperature hot: must be")
    assert failure.hint == "hfgen batch --help lists the options with their ranges"
    with pytest.raises(InvalidOption, match="temperature = 'hot': must be"):
        GenerationOptions(temperature="hot")  # type: ignore[arg-type]


def test_conflicts_name_options_that_nobody_typed() -> None:
    with pytest.raises(OptionConflict) as caught:
        read_options({"negative_prompt": "x"})
    assert caught.value.message == "--negative-prompt has no effect without --guidance-scale"
    assert caught.value.options == ("negative_prompt", "guidance_scale")
    with pytest.raises(OptionConflict, match=r"^negative_prompt has no effect"):
        GenerationOptions(negative_prompt="x")


def test_words_around_a_message_leave_its_options_known() -> None:
    error = UsageError(f"drop {mention('top_p')}", hint=f"or {mention('top_k', 3)}")
    error.add_context("prompt 3: ", " (so it is)")
    assert str(error) == "prompt 3: drop top_p (so it is)"
    error.spell(FLAGS)
    assert str(error) == "prompt 3: drop --top-p (so it is)"
    assert error.__notes__ == ["hint: or --top-k 3"]


def test_generation_never_writes_a_flag() -> None:
    for path in [*(PACKAGE / "generation").glob("*.py"), PACKAGE / "language_model.py"]:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and ast.unparse(node.func).split(".")[-1] in _errors():
                assert "--" not in ast.unparse(node), f"{path}:{node.lineno}"


def _errors() -> set[str]:
    found, names = [HfgenError], set()
    while found:
        one = found.pop()
        names.add(one.__name__)
        found += one.__subclasses__()
    return names
