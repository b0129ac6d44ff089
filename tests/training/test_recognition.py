"""Which shape rows have, and what each row becomes."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest
from samples import CONVERSATION, ROWS

from hfgen.cli.flags.flag_spelling import FlagSpelling
from hfgen.errors import DataError, InvalidOption, OptionConflict
from hfgen.training.data.examples import Example
from hfgen.training.data.recognition import ColumnChoice, recognise
from hfgen.training.data.shapes import Shape
from hfgen.training.reading.rows import RawRow


def rows(*values: dict[str, Any]) -> list[RawRow]:
    return [RawRow(value, "f.jsonl", line) for line, value in enumerate(values, 1)]


def shape_of(*values: dict[str, Any], **choice: str) -> Shape:
    return recognise(rows(*values), ColumnChoice(**choice))


def read(value: dict[str, Any], **choice: str) -> list[Example]:
    return shape_of(value, **choice).read(*rows(value))


def hint_of(error: DataError) -> str:
    """The hint as the command line shows it."""
    error.spell(FlagSpelling())
    return str(error.hint)


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
    for has_template in (False, True):
        described = shape.described(has_template=has_template)
        assert "\n" not in described
        assert all(f"`{column}`" in described for column in shape.columns)
        assert ("model's chat template" in described) == has_template
    upper = {key.upper(): value for key, value in ROWS[name].items()}
    assert [content(example) for example in read(upper)] == expected


def test_columns_that_are_not_used_are_named() -> None:
    described = shape_of(ROWS["instances"]).described(has_template=False)
    assert described.endswith("; not used: `id`")
    assert not shape_of(ROWS["instruction"]).unused
    with_system = {"system": "Be kind.", **ROWS["instruction"]}
    assert not shape_of(with_system).unused
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
        ({"a": "1", "b": "2"}, "--template '{a}\\nB: {b}', or --text-column a"),
        (
            {"id": 7, "context": "c", "question": "q", "answers": {"text": ["a"]}},
            "--template '{context}\\nQuestion: {question}', or --text-column context",
        ),
        (
            {"premise": "p", "hypothesis": "h", "label": 1},
            "--template '{premise}\\n{hypothesis}\\nLabel: {label}', or --text-column premise",
        ),
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
    assert hint in hint_of(caught.value)
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
        (float("nan"), "`text` is NaN, not text"),
        (float("-inf"), "`text` is -Infinity, not text"),
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


def labelled(*values: Any, text: str = "text", label: str = "label") -> list[RawRow]:
    return rows(*({text: f"Text number {n}.", label: v} for n, v in enumerate(values)))


@pytest.mark.parametrize(
    ("label", "values", "heading"),
    [
        ("label", ("good", "bad"), "Label"),
        ("Sentiment", ("positive", "negative"), "Sentiment"),
        ("label_text", ("a b", "c d"), "Label"),
        ("intent", tuple(f"intent_{n}" for n in range(40)), "Intent"),
        ("label", (0, 1), "Label"),
        ("class", (True, False), "Class"),
    ],
)
@pytest.mark.parametrize("text", ["text", "review"])
def test_a_text_with_a_label_is_a_classification_set(
    label: str, values: tuple[Any, ...], heading: str, text: str
) -> None:
    sample = labelled(*values, text=text, label=label)
    shape = recognise(sample)
    assert (shape.kind, shape.columns, shape.label) == ("template", (text, label), label)
    assert shape.form == f"{{{text}}}\\n{heading}:"
    (example,) = shape.read(sample[1])
    answer = str(values[1]).lower() if isinstance(values[1], bool) else str(values[1])
    assert content(example) == (f"Text number 1.\n{heading}:", f" {answer}")
    described = shape.described(has_template=False)
    assert f"labels in `{label}`" in described and f"--text-column {text}" in described
    # The command in the notice does what it says, and so does the template.
    assert recognise(sample, ColumnChoice(text=text)).kind == "text"
    again = recognise(sample, ColumnChoice(template=f"{shape.form} {{{label}}}"))
    assert again.read(sample[1]) == [example]


def test_labels_in_words_go_before_their_numbers() -> None:
    sample = rows(
        *({"text": "t", "label": n % 2, "label_text": ["no", "yes"][n % 2]} for n in range(9))
    )
    shape = recognise(sample)
    assert (shape.label, shape.unused) == ("label_text", ("label",))


@pytest.mark.parametrize(
    "other",
    [
        {"id": "x1"}, {"url": "http://a"}, {"meta": {"a": 1}}, {"lang": "en"}, {"score": 0.5},
        {"label": None}, {"timestamp": "2020"}, {"notes": "Some longer words, another each time."},
    ],
)  # fmt: skip
def test_texts_with_facts_about_them_stay_texts(other: dict[str, Any]) -> None:
    shape = recognise(rows(*({"text": f"t{n}", **other} for n in range(20))))
    assert (shape.kind, shape.unused) == ("text", tuple(other))


@pytest.mark.parametrize(
    ("other", "template"),
    [
        ({"summary": "Short."}, "'{text}\\nSummary: {summary}'"),
        ({"target": "A long text, longer than any label would be, in words."}, "Target: {target}"),
        ({"entities": {"Genre": ["comedy"]}}, None),
        ({"sentiment": "good", "topic": "art"}, "Sentiment: {sentiment}"),
    ],
)
def test_a_target_is_not_left_out_silently(other: dict[str, Any], template: str | None) -> None:
    with pytest.raises(DataError) as caught:
        recognise(rows(*({"text": f"t{n}", **other} for n in range(20))))
    assert "`text` would be learned without `" in caught.value.message
    hint = hint_of(caught.value)
    assert "--text-column text" in hint
    assert (template or "write it as text") in hint


def test_a_column_of_few_values_is_not_left_out_silently() -> None:
    kinds = ("spam", "ham")
    with pytest.raises(DataError, match="without `verdict`") as caught:
        recognise(rows(*({"text": f"t{n}", "verdict": kinds[n % 2]} for n in range(20))))
    assert "--template '{text}\\nVerdict: {verdict}'" in hint_of(caught.value)


@pytest.mark.parametrize(
    ("value", "message", "hint"),
    [
        (
            {"prompt": "p", "chosen": "good", "rejected": "bad"},
            "answers to prefer and to avoid",
            "--prompt-column prompt --completion-column chosen",
        ),
        (
            {"chosen": "Human: a", "rejected": "Human: b"},
            "answers to prefer and to avoid",
            "--text-column chosen",
        ),
        (
            {"chosen": [{"role": "user"}], "rejected": []},
            "answers to prefer and to avoid",
            "jq -c '{messages: .chosen}' f.jsonl",
        ),
        (
            {"prompt": "p", "completion": "c", "label": False},
            "`label` says which rows are good",
            "--prompt-column prompt --completion-column completion",
        ),
        (
            {"question": "q", "choices": ["a", "b"], "answer": 1},
            "`answer` is the number or letter of a choice in `choices`",
            "jq -c '.answer = .choices[.answer]' f.jsonl",
        ),
        (
            {"query": "q", "choices": ["a", "b"], "gold": 1},
            "`gold` is the number or letter of a choice",
            "jq -c '.gold = .choices[.gold]'",
        ),
        (
            {"question": "q", "A": "a", "B": "b", "answer": "B"},
            "the choices `A`, `B` would be left out",
            "'{question}\\nA) {A}\\nB) {B}\\nAnswer: {answer}'",
        ),
    ],
)
def test_answers_of_which_one_is_meant_are_refused(
    value: dict[str, Any], message: str, hint: str
) -> None:
    with pytest.raises(DataError) as caught:
        shape_of(value)
    assert message in caught.value.message
    assert hint in hint_of(caught.value)


def test_a_question_with_a_number_for_an_answer_is_no_choice() -> None:
    assert shape_of({"question": "2 + 2?", "answer": 4}).kind == "instruction"


@pytest.mark.parametrize(
    "header", [["A fine film, all in all, from start to end.", "good"], ["12", "x"]]
)
def test_a_table_without_a_header_is_refused(header: list[str]) -> None:
    cells = [dict(zip(header, row, strict=True)) for row in (["Dull.", "bad"], ["Nice.", "good"])]
    with pytest.raises(DataError) as caught:
        recognise([RawRow(cell, "a.csv", n, is_table=True) for n, cell in enumerate(cells, 2)])
    assert caught.value.message == (
        "a.csv: the first line looks like a row, not like the names of columns"
    )
    assert "'1i text,label' a.csv" in hint_of(caught.value)


@pytest.mark.parametrize("cell", ["NaN", "nan", "None", "NA", "N/A", "null", " NaN "])
def test_cells_without_a_value_are_not_words(cell: str) -> None:
    def table(**cells: str) -> RawRow:
        return RawRow(cells, "a.csv", 2, is_table=True)

    shape = shape_of(ROWS["pair"])
    with pytest.raises(
        DataError, match=r"a\.csv:2: `completion` is \S+, which stands for an empty"
    ):
        shape.read(table(prompt="p", completion=cell))
    assert content(shape.read(table(prompt=cell, completion="c"))[0]) == ("", "c")
    asked = table(instruction="Add.", input=cell, output="3")
    assert content(shape_of(ROWS["instruction"]).read(asked)[0])[0] == ("user", "Add.")
    # In JSON a word is a word.
    assert content(read({"prompt": "p", "completion": cell})[0]) == ("p", cell)


def test_turns_of_weight_0_are_read_and_not_learned() -> None:
    turns = [
        {"role": "user", "content": "a"},
        {"role": "assistant", "content": "b", "weight": 0},
        {"role": "user", "content": "c"},
        {"role": "assistant", "content": "d", "weight": 1},
    ]
    (example,) = read({"system": "S", "messages": turns})
    assert len(example.messages or ()) == 5
    assert example.unlearned == {2}


@pytest.mark.parametrize(
    ("part", "reason"),
    [
        ({"weight": 0}, "has no turn of the assistant to learn: each has weight 0"),
        ({"weight": 0.5}, "turn 2: the weight is 0.5, not 0 or 1"),
        ({"reasoning_content": "Hm."}, "turn 2: `reasoning_content` would not be learned"),
        ({"tool_calls": [{"id": 1}]}, "turn 2: `tool_calls` would not be learned"),
    ],
)
def test_parts_of_turns_that_would_be_lost(part: dict[str, Any], reason: str) -> None:
    turns = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b", **part}]
    with pytest.raises(DataError, match=reason):
        read({"messages": turns})
    assert read({"messages": [turns[0], {**turns[1], **dict.fromkeys(part)}]})
