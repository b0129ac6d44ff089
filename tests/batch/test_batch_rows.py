"""What a row means, and reading rows from files."""

from __future__ import annotations

import gzip
import json
from dataclasses import replace

import pytest

from hfgen.batch.input.names import take_options, without_effect
from hfgen.batch.input.reading import Rows, count_rows, find_sources
from hfgen.batch.input.remarks import Remarks, SeenIds
from hfgen.batch.input.rows import failure_line, fingerprint, lines_of, read_row
from hfgen.batch.output.openai_answers import read_answer
from hfgen.errors import DataError, HfgenError, OptionConflict, UsageError
from hfgen.generation.options.options import SPECS
from hfgen.generation.records import Record, TokenLogprob

CHAT = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}]


def openai(**body):
    return {
        "custom_id": "r1", "method": "POST", "url": "/v1/chat/completions",
        "body": {"model": "gpt2", "messages": CHAT} | body,
    }  # fmt: skip


def test_an_openai_row_is_translated() -> None:
    row = read_row(
        openai(max_tokens=7, temperature=0.5, stop=["a"], seed=3, n=2, logprobs=True,
               top_logprobs=4, user="u", frequency_penalty=0, stream=None, top_k=5),
        0, "f:1",
    )  # fmt: skip
    assert row.error is None
    assert row.model == "gpt2"
    assert row.prompt.messages == tuple(CHAT)
    assert row.prompt.options.given() == {
        "max_new_tokens": 7, "temperature": 0.5, "stop_strings": ("a",), "seed": 3,
        "num_return_sequences": 2, "logprobs": 4, "top_k": 5, "frequency_penalty": 0.0,
    }  # fmt: skip
    assert row.said["id"] == "r1"
    assert row.said["prompt"] == "Hi"
    assert row.said["user"] == "u"


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (openai(frequency_penalty=2.5), "frequency_penalty"),
        (openai(tools=[{"type": "function"}]), "tools"),
        (openai(stream=True), "stream"),
        (openai(response_format={"type": "json_object"}), "response_format"),
        (openai(best_of=3), "best_of"),
        (openai(something_new=1), "something_new"),
        (openai() | {"url": "/v1/embeddings"}, "/v1/completions"),
        (openai(temperature=-1), "temperature"),
        ({"prompt": "x", "top_p": 2}, "top_p"),
        ({"prompt": "x", "max_length": 9}, "max_length"),
        ({"prompt": "x", "presence_penalty": -3}, "presence_penalty"),
        ({"prompt": "x", "max_tokens": 4, "max_new_tokens": 5}, "given twice"),
        ({"prompt": "x", "greedy": "perhaps"}, "do_sample"),
        ({"prompt": "x", "system": 3}, "system must be a string"),
        ({"prompt": "x", "top_p": float("nan")}, "top_p"),
        ({}, '"prompt" or "messages"'),
        ({"id": 1, "prompt": None}, '"prompt" or "messages"'),
        ({"prompt": "a", "messages": CHAT}, "one of the two"),
        ({"prompt": 3}, "prompt must be a string"),
        ({"prompt": ["a", "b"]}, "a list of 2: write a row for each"),
        ({"messages": []}, "list of messages"),
        ({"messages": [{"role": "user"}]}, "content"),
        ({"messages": [{"content": "x"}]}, "role"),
        ({"messages": [*CHAT, {"role": "assistant", "content": "x"}]}, "nothing is left"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, "content"),
        ({"prompt": "a", "id": [1]}, "id must be"),
        ({"prompt": "a", "model": 1}, "model must be"),
        (openai(prompt="a"), "one of the two"),
    ],
)
def test_what_cannot_be_done_fails_with_the_reason(row, reason) -> None:
    found = read_row(row, 0, "f:1")
    assert found.error is not None
    assert reason in found.error.message
    # And it has a record, which is known again.
    record = json.loads(failure_line(found, "m", found.error))
    assert _mark(record) == fingerprint(found.said)


def _mark(record):
    """The fingerprint of what a line's row said, as a resumed run finds it."""
    answered = read_answer(record)
    return fingerprint(record) if answered is None else answered[1]


