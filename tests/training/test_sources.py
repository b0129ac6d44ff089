"""From paths to raw rows: formats, origins, and every way in which a file can be wrong."""

from __future__ import annotations

import gzip
import importlib.util
import io
import json
import random
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from samples import FILES, ROWS, jsonl

from hfgen.errors import DataError, MissingExtra, OptionConflict, UsageError
from hfgen.training.data.columns import text_of
from hfgen.training.reading.files import find_sources, format_by_content, read_rows
from hfgen.training.reading.rows import BadRows

Write = Callable[[str, bytes], Path]
HAS_PYARROW = importlib.util.find_spec("pyarrow") is not None


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def make(name: str, data: bytes) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        return path

    return make


def read(*paths: object, **arguments: Any) -> list[Any]:
    return list(read_rows([str(path) for path in paths], **arguments))


def values(*paths: object, **arguments: Any) -> list[dict[str, object]]:
    return [row.values for row in read(*paths, **arguments)]


def refusal(*paths: object, **arguments: Any) -> str:
    with pytest.raises(DataError) as caught:
        read(*paths, **arguments)
    assert caught.value.hint
    return caught.value.message


def test_jsonl_keeps_file_and_line(write: Write) -> None:
    data = b'\xef\xbb\xbf{"text": "a"}\n\n  \r\n{"text": "b"}\r\n{"text": "\xc3\xa9"}'
    path = write("a.jsonl", data)
    rows = read(path)
    assert [(row.values["text"], row.file, row.line) for row in rows] == [
        ("a", str(path), 1),
        ("b", str(path), 4),
        ("é", str(path), 5),
    ]


@pytest.mark.parametrize("indent", [None, 0, 2])
@pytest.mark.parametrize("has_data", [False, True])
def test_json_documents(write: Write, indent: int | None, has_data: bool) -> None:
    rows = list(ROWS.values())
    document: object = {"version": {"n": [1]}, "data": rows, "more": []} if has_data else rows
    text = json.dumps(document, indent=indent)
    path = write("a.json", text.encode())
    read_back = read(path)
    assert [row.values for row in read_back] == rows
    assert [row.place for row in read_back] == [f"{path}[{n}]" for n in range(len(rows))]


def test_a_bad_row_of_a_document_is_told_by_its_index(write: Write) -> None:
    path = write("b.json", b'[{"text": "a"}, 7]')
    assert refusal(path).startswith(f"{path}[1]: a row must be an object")


@pytest.mark.parametrize("name", ["a.jsonl", "a.json"])
def test_numbers_are_read_as_they_are_written(write: Write, name: str) -> None:
    written = ["1e3", "2.50", "1.0", "-0.0", "1E-7", "1e999", "12345678901234567890", "7"]
    numbers = "".join(f'{{"text": {number}}}\n' for number in written)
    data = numbers if name == "a.jsonl" else f"[{','.join(numbers.splitlines())}]"
    assert [text_of(row, "text") for row in read(write(name, data.encode()))] == written
    for constant in ("NaN", "Infinity", "-Infinity"):
        (row,) = read(write("b.jsonl", f'{{"text": {constant}}}'.encode()))
        with pytest.raises(DataError, match=f"b.jsonl:1: `text` is {constant}, not text"):
            text_of(row, "text")


@pytest.mark.parametrize(
    ("data", "hint"),
    [
        ("text\n€ – “é”\n".encode("cp1252"), "iconv -f cp1252 -t utf-8"),
        ("text\né\n".encode("latin1"), "iconv -f cp1252 -t utf-8"),
        ("text\né\n".encode("utf-16"), "iconv -f utf-16 -t utf-8"),
        ("text\nРедкий\n".encode("koi8-r"), "iconv -f cp1252"),
        (b"text\n\x81\x8d\n", "not Windows-1252 either"),
    ],
)
def test_another_encoding_is_named_so_that_nothing_is_lost(
    write: Write, data: bytes, hint: str
) -> None:
    with pytest.raises(DataError) as caught:
        read(write("a.csv", data))
    assert hint in str(caught.value.hint)


def test_a_json_file_of_one_object_a_line_is_json_lines(write: Write) -> None:
    rows = [ROWS["pair"], ROWS["pair"]]
    path = write("a.json", jsonl(*rows))
    assert [(row.values, row.line) for row in read(path)] == [(rows[0], 1), (rows[1], 2)]
    assert values(write("b.json", json.dumps(ROWS["pair"], indent=1).encode())) == [ROWS["pair"]]


