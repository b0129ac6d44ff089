"""Extraction with a tiny random model: whatever it writes keeps to the form."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from hfgen.cli.program.main import run
from hfgen.tasks.presets import TASKS

TEXT = 'Ada "the Countess" met Charles in London.\nIt rained.'


@pytest.fixture(scope="module")
def lm(lm_of: Callable[[str], Any]) -> Any:
    return lm_of("gpt2")


@pytest.fixture
def program(lm: Any, monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    monkeypatch.setattr("hfgen.loading.load_model", lambda which: lm)
    monkeypatch.setattr("hfgen.cli.program.main._QUIET_LIBRARIES", {})

    def call(*arguments: str) -> int:
        return run(["extract", *arguments, "-n", "40"])

    return call


def test_names_are_quoted_from_the_text(lm: Any) -> None:
    for temperature in (0, 3.0):
        found = lm.extract(
            [TEXT, "", "日本"], entities=["PERSON", "PLACE"], max_new_tokens=40,
            temperature=temperature, seed=2,
        )  # fmt: skip
        for text, result in zip((TEXT, "", "日本"), found, strict=True):
            assert list(result) == ["PERSON", "PLACE"]
            assert all(name in text for names in result.values() for name in names)


def test_a_schema_that_cannot_be_grounded_is_checked_afterwards(lm: Any) -> None:
    schema = {"type": "object", "properties": {"a": {"type": "string", "minLength": 3}}}
    schema["required"] = ["a"]
    found = lm.extract("xy", schema, grounded=True, max_new_tokens=30)
    assert len(found["a"]) >= 3


@pytest.mark.parametrize("task", TASKS)
def test_examples_of_a_task_are_of_its_form(task: str) -> None:
    import jsonschema

    for example in TASKS[task].examples:
        jsonschema.validate(example.result, TASKS[task].schema)


def test_rows_come_out_in_order(program: Any, tmp_path: Any, capfd: Any) -> None:
    rows = [{"text": f"text {i}", "id": i} for i in range(20)]
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert program("-f", str(path), "--schema", "n int, ok bool", "-t", "5", "--seed", "1") == 0
    found = [json.loads(line) for line in capfd.readouterr().out.splitlines()]
    assert [(row["id"], row["text"]) for row in found] == [(str(r["id"]), r["text"]) for r in rows]
    assert all(list(row["result"]) == ["n", "ok"] for row in found)


def test_each_form_of_answer(program: Any, tmp_path: Any, capfd: Any) -> None:
    (tmp_path / "s.json").write_text('{"type": "integer", "minimum": 1, "maximum": 9}')
    (tmp_path / "g.lark").write_text('start: "yes" | "no"')
    ways: list[tuple[list[str], Callable[[Any], bool]]] = [
        (["--schema", str(tmp_path / "s.json")], lambda found: found in range(1, 10)),
        (["--grammar", str(tmp_path / "g.lark")], lambda found: found in ("yes", "no")),
        (["--choices", "red, green"], lambda found: found in ("red", "green")),
        (["--regex", "[0-9]{3}"], lambda found: found.isdecimal() and len(found) == 3),
    ]
    for way, is_right in ways:
        assert program("a text", *way) == 0
        assert is_right(json.loads(capfd.readouterr().out)["result"])


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["x"], "no form of answer is given"),
        (["x", "--regex", "a", "--choices", "a,b"], "two forms of answer"),
        (["x", "--task", "poems"], "--task poems: must be"),
        (["x", "--schema", "missing.json"], "cannot read missing.json"),
        (["x", "--schema", "name wrong"], "--json-schema: 'wrong' is no type of a field"),
        (["x", "--schema", '{"not": {}}'], "--json-schema: not cannot be enforced"),
        (["x", "--entities", ","], "names no kind"),
        (["x", "--regex", "a", "--grounded"], "grounding needs a schema"),
        (["x", "--regex", "(a"], "--regex: unclosed group"),
    ],
)
def test_errors_are_two_lines(program: Any, capfd: Any, arguments: list[str], words: str) -> None:
    assert program(*arguments) in (1, 2)
    out, err = capfd.readouterr()
    lines = [line for line in err.splitlines() if line.startswith(("error: ", "hint: "))]
    assert out == ""
    assert words in lines[0]
    assert len(lines) == 2
