"""Which shape rows have, and what each row becomes."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest
from samples import CONVERSATION, ROWS

from hfgen.errors import DataError, InvalidOption, OptionConflict
from hfgen.training.recognition import ColumnChoice, Example, Shape, recognise
from hfgen.training.rows import RawRow


def rows(*values: dict[str, Any]) -> list[RawRow]:
    return [RawRow(value, "f.jsonl", line) for line, value in enumerate(values, 1)]


def shape_of(*values: dict[str, Any], **choice: str) -> Shape:
    return recognise(rows(*values), ColumnChoice(**choice))


def read(value: dict[str, Any], **choice: str) -> list[Example]:
    return shape_of(value, **choice).read(*rows(value))


def content(example: Example) -> Any:
    if example.text is not None:
        return example.text
    return example.messages or (example.prompt, example.completion)


@pytest.mark.parametrize(
    ("name", "kind", "expected"),
    [
        ("text", "text", [ROWS["text"]["text"]]),
        ("pair", "pair", [("Animal: fox\nSound:", " ring-ding")]),
        ("response", "pair", [("One, two,", " three")]),
        ("input", "pair", [("a b c", " d")]),
        ("instruction", "instruction", [(("user", "Add.\n\n1 and 2"), ("assistant", "3"))]),
        (
            "instances",
            "instances",
            [
                (("user", "Name the opposite.\n\nnight"), ("assistant", "day")),
                (("user", "Name the opposite."), ("assistant", "Of what?")),
            ],
        ),
        (
            "question",
            "instruction",
            [
                (
                    ("user", "How many legs has a fox?"),
                    ("assistant", "It has <<2+2=4>>4.\n#### 4"),
                )
            ],
        ),
        (
            "messages",
            "conversation",
            [(("system", "Be brief."), ("user", "Hello!"), ("assistant", "Hello."))],
        ),
        (
            "conversations",
            "conversation",
            [
                (
                    ("user", "Who are you?"),
                    ("assistant", "A small model."),
                    ("user", "Of what?"),
                    ("assistant", "Of stories, mostly."),
                )
            ],
        ),
    ],
)
def test_shapes_by_columns(name: str, kind: str, expected: list[Any]) -> None:
    shape = shape_of(ROWS[name])
    assert shape.kind == kind
    assert [content(example) for example in shape.read(*rows(ROWS[name]))] == expected
    assert "\n" not in shape.description
    assert all(f"`{column}`" in shape.description for column in shape.columns)
    upper = {key.upper(): value for key, value in ROWS[name].items()}
    assert [content(example) for example in read(upper)] == expected


def test_columns_that_are_not_used_are_named() -> None:
    assert shape_of(ROWS["instances"]).description.endswith("; not used: `id`")
    assert "not used" not in shape_of(ROWS["instruction"]).description
    with_system = {"system": "Be kind.", **ROWS["instruction"]}
    assert "not used" not in shape_of(with_system).description
    assert content(read(with_system)[0])[0] == ("system", "Be kind.")
    assert content(read({"system_prompt": "", **ROWS["instruction"]})[0])[0][0] == "user"


def test_most_of_the_first_rows_decide() -> None:
    shape = shape_of({"odd": 1}, {"text": "a", "prompt": None}, ROWS["pair"], {"text": "b"})
    assert (shape.kind, shape.columns) == ("text", ("text",))
    with pytest.raises(DataError, match=r"f\.jsonl:3: no `text`; this row has `odd`"):
        shape.read(RawRow({"odd": 1}, "f.jsonl", 3))


@pytest.mark.parametrize(
    ("value", "hint"),
    [
        ({"a": "1", "b": "2"}, "--text-column a"),
        ({"prompt": "1", "chosen": "2", "rejected": "3"}, "--completion-column chosen"),
        (
            {"text": "1", "prompt": "2", "completion": "3"},
            "--text-column text, or --prompt-column prompt --completion-column completion",
        ),
        (
            {"question": "1", "answer": "2", "output": "3"},
            "--prompt-column question --completion-column answer, or "
            "--prompt-column question --completion-column output",
        ),
        ({}, "--text-column NAME"),
    ],
)
def test_columns_that_do_not_tell(value: dict[str, Any], hint: str) -> None:
    with pytest.raises(DataError) as caught:
        shape_of(value)
    assert hint in str(caught.value.hint)
    assert caught.value.message.startswith("f.jsonl: the columns ")
    assert all(f"`{name}`" in caught.value.message for name in value)


def test_conversations_win_over_other_columns() -> None:
    assert shape_of({**ROWS["messages"], **ROWS["pair"]}).kind == "conversation"


def test_columns_that_the_user_names() -> None:
    value = {"body": "b", "q": "one", "a": 2, "answer": "x"}
    assert content(read(value, text="body")[0]) == "b"
    assert content(read(value, prompt="q", completion="a")[0]) == ("one", "2")
    assert content(read(value, prompt="q")[0]) == ("one", "x")
    with pytest.raises(DataError) as caught:
        read({"body": "b"}, text="bodi")
    assert (caught.value.message, caught.value.hint) == (
        "f.jsonl: no column `bodi`; the columns are `body`",
        "did you mean body?",
    )
    with pytest.raises(DataError, match="which column is the prompt"):
        read(value, completion="a")
    with pytest.raises(OptionConflict):
        read(value, text="body", completion="a")


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ("{q}\\nAnswer: {a}", ("one\nAnswer:", " two")),
        ("{q}{a}!", ("one", "two!")),
        ("Q {q} {{x}} \\\\n\t{a}\\n", ("Q one {x} \\n\t", "two\n")),
        ("{a} then {q} then {a}.", ("two then one then", " two.")),
        ("{ q }", "one"),
        ("A: {q}", ("A:", " one")),
    ],
)
def test_templates(template: str, expected: Any) -> None:
    value = {"q": "one", "a": "two"}
    assert content(read(value, template=template)[0]) == expected
    joined = expected if isinstance(expected, str) else "".join(expected)
    spelled = template.replace("\\\\", "\0").replace("\\n", "\n").replace("\0", "\\")
    assert joined == spelled.replace("{ q }", "{q}").format(**value)


@pytest.mark.parametrize("template", ["", "no column", "{", "}", "{}", "{ }", "{a:>3}", "{a!r}"])
def test_templates_that_are_none(template: str) -> None:
    with pytest.raises(InvalidOption, match="template = "):
        read({"a": "1"}, template=template)


def test_a_template_with_an_unknown_or_empty_column() -> None:
    with pytest.raises(DataError, match="no column `b`"):
        read({"a": "1"}, template="{b}")
    with pytest.raises(DataError, match=r"f\.jsonl:1: `a` is empty"):
        read({"a": "", "b": "c"}, template="{b} {a}.")


CONVERSATIONS: list[tuple[Any, str]] = [
    ([], "is an empty list, not a list of objects"),
    ("hello", "is a str, not a list of objects"),
    (["hello"], "item 1: a str, not an object"),
    ([{"role": "tool", "content": "x"}], "turn 1: the speaker is `tool`, not system, user or"),
    ([{"content": "x"}], "turn 1: the speaker is null"),
    ([{"role": "user", "content": None}], "turn 1 is null, not text"),
    ([{"role": "user", "content": [{"type": "image"}]}], "turn 1: the content has parts that are"),
    ([{"role": "user", "content": "x"}], "has no turn of the assistant to learn"),
    ([{"role": "assistant", "content": "x"}], "turn 1: the assistant speaks first"),
    (
        [{"role": "user", "content": "x"}, {"from": "gpt", "value": ""}],
        "turn 2: the assistant's turn is empty",
    ),
]


@pytest.mark.parametrize(("turns", "reason"), CONVERSATIONS)
def test_conversations_that_cannot_be_used(turns: Any, reason: str) -> None:
    shape = shape_of(ROWS["messages"])
    with pytest.raises(DataError) as caught:
        shape.read(RawRow({"messages": turns}, "f.jsonl", 7))
    assert caught.value.message.startswith("f.jsonl:7: `messages`")
    assert reason in caught.value.message


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (None, "`text` is null, not text"),
        (float("nan"), "`text` is null, not text"),
        (["a"], "`text` is a list, not text"),
        ({"a": 1}, "`text` is an object, not text"),
        (True, "`text` is true or false, not text"),
        (b"a", "`text` is binary, not text"),
        ("", "`text` is empty"),
        ("a\ud800", "`text` is not valid Unicode text"),
        pytest.param(10**5000, "`text` is a number of too many digits", id="digits"),
    ],
)
def test_values_that_are_no_text(value: object, reason: str) -> None:
    with pytest.raises(DataError) as caught:
        shape_of(ROWS["text"]).read(RawRow({"text": value}, "f.csv", 9))
    assert caught.value.message == f"f.csv:9: {reason}"


def test_messages_in_parts_and_roles_by_other_names() -> None:
    turns = [
        {"role": "developer", "content": "s"},
        {"role": "Human", "content": [{"type": "text", "text": "a"}, {"text": "b"}]},
        {"role": "bot", "content": "c"},
    ]
    assert content(read({"messages": turns})[0]) == (
        ("system", "s"),
        ("user", "ab"),
        ("assistant", "c"),
    )
    spoken = {"system": "S", "conversations": CONVERSATION}
    assert content(read(spoken)[0])[:2] == (("system", "S"), ("user", "Who are you?"))


@pytest.mark.parametrize("name", sorted(ROWS))
def test_odd_values_anywhere_are_data_errors(name: str) -> None:
    """Any value of a row, at any depth, replaced by anything that JSON can hold."""
    shape = shape_of(ROWS[name])
    odd = [None, True, 1.5, "", "\ud800", [], {}, [[]], [{}], {"role": 1}, "x"]
    rng = random.Random(0)
    refused = 0
    for _ in range(300):
        value = json.loads(json.dumps(ROWS[name]))
        at: Any = value
        while True:
            key = rng.choice(list(at) if isinstance(at, dict) else range(len(at)))
            if isinstance(at[key], dict | list) and at[key] and rng.random() < 0.8:
                at = at[key]
                continue
            at[key] = rng.choice(odd)
            break
        try:
            for example in shape.read(RawRow(value, "f", 1)):
                assert content(example)
        except DataError as error:
            refused += 1
            assert error.message.startswith("f:1: ")
            error.message.encode()
    assert refused > 10
