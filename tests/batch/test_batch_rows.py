"""What a row means, and reading rows from files."""

from __future__ import annotations

import gzip
import json

import pytest

from hfgen.batch.reading import Rows, count_rows, find_sources
from hfgen.batch.rows import failure_line, fingerprint, read_row
from hfgen.errors import DataError, HfgenError, OptionConflict

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
        "num_return_sequences": 2, "logprobs": 4, "top_k": 5,
    }  # fmt: skip
    assert row.said["id"] == "r1"
    assert row.said["prompt"] == "Hi"
    assert row.said["user"] == "u"


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (openai(frequency_penalty=0.5), "frequency_penalty"),
        (openai(tools=[{"type": "function"}]), "tools"),
        (openai(stream=True), "stream"),
        (openai(response_format={"type": "json_object"}), "response_format"),
        (openai(best_of=3), "best_of"),
        (openai(something_new=1), "something_new"),
        (openai() | {"url": "/v1/embeddings"}, "/v1/completions"),
        (openai(temperature=-1), "temperature"),
        ({"prompt": "x", "top_p": 2}, "top_p"),
        ({"prompt": "x", "max_length": 9}, "max_length"),
    ],
)
def test_what_cannot_be_done_fails_with_the_reason(row, reason) -> None:
    found = read_row(row, 0, "f:1")
    assert found.error is not None
    assert reason in found.error.message


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (17, "an object or a string"),
        ({}, '"prompt" or "messages"'),
        ({"prompt": "a", "messages": CHAT}, "one of the two"),
        ({"prompt": 3}, "prompt must be a string"),
        ({"messages": []}, "list of messages"),
        ({"messages": [{"role": "user"}]}, "content"),
        ({"messages": [{"content": "x"}]}, "role"),
        ({"messages": [*CHAT, {"role": "assistant", "content": "x"}]}, "nothing is left"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, "content"),
        ({"prompt": "a", "id": [1]}, "id must be"),
    ],
)
def test_malformed_rows(row, reason) -> None:
    with pytest.raises(ValueError, match=reason):
        read_row(row, 0, "f:1")


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
    assert record["error"] == {"type": "HfgenError", "message": "why"}
    assert fingerprint(record) == fingerprint(found.said)
    assert fingerprint(record) != fingerprint(found.said | {"prompt": "other"})


def test_files_are_read_with_their_lines(tmp_path) -> None:
    (tmp_path / "a.jsonl").write_bytes(b'\xef\xbb\xbf"one"\r\n\r\n{"prompt": "two"}\n')
    (tmp_path / "b.txt").write_text('"three"\n  four \n\n')
    (tmp_path / "c.jsonl.gz").write_bytes(gzip.compress(b'"five"\n{"prompt": NaN}\n"six"'))
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
    assert "c.jsonl.gz:2: NaN is no JSON" in error.message


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