def test_csv_with_quoted_lines_has_the_right_line_numbers(write: Write) -> None:
    data = '\ufeffprompt, completion\r\n"a,\r\nb","say ""x"""\r\n\r\n c ,\r\n"é\n\n",f'.encode()
    rows = read(write("a.csv", data))
    assert [(row.values, row.line) for row in rows] == [
        ({"prompt": "a,\r\nb", "completion": 'say "x"'}, 2),
        ({"prompt": " c ", "completion": ""}, 5),
        ({"prompt": "é\n\n", "completion": "f"}, 6),
    ]


def test_tables_of_other_separators_and_long_fields(write: Write) -> None:
    expected = [{"prompt": "a, b", "completion": "c"}]
    assert values(write("a.tsv", b"prompt\tcompletion\na, b\tc\n")) == expected
    assert values(write("a.csv", b"prompt;completion\na, b;c\n")) == expected
    long = "x" * 300_000
    assert values(write("b.csv", f"text\n{long}\n".encode())) == [{"text": long}]


def test_a_text_file_is_one_document(write: Write) -> None:
    path = write("a.txt", "\ufeffOne.\r\n\r\n\r\nTwo — é.\r\n".encode())
    assert [(row.values, row.line) for row in read(path)] == [({"text": "One.\n\n\nTwo — é.\n"}, 1)]


def test_folders_and_several_files_come_in_order(write: Write, tmp_path: Path) -> None:
    write("d/b.jsonl", jsonl({"text": "2"}))
    write("d/a/z.txt", b"1")
    write("d/c.CSV", b"text\n3\n")
    for ignored in ("d/.hidden.jsonl", "d/.git/x.txt", "d/README.md", "d/weights.bin"):
        write(ignored, b"no")
    other = write("e.txt.gz", gzip.compress(b"4"))
    rows = read(tmp_path / "d", other, tmp_path / "d" / "b.jsonl")
    assert [row.values["text"] for row in rows] == ["1", "2", "3", "4", "2"]


@pytest.mark.parametrize("name", sorted(FILES))
def test_standard_input_is_told_by_its_content(write: Write, name: str) -> None:
    by_name = values(write(name, FILES[name]))
    assert values("-", stdin=io.BytesIO(FILES[name])) == by_name
    assert values(write("no_suffix", FILES[name])) == by_name
    if not name.endswith(".gz"):
        packed = gzip.compress(FILES[name])
        assert values("-", stdin=io.BytesIO(packed)) == by_name
        assert values(write(name + ".gz", packed)) == by_name


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"Once upon a time, there was an answer\n", "txt"),
        (b"", "txt"),
        (b"def f():\n    return {}\n", "txt"),
        (b"[Verse 1]\nla la\n", "txt"),
        (b'{"text": "a"}', "jsonl"),
        (b'{"text": \n{"text": "b"}\n', "jsonl"),
        (b'{"data": [{"text": "a"}]}\n', "json"),
        (b'{\n "data": []}', "json"),
        (b'[\n{"text": "a"}]', "json"),
        (b"Prompt,Completion\na,b", "csv"),
        (b"text\tlabel\na\tb", "tsv"),
        (b"odd,names\na,b", "txt"),
        (b"PAR1....", "parquet"),
        (b"ab\0cd", None),
    ],
)
def test_format_by_content(data: bytes, expected: str | None) -> None:
    assert format_by_content(data) == expected


def test_a_named_column_makes_a_table_of_standard_input() -> None:
    data = b"odd,names\na,b\n"
    assert values("-", stdin=io.BytesIO(data), columns=["Odd"]) == [{"odd": "a", "names": "b"}]