@pytest.mark.parametrize("row", [17, [1], None])
def test_what_is_no_row(row) -> None:
    with pytest.raises(ValueError, match="an object or a string"):
        read_row(row, 0, "f:1")


@pytest.mark.parametrize(
    ("fields", "options"),
    [
        ({"stop": ["."]}, {"stop_strings": (".",)}),
        ({"max_tokens": 4}, {"max_new_tokens": 4}),
        ({"max_completion_tokens": 4}, {"max_new_tokens": 4}),
        ({"max-new-tokens": 4}, {"max_new_tokens": 4}),
        ({"greedy": True}, {"do_sample": False}),
        ({"temp": 0.5}, {"temperature": 0.5}),
        ({"greedy": False}, {"do_sample": True}),
        ({"n": 2}, {"num_return_sequences": 2}),
        ({"logprobs": True, "top_logprobs": 3}, {"logprobs": 3}),
        ({"logprobs": 2}, {"logprobs": 2}),
        ({"logprobs": False}, {}),
        (
            {"frequency_penalty": 0.5, "presence_penalty": -1, "top_p": None},
            {"frequency_penalty": 0.5, "presence_penalty": -1.0},
        ),
    ],
)
def test_options_by_every_name(fields, options) -> None:
    row = read_row({"prompt": "The king"} | fields, 0, "f:1")
    assert row.error is None
    assert row.prompt.options.given() == options
    assert set(row.said.get("options", {})) == set(options)


def test_every_flag_of_an_option_is_a_name_in_a_row() -> None:
    flags = {flag.strip("/-") for spec in SPECS.values() for flag in spec.flags if "--" in flag}
    names = {name.replace("_", "-") for name in SPECS} | flags | set(SPECS)
    for name in names:
        fields = {name: None}
        take_options(fields)
        assert not fields, name


def test_a_row_says_how_it_is_read() -> None:
    row = read_row({"prompt": "a", "system": "S", "raw": False, "allow-special": True}, 0, "f:1")
    assert row.reading == {"system": "S", "raw": False, "allow_special": True}
    assert row.said["options"] == row.reading


def test_openai_biases_are_of_token_ids() -> None:
    row = read_row(openai(logit_bias={"12": -100}), 0, "f:1")
    assert row.prompt.options.given() == {"sequence_bias": (((12,), -100.0),)}
    assert read_row(openai(logit_bias={"a": 1}), 0, "f:1").error is not None


def test_numbers_that_are_none_are_null_in_a_record() -> None:
    text = '{"prompt": "a", "score": NaN, "far": 1e999, "deep": [{"x": -Infinity}], "error": NaN}'
    row = read_row(json.loads(text), 0, "f:1")
    assert row.error is None
    line = failure_line(row, "m", HfgenError("why"))

    def refuse(name):
        raise AssertionError(name)

    record = json.loads(line, parse_constant=refuse)
    assert (record["score"], record["far"], record["deep"]) == (None, None, [{"x": None}])
    assert record["input"] == {"error": None}
    assert fingerprint(record) == fingerprint(row.said)


def test_what_changes_nothing_is_noticed_once() -> None:
    told: list[str] = []
    remarks = Remarks(told.append)
    rows = [
        {"id": 1, "prompt": "a", "temprature": 1, "topic": "x", "preset": "code"},
        {"id": "1", "prompt": "a", "temprature": 2, "stops": ["."]},
        {"id": 1, "prompt": "b"},
        {"id": 1, "prompt": "c"},
    ]
    for index, row in enumerate(rows):
        remarks.look_at(read_row(row, index, f"f:{index + 1}"))
    assert told == [
        "f:1: the field temprature is carried along and changes nothing; did you mean temperature?",
        "f:1: the field preset is carried along and changes nothing; "
        "a preset is for the whole run: --preset",
        "f:2: the field stops is carried along and changes nothing; did you mean stop?",
        "f:3: an earlier row has the id 1, too; index tells rows apart",
    ]


