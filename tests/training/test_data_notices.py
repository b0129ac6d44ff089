"""What the user is told about the data: how it is read, what runs together, what is left out."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import pytest
from samples import ROWS, jsonl

from hfgen.training.data.chat_template import plain_template
from hfgen.training.data.data_notices import data_notices
from hfgen.training.data.dataset import Prepared, prepare
from hfgen.training.data.encode import ExampleEncoder
from hfgen.training.data.examples import Example
from hfgen.training.data.long_rows import Fitter, LongRows
from hfgen.training.data.recognition import ColumnChoice
from hfgen.training.reading.files import read_rows
from hfgen.training.reading.rows import BadRows
from hfgen.training.report.asking import Asking, Survey


def read(
    tokenizer: Any,
    folder: Path,
    *rows: Any,
    window: int = 64,
    policy: LongRows = "split",
    **choice: str,
) -> Prepared:
    path = folder / "a.jsonl"
    path.write_bytes(jsonl(*rows))
    bad = BadRows("skip")
    return prepare(
        read_rows([path], bad=bad), ExampleEncoder(tokenizer), Fitter(window, policy),
        choice=ColumnChoice(**choice), bad=bad,
    )  # fmt: skip


def notices(
    data: Prepared, *, length: int = 64, window: int = 64, policy: LongRows = "split"
) -> list[str]:
    return data_notices(data, length=length, window=window, long_rows=policy)


@pytest.fixture
def chat_tokenizer(tokenizer: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(tokenizer, "chat_template", plain_template(tokenizer))
    return tokenizer


def test_completions_that_run_into_their_prompts_are_counted(
    tokenizer: Any, tmp_path: Path
) -> None:
    rows = [{"review": f"the waiter was rude {n}", "label": "negative"} for n in range(9)]
    choice = {"prompt": "review", "completion": "label"}
    first, warning = notices(read(tokenizer, tmp_path, *rows, **choice))
    assert first.endswith("joined as they are")
    assert warning == (
        "warning: 9 of 9 completions run into their prompts, as in …e waiter was rude "
        "0⟦negative⟧; "
        "to keep them apart: --template '{review}\\nLabel: {label}'"
    )
    template = shlex.split(warning)[-1]
    again = read(tokenizer, tmp_path, *rows, template=template)
    assert len(notices(again)) == 1


@pytest.mark.parametrize(
    ("prompt", "completion"),
    [("a:", " b"), ("a\n", "b"), ("a ", "b"), ("", "b"), ("天気は？", "晴れ"), ("how", "晴")],
)
def test_completions_that_are_kept_apart(
    tokenizer: Any, tmp_path: Path, prompt: str, completion: str
) -> None:
    data = read(tokenizer, tmp_path, {"prompt": prompt, "completion": completion})
    assert data.survey.glued == 0


def test_a_chat_template_keeps_them_apart(chat_tokenizer: Any, tmp_path: Path) -> None:
    data = read(chat_tokenizer, tmp_path, {"prompt": "a", "completion": "b"})
    assert notices(data) == [
        "prompts in `prompt`, completions in `completion`, through the model's chat template"
    ]
    assert data.asking(has_template=True).description == "through the model's chat template"


def test_the_space_before_a_joined_completion_is_not_learned_through_a_template(
    chat_tokenizer: Any,
) -> None:
    encoder = ExampleEncoder(chat_tokenizer)

    def ids(completion: str) -> Any:
        return encoder.encode(Example("f:1", prompt="a:", completion=completion))[0].ids

    assert ids(" b") == ids("b")
    assert ids("    b") != ids("b")


def test_turns_of_weight_0_are_not_learned(chat_tokenizer: Any) -> None:
    turns = (("user", "a"), ("assistant", "first"), ("user", "c"), ("assistant", "second"))
    for train_on_prompt in (False, True):
        encoder = ExampleEncoder(chat_tokenizer, train_on_prompt=train_on_prompt)
        rows = encoder.encode(Example("f:1", messages=turns, unlearned=frozenset({1})))
        taught = [
            token_id
            for row in rows
            for token_id, is_learned in zip(row.ids, row.is_learned, strict=True)
            if is_learned
        ]
        learned = chat_tokenizer.decode(taught)
        assert "second" in learned and "first" not in learned


def test_rows_left_out_are_a_part_of_all_and_named(tokenizer: Any, tmp_path: Path) -> None:
    fits = {"prompt": "a:", "completion": " b"}
    long = {"prompt": "word " * 99, "completion": " b"}
    rows = [fits, long, *[fits] * 6, long, long, long]
    data = read(tokenizer, tmp_path, *rows)
    place = f"{tmp_path}/a.jsonl"
    (_, line) = notices(data)
    assert line == (
        f"warning: long rows left out: 4 of 11 rows (36%) with more than 64 tokens ({place}:2, "
        f"{place}:9, {place}:10, …); to keep them: --long-rows truncate (which drops the beginning "
        "of their prompts)"
    )
    longest = max(data.lengths)
    assert f"to keep them: --max-length {longest} or --long" in notices(data, window=longest)[1]
    few = read(tokenizer, tmp_path, *[fits] * 50, long)
    assert notices(few)[1].startswith("long rows left out: 1 of 51 rows (2%)")
    kept = read(tokenizer, tmp_path, *rows, policy="truncate")
    assert notices(kept, policy="truncate")[1:] == ["long rows truncated: 4 of 11 rows (36%)"]
    asked = read(tokenizer, tmp_path, *rows, policy="drop")
    assert notices(asked, policy="drop")[1].startswith("long rows left out: 4 of 11")
    assert "to keep them" not in notices(asked, policy="drop")[1]


def test_bad_rows_are_a_part_of_all(tokenizer: Any, tmp_path: Path) -> None:
    data = read(tokenizer, tmp_path, *[ROWS["pair"]] * 8, {"prompt": "p"}, {"prompt": "p"})
    line = notices(data)[1]
    assert line.startswith("warning: bad rows skipped: 2 of 10 rows (20%), the first: ")


def test_a_classification_set_is_asked_for_its_most_likely_label(
    tokenizer: Any, tmp_path: Path
) -> None:
    rows = [{"text": f"it's {n}", "label": "yes" if n % 2 else "no"} for n in range(9)]
    data = read(tokenizer, tmp_path, *rows)
    assert data.survey.labels == {"yes", "no"}
    asking = data.asking(has_template=False)
    assert asking.description == "'{text}\\nLabel:'"
    words = shlex.split(asking.command("./a b"))
    assert words == ["hfgen", "generate", "-m", "./a b", "--greedy", "it's 0\nLabel:"]


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ({"prompt": "$HOME `x`:", "completion": " b"}, ["$HOME `x`:"]),
        ({"prompt": "-v", "completion": " b"}, ["--", "-v"]),
        ({"messages": ROWS["messages"]["messages"]}, ["--system", "Be brief.", "Hello!"]),
    ],
)
def test_the_command_gives_a_prompt_of_the_data(
    tokenizer: Any, tmp_path: Path, row: dict[str, Any], words: list[str]
) -> None:
    asking = read(tokenizer, tmp_path, row).asking(has_template="messages" in row)
    # Answers as short as these are asked for greedily.
    assert shlex.split(asking.command("m")) == ["hfgen", "generate", "-m", "m", "--greedy", *words]


def test_a_short_prompt_is_chosen() -> None:
    survey = Survey()
    for prompt in ("x" * 400, "y" * 200, "z" * 150, "-", "a\0", "w" * 90, "v"):
        survey.take(Example("f", prompt=prompt, completion="c"), is_joined=True, is_label=False)
    assert survey.prompt == "w" * 90
    assert Asking().command("m") == 'hfgen generate -m m "…"'