def test_the_numbers_that_pandas_writes_first_are_a_column(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text(",text\n0,a\n1,b\n")
    assert [row.values for row in read_rows([path])] == [
        {"index": "0", "text": "a"}, {"index": "1", "text": "b"},
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "data", "expected"),
    [
        ("a.jsonl", b'{"text": "a"}\n{"text": \n', ":2: not valid JSON"),
        ("a.jsonl", b'{"text": "a"}\n\n["b"]\n', ":3: a row must be an object, as {…}, not ['b']"),
        ("a.jsonl", b'{"text": "a"}\n{"text": "\xff"}\n', ":2: not valid UTF-8 (byte 0xff)"),
        ("a.jsonl", b"[" * 100_000, ":1: the JSON is nested too deeply"),
        ("a.jsonl", b'{"text": ' + b"9" * 5000 + b"}", ":1: Exceeds the limit"),
        ("a.json", b'[{"text": "a"},\n {"text": }]', ":2: not valid JSON (Expecting value)"),
        ("a.json", b'[{"text": "a"}\n\n{"text": "b"}]', ":3: not valid JSON (Expecting ',' del"),
        ("a.json", b'[{"text": "a"}', ":1: not valid JSON (Expecting ',' delimiter)"),
        ("a.json", b'[{"text": "a"},]', ":1: not valid JSON ("),
        ("a.json", b'[\n{"text": "a"},\n3]', "[1]: a row must be an object, as {…}, not 3"),
        ("a.json", b'[{"text": "a"}]\n]', ":2: not valid JSON (Extra data)"),
        ("a.json", b'{"data": [1]}', "[0]: a row must be an object"),
        ("a.json", b'{"data": [1]', ":1: not valid JSON"),
        ("a.json", b'{\n3: 4}', ":2: not valid JSON (Expecting property name"),
        ("a.json", b"[" * 100_000, ":1: the JSON is nested too deeply"),
        ("a.json", b'[{"text": ' + b"9" * 5000 + b"}]", ":1: not valid JSON (Exceeds the limit"),
        ("a.json", b"text", ":1: not valid JSON (Expecting value)"),
        ("a.json", b"3", ":1: a JSON file begins with [ or {"),
        ("a.json", b'[{"a": "\xe9\n"}]', ":1: not valid UTF-8 (byte 0xe9)"),
        ("a.csv", b'text,b\n"a,b\n', ":2: not valid CSV (unexpected end of data)"),
        ("a.csv", b"text,b\na\n", ":2: 1 fields, the header has 2"),
        ("a.csv", b"text,b\n\n\"x\ny\",1\na,b,c\n", ":5: 3 fields, the header has 2"),
        ("a.csv", b"text,text\na,b\n", ":1: two columns are called 'text'"),
        ("a.csv", b"text,\na,b\n", ":1: a column has no name"),
        ("a.csv", b"text\na\n\xff\n", ":3: not valid UTF-8 (byte 0xff)"),
        ("a.txt", b"a\nb\xff", ":2: not valid UTF-8 (byte 0xff)"),
        ("a.jsonl.gz", gzip.compress(b'{"a": 1}\n' * 99, mtime=0)[:-9], "not a complete gzip"),
        ("a.jsonl.gz", b'{"text": "a"}', "not a complete gzip file"),
        ("photo.jpg", b"\xff\xd8\0\0", "neither text nor a known format"),
        ("a.jsonl", b"", "holds no rows"),
        ("a.jsonl", b"\n\n", "holds no rows"),
        ("a.json", b" ", "holds no rows"),
        ("a.json", b"[]", "holds no rows"),
        ("a.json", b'{"data": []}', "holds no rows"),
        ("a.csv", b"", "holds no rows"),
        ("a.csv", b"text\n", "holds no rows"),
        ("a.txt", b"\n \n", "holds no rows"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_with_file_and_line(
    write: Write, name: str, data: bytes, expected: str
) -> None:
    path = write(name, data)
    message = refusal(path)
    assert message.startswith((f"{path}:", f"{path}[", f"{path} holds")), message
    assert expected in message


def test_bad_rows_are_counted_where_they_are_skipped(write: Write) -> None:
    bad = BadRows("skip")
    path = write("a.jsonl", b'{"text": "a"}\n{"text"\n3\n"\xff"\n{"text": "b"}\n')
    table = write("a.csv", b'text,n\n"a"x,1\nb,2\nc\nd,4\n')
    document = write("a.json", b'[{"text": "e"}, 5]')
    assert [row["text"] for row in values(path, table, document, bad=bad)] == list("abbde")
    assert bad.count == 6
    assert [reason.removeprefix(str(path))[:3] for reason in bad.reasons] == [":2:", ":3:", ":4:"]


def test_what_spoils_a_file_is_an_error_even_where_bad_rows_are_skipped(write: Write) -> None:
    refusal(write("a.json", b'[{"text": "a"}'), bad=BadRows("skip"))
    refusal(write("a.csv", b"text\n\xff\n"), bad=BadRows("skip"))


def test_paths_that_name_nothing(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for path in ("", str(tmp_path / "no.jsonl"), str(tmp_path / "empty"), "a\0b"):
        with pytest.raises(DataError):
            find_sources([path])
    with pytest.raises(UsageError):
        find_sources([])
    with pytest.raises(OptionConflict, match="once"):
        find_sources(["-", "-"])
    with pytest.raises(UsageError, match="standard input"):
        read("-")


def test_rows_are_streamed(write: Write) -> None:
    rows = read_rows([write("a.jsonl", b'{"text": "a"}\n' * 3 + b"broken\n")])
    assert next(rows).values == {"text": "a"}
    rows.close()  # type: ignore[attr-defined]


@pytest.mark.parametrize(("part", "what"), [("parquet", "parquet"), ("ipc", "Arrow")])
@pytest.mark.parametrize("is_imported", [False, True])
def test_tables_need_an_extra(
    write: Write, monkeypatch: pytest.MonkeyPatch, part: str, what: str, is_imported: bool
) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    name = f"pyarrow.{part}"
    if is_imported:
        monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    else:
        monkeypatch.delitem(sys.modules, name, raising=False)
    with pytest.raises(MissingExtra, match=rf"a\.{what.lower()} \({what}\)") as caught:
        read(write(f"a.{what.lower()}", b"PAR1"))
    assert caught.value.hint == "pip install 'hfgen[train]'"


@pytest.mark.skipif(not HAS_PYARROW, reason="pyarrow is not installed")
def test_parquet(write: Write, tmp_path: Path) -> None:
    import pyarrow
    import pyarrow.parquet

    rows = [{"prompt": f"p{i}", "completion": "é", "n": i} for i in range(2000)]
    path = tmp_path / "a.parquet"
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), path)
    assert values(path) == rows
    assert [row.line for row in read(path)][:3] == [1, 2, 3]
    data = path.read_bytes()
    assert values("-", stdin=io.BytesIO(data)) == rows
    assert values(write("b.parquet.gz", gzip.compress(data))) == rows
    assert "not a readable parquet file" in refusal(write("c.parquet", data[:-20]))
    assert "not a readable parquet file" in refusal(write("d.parquet", b"text"))
    rng = random.Random(0)
    for _ in range(60):
        damaged = bytearray(data)
        for _ in range(rng.randrange(1, 8)):
            damaged[rng.randrange(len(data))] = rng.randrange(256)
        outcome(write("e.parquet", bytes(damaged)))


def outcome(path: Path, policy: Any = "error") -> str:
    """What reading a file gives; anything but rows or a `DataError` fails the test."""
    try:
        rows = read(path, bad=BadRows(policy))
    except DataError as error:
        assert str(path) in error.message
        return "refused"
    assert all(row.line >= 1 and isinstance(row.values, dict) for row in rows)
    return "read"


def damaged(data: bytes, rng: random.Random) -> bytes:
    """A few small mutations of a file."""
    result = bytearray(data)
    for _ in range(rng.randrange(1, 5)):
        at = rng.randrange(len(result) + 1)
        kind = rng.randrange(5)
        if kind == 0:
            result[at : at + rng.randrange(1, 6)] = b""
        elif kind == 1:
            result[at:at] = rng.choice(
                [b'"', b"{", b"]", b",", b"\n", b"\0", b"\xff", b"\r", b"\\"]
            )
        elif kind == 2 and at < len(result):
            result[at] = rng.randrange(256)
        elif kind == 3:
            del result[at:]
        else:
            start = rng.randrange(len(result) + 1)
            result[at:at] = result[start : start + rng.randrange(1, 20)]
    return bytes(result)


@pytest.mark.parametrize("name", sorted(FILES))
def test_damaged_files_give_rows_or_a_data_error(write: Write, name: str) -> None:
    seen = set()
    for seed in range(60):
        data = damaged(FILES[name], random.Random(seed))
        path = write(name, data)
        seen.add(outcome(path))
        outcome(path, "skip")
        outcome(write("unnamed", data))
    assert "refused" in seen
    # The check sum of an archive finds every change.
    assert ("read" in seen) != name.endswith(".gz")


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be"])
def test_the_hint_for_utf_16_says_so(encoding: str, tmp_path: Path) -> None:
    file = tmp_path / "a.csv"
    file.write_bytes("\ufefftext\nä\n".encode(encoding))
    with pytest.raises(DataError) as caught:
        list(read_rows([file]))
    assert "iconv -f utf-16 -t utf-8" in (caught.value.hint or "")