@pytest.mark.parametrize(
    ("field", "reason"),
    [("stop_sequences", "stop"), ("max_token", "max_tokens"), ("sytem", "system"), ("topic", ""),
     ("min_tokens", "min_new_tokens"), ("label", ""), ("difficulty", ""), ("text", "")],
)  # fmt: skip
def test_fields_near_an_option(field, reason) -> None:
    found = without_effect(field)
    assert (found is None) == (reason == "")
    assert reason in (found or "")


def test_many_ids_are_told_apart() -> None:
    seen = SeenIds()
    assert not any(seen.add(f"r{i}") for i in range(20_000))
    assert all(seen.add(f"r{i}") for i in range(0, 20_000, 97))


RECORD = Record(3, "r1", "gpt2", "Hi", " there", "eos", 8, 2, 3)
WITH_LOGPROBS = replace(
    RECORD,
    finish_reason="length",
    logprobs=(TokenLogprob(1, " th", -0.5, ((1, " th", -0.5), (2, " é", float("-inf")))),),
)


def test_an_openai_row_is_answered_in_openais_shape() -> None:
    row = read_row(openai(n=2, logprobs=True, top_logprobs=2), 3, "f:4")
    line = json.loads(lines_of(row, [RECORD, WITH_LOGPROBS]))
    assert list(line) == ["id", "custom_id", "response", "error"]
    assert (line["custom_id"], line["error"]) == ("r1", None)
    assert line["response"]["status_code"] == 200 and line["response"]["request_id"]
    body = line["response"]["body"]
    assert body["object"] == "chat.completion" and isinstance(body["created"], int)
    first, second = body["choices"]
    assert first["message"] == {"role": "assistant", "content": " there", "refusal": None}
    assert (first["finish_reason"], second["finish_reason"]) == ("stop", "length")
    assert (first["index"], second["index"], first["seed"]) == (0, 1, 8)
    (token,) = second["logprobs"]["content"]
    assert token["top_logprobs"][1] == {"token": " é", "logprob": None, "bytes": [32, 195, 169]}
    assert body["usage"] == {"prompt_tokens": 2, "completion_tokens": 6, "total_tokens": 8}
    assert read_answer(line) == (3, fingerprint(row.said), False)


def test_an_openai_completion_and_a_failure() -> None:
    asked = {"custom_id": "c", "url": "/v1/completions", "body": {"prompt": ["Hi"], "logprobs": 1}}
    row = read_row(asked, 0, "f:1")
    body = json.loads(lines_of(row, [WITH_LOGPROBS]))["response"]["body"]
    assert body["object"] == "text_completion"
    (choice,) = body["choices"]
    assert (choice["text"], choice["logprobs"]["text_offset"]) == (" there", [2])
    failed = json.loads(failure_line(row, "m", UsageError("why")))
    assert failed["response"]["status_code"] == 400
    assert failed["response"]["body"]["error"]["message"] == "why"
    assert read_answer(failed) == (0, fingerprint(row.said), True)


@pytest.mark.parametrize(
    "row",
    ["text", {"prompt": "é\u2028 \ud800", "id": 7, "x": [1.5, None]}, openai(), openai(best_of=2),
     {"prompt": "a", "completion": "own", "error": 1, "top_p": 0.1}, {"messages": CHAT}],
)  # fmt: skip
def test_a_record_repeats_what_its_row_said(row) -> None:
    found = read_row(row, 5, "f:6")
    line = failure_line(found, "m", HfgenError("why"))
    record = json.loads(line)
    assert line.count(b"\n") == 1
    assert len(line.decode().splitlines()) == 1
    if found.url is None:
        assert record["error"] == {"type": "HfgenError", "message": "why"}
    assert _mark(record) == fingerprint(found.said)
    assert _mark(record) != fingerprint(found.said | {"prompt": "other"})


def test_files_are_read_with_their_lines(tmp_path) -> None:
    (tmp_path / "a.jsonl").write_bytes(b'\xef\xbb\xbf"one"\r\n\r\n{"prompt": "two"}\n')
    (tmp_path / "b.txt").write_text('"three"\n  four \n\n')
    (tmp_path / "c.jsonl.gz").write_bytes(gzip.compress(b'"five"\n{"prompt": \n"six"'))
    names = [str(tmp_path / name) for name in ("a.jsonl", "b.txt", "c.jsonl.gz")]
    sources = find_sources(names, has_text_lines=False)
    found = list(Rows(sources, None, "skip"))
    assert [row.prompt.text for row in found] == ["one", "two", '"three"', "  four ", "five", "six"]
    assert [row.index for row in found] == [0, 1, 2, 3, 4, 6]
    assert found[1].place.endswith("a.jsonl:3")
    assert count_rows(sources) is None
    assert count_rows(sources[:2]) == 4
    *rows, error = Rows(sources, None)
    assert len(rows) == 5
    assert isinstance(error, DataError)
    assert "c.jsonl.gz:2: not valid JSON" in error.message


def test_tables_are_read_as_for_fine_tuning(tmp_path) -> None:
    (tmp_path / "a.csv").write_text(
        'id,prompt,temperature,stop,note\nx,"one, 1",0.5,,NA\n7,two,,.,\n"broken\n'
    )
    (tmp_path / "b.tsv").write_text("prompt\tgreedy\nthree\ttrue\n")
    rows = [{"prompt": "four", "score": float("nan"), "n": 2}, {"prompt": "five", "n": None}]
    pyarrow = pytest.importorskip("pyarrow")
    pytest.importorskip("pyarrow.parquet").write_table(
        pyarrow.Table.from_pylist(rows), tmp_path / "c.parquet"
    )
    (tmp_path / "d.json").write_text('[\n{"prompt": "six"},\n"seven"]')
    (tmp_path / "e.json").write_text('{"prompt": "eight"}\n{"prompt": "nine"}\n')
    names = [str(tmp_path / n) for n in ("a.csv", "b.tsv", "c.parquet", "d.json", "e.json")]
    sources = find_sources(names, has_text_lines=False)
    found = list(Rows(sources, None, "skip"))
    texts = ["one, 1", "two", "three", "four", "five", "six", "seven", "eight", "nine"]
    assert [row.prompt.text for row in found] == texts
    assert [row.index for row in found] == [0, 1, 3, 4, 5, 6, 7, 8, 9]
    assert found[0].said == {
        "id": "x", "prompt": "one, 1", "options": {"temperature": "0.5"}, "note": "NA",
    }  # fmt: skip
    assert found[1].prompt.options.given() == {"stop_strings": (".",)}
    assert found[2].prompt.options.given() == {"do_sample": False}
    assert found[3].said["score"] is None
    assert [row.place.rpartition("/")[2] for row in found[:7:3]] == [
        "a.csv:2", "c.parquet:1", "d.json[1]",
    ]  # fmt: skip
    assert count_rows(sources) is None
    assert "a.csv:4: not valid CSV" in list(Rows(sources, None))[-1].message


def test_another_format_is_not_offered_to_be_skipped(tmp_path) -> None:
    (tmp_path / "a.md").write_text("# Prompts\n")
    (tmp_path / "b.json").write_text("[1, 2")
    for name in ("a.md", "b.json"):
        (error,) = Rows(find_sources([str(tmp_path / name)], has_text_lines=False), None)
        assert isinstance(error, DataError)
        assert "not valid JSON" in error.message
        assert "--on-bad-row" not in error.hint
    assert (
        ".csv .tsv .parquet"
        in next(iter(Rows(find_sources([str(tmp_path / "a.md")], has_text_lines=False), None))).hint
    )


def test_damaged_files_are_told(tmp_path) -> None:
    (tmp_path / "a.gz").write_bytes(gzip.compress(b'"five"\n' * 1000)[:-20])
    (tmp_path / "b.jsonl").write_bytes(b'"caf\xe9"\n')
    sources = find_sources([str(tmp_path / "a.gz")], has_text_lines=True)
    assert "gzip" in list(Rows(sources, None))[-1].message
    sources = find_sources([str(tmp_path / "b.jsonl")], has_text_lines=False)
    assert "b.jsonl:1: not valid UTF-8 (byte 0xe9)" in next(iter(Rows(sources, None))).message
    with pytest.raises(DataError, match="no such file"):
        find_sources([str(tmp_path / "none")], has_text_lines=False)
    with pytest.raises(OptionConflict):
        find_sources(["-", "-"], has_text_lines=False)
