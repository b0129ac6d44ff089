"""Files to a stream of documents: nothing lost, nothing held, nothing that is no text."""

from __future__ import annotations

import gzip
import io
import re
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from samples import jsonl

from hfgen.errors import DataError, InvalidOption, UsageError
from hfgen.training.corpus import documents as documents_module
from hfgen.training.corpus.documents import Document, cut, keep_standard_input, read_documents
from hfgen.training.corpus.separators import Separator, lines_of, parse_separator
from hfgen.training.headings import is_heading, sections
from hfgen.training.reading.rows import BadRows
from hfgen.training.reading.text_streams import chunks_of

LONG = ("The fox went home through the tall grass, and it was late. " * 5).strip()
BOOK = f"""THE BOOK OF FOXES

By Nobody

CONTENTS

THE FIRST FOX, WHO WENT HOME THROUGH THE TALL GRASS

THE SECOND FOX, WHO STOPPED AND WAS SILENT

THE THIRD FOX, WHO HAD NO NAME

THE FOURTH FOX, WHO IS NOT TO BE FOUND IN THIS BOOK

CHAPTER I

The First Fox

{LONG}

He read the sign, which said:

KEEP OUT

{LONG}

CHAPTER II. The Second Fox

{LONG}

"Stop there!"

Alice was silent.

III

{LONG}

The Lion and
the Mouse

{LONG}

THE END
"""


def texts(path: Path | str, separator: str = "auto", **arguments: object) -> list[str]:
    found = read_documents([path], separator=parse_separator(separator), **arguments)  # type: ignore[arg-type]
    return [document.text for document in found]


def written(folder: Path, text: str | bytes, name: str = "a.txt") -> Path:
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def test_stories_and_chapters_begin_and_end(tmp_path: Path) -> None:
    got = texts(written(tmp_path, BOOK))
    starts = [text.partition("\n\nThe fox went")[0] for text in got]
    contents, first, second, third, fable = starts
    assert contents.startswith("THE BOOK OF FOXES\n\nBy Nobody\n\nCONTENTS")
    assert first == "CHAPTER I\n\nThe First Fox"
    assert (second, third) == ("CHAPTER II. The Second Fox", "III")
    assert fable == "The Lion and\nthe Mouse"
    assert "KEEP OUT" in got[1]
    assert got[-1].endswith("late.\n\nTHE END")


def test_only_white_space_is_lost(tmp_path: Path) -> None:
    for separator in ("auto", "headings", "blank-lines", "none"):
        got = texts(written(tmp_path, BOOK), separator)
        assert "\n".join(got).split() == BOOK.split()
        assert ("".join(got) == BOOK) == (separator == "none")


@given(
    st.lists(
        st.sampled_from(
            ["\n", " \n", "CHAPTER I\n", "The Fox\n", "He ran.\n", "so he\n", "x" * 300 + "\n", "é"]
        )
    ),
    st.integers(1, 7),
)
def test_sections_joined_are_the_text(lines: list[str], size: int) -> None:
    text = "".join(lines)
    chunks = [text[place : place + size] for place in range(0, len(text), size)]
    assert "".join(lines_of(chunks)) == text
    parts = list(sections(lines_of(chunks), headings=True, blank_lines=True))
    assert "".join(part.text for part in parts) == text
    for part in parts:
        before = text[: text.index(part.text)] if text.count(part.text) == 1 else None
        assert before is None or part.line == before.count("\n") + 1


@pytest.mark.parametrize(
    "line",
    ["CHAPTER IV", "Chapter 12. The Visit", "PART TWO--The Sea-cook", "XIV", "7.", "3. The Cyclone",
     "THE GOLDEN BIRD", "The Lion and the Mouse", "The Happy Prince.", "# Markdown", "= Wiki =",
     "12 Rapunzel", "THE DRAGON OF THE NORTH(2)", "Mowgli's Brothers", "STORY III.--THESEUS"],
)  # fmt: skip
def test_headings(line: str) -> None:
    assert is_heading(line)


@pytest.mark.parametrize(
    "line",
    ["", "Alice was silent.", "Stamp! Stamp!", '"Come," he said', "She answered,", "He said:",
     "* * *", "THE END", "and so on", "MISS MINCHIN,", "Listen.", "I went home", "= = Career = =",
     "THE " * 40, "(2) From the Polish. Kletke.", "[From Thorpe's Stories.]", "Dear Sir,"],
)  # fmt: skip
def test_no_headings(line: str) -> None:
    assert not is_heading(line)
    assert is_heading("KEEP OUT")
    assert not is_heading("KEEP OUT", after_an_end=False)


def test_speakers_of_a_play_are_no_headings(tmp_path: Path) -> None:
    play = "ROMEO:\nFarewell.\n\nALL:\nO Noble Rome.\n\n" * 200
    assert len(texts(written(tmp_path, play))) == 1


def test_what_is_too_short_joins_the_next(tmp_path: Path) -> None:
    got = texts(written(tmp_path, f"A Title\n\nBy me.\n\nCHAPTER I\n\n{LONG}\n\nII\n\n{LONG}"))
    assert [text[:9] for text in got] == ["A Title\n\n", "II\n\nThe f"]


def test_end_of_text_parts_documents(tmp_path: Path) -> None:
    path = written(tmp_path, "One.\n<|endoftext|>\n\nTHE TWO\n\nTwo.\n<|endoftext|>\n")
    assert texts(path) == ["One.", "THE TWO\n\nTwo."]


def test_blank_lines(tmp_path: Path) -> None:
    path = written(tmp_path, "a\n\nb\n\n\n\nc\n \n \n\t\nd\n\n\n")
    assert texts(path, "blank-lines") == ["a\n\nb", "c", "d"]
    assert texts(path, r"\n\n") == ["a", "b", "c\n \n \n\t\nd"]


def test_separators_of_ones_own(tmp_path: Path) -> None:
    path = written(tmp_path, "1: a\n---\n2: b\n---\n\n3: c")
    assert texts(path, "---") == ["1: a", "2: b", "3: c"]
    assert texts(path, "/^-+\n/") == ["1: a", "2: b", "3: c"]
    assert texts(path, "/^(?=[23]:)/") == ["1: a\n---", "2: b\n---", "3: c"]
    got = list(read_documents([path], separator=parse_separator("---")))
    assert [document.line for document in got] == [1, 3, 6]


@given(st.text("ab-\n", max_size=60), st.integers(1, 9), st.sampled_from(["-", "a-", r"\n\n"]))
def test_a_separator_is_found_across_chunks(text: str, size: int, separator: str) -> None:
    literal = separator.replace(r"\n", "\n")
    chunks = [text[place : place + size] for place in range(0, len(text), size)]
    parts = list(parse_separator(separator).parts(chunks))
    joined: list[str] = []
    for part in parts:
        joined[len(joined) :] = [""] if part.begins else []
        joined[-1] += part.text
    assert joined == [piece for piece in text.split(literal) if piece]


def test_a_separator_far_into_a_text() -> None:
    text = "x\n" * 5000 + "=====\n" + "y\n" * 5000 + "=====\n" + "z"
    chunks = [text[place : place + 997] for place in range(0, len(text), 997)]
    parts = [part for part in parse_separator("/^=+\n/").parts(chunks) if part.begins]
    assert [part.line for part in parts] == [1, 5002, 10003]


@pytest.mark.parametrize("separator", ["", "//x", "/(/", "/a*/", "/x|/"])
def test_bad_separators(separator: str) -> None:
    if separator == "//x":
        assert parse_separator(separator).kind == "pattern"
        return
    with pytest.raises(InvalidOption, match="document_separator"):
        parse_separator(separator)


def test_tables_and_rows(tmp_path: Path) -> None:
    rows = written(tmp_path, jsonl({"text": "a\n\nb"}, {"text": ""}, {"text": "c"}), "r.jsonl")
    assert texts(rows) == ["a\n\nb", "c"]
    assert texts(rows, r"\n\n") == ["a", "b", "c"]
    table = written(tmp_path, "story,n\nOnce,1\n", "t.csv")
    assert texts(table, text_column="story") == ["Once"]
    with pytest.raises(DataError, match=r"t.csv:2: no `text`; this row has `story`, `n`"):
        texts(table)


def test_a_folder_passes_over_what_holds_no_text(tmp_path: Path) -> None:
    written(tmp_path, "Once.", "b.txt")
    written(tmp_path, "id\ttitle\n1\tx\n", "MANIFEST.tsv")
    written(tmp_path, "\n \n", "empty.txt")
    notices: list[str] = []
    got = list(read_documents([tmp_path], notify=notices.append))
    assert got == [Document("Once.", str(tmp_path / "b.txt"), 1)]
    assert [notice.partition(" ")[2] for notice in notices] == [
        "is passed over: no column `text`",
        "is passed over: it holds no text",
    ]


def test_no_text_at_all(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no data files in this folder"):
        texts(tmp_path)
    with pytest.raises(DataError, match=r"empty.txt holds no text"):
        texts(written(tmp_path, "\n\n", "empty.txt"))
    with pytest.raises(DataError, match="no text to learn from"):
        texts(tmp_path)
    with pytest.raises(DataError, match="no such file"):
        read_documents(["nowhere.txt"])


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"Good.\nBad \xff.\n", r"a.txt:2: not valid UTF-8 \(byte 0xff\)"),
        (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", "a.txt: binary data"),
        ("Hello".encode("utf-16"), "a.txt: the text is in UTF-16"),
        (b"x" * 70_000 + b"\n\0", "a.txt:2: a zero byte"),
        (b"caf\xe9", r"a.txt:1: not valid UTF-8 \(byte 0xe9\)"),
        (b"cut off \xe2\x82", r"a.txt:1: not valid UTF-8 \(byte 0xe2\)"),
    ],
)
def test_what_is_no_text(tmp_path: Path, data: bytes, reason: str) -> None:
    path = written(tmp_path, data)
    with pytest.raises(DataError, match=reason):
        texts(path)
    bad = BadRows("skip")
    other = written(tmp_path, "Once.", "b.txt")
    got = [document.text for document in read_documents([path, other], bad=bad)]
    assert (got, bad.count) == (["Once."], 1)
    with pytest.raises(DataError, match="no text to learn from; 1 documents were skipped"):
        texts(path, bad=BadRows("skip"))


def test_one_bad_document_of_a_file_is_left_out(tmp_path: Path) -> None:
    path = written(tmp_path, b"a\n---\nb\xff\n---\nc")
    bad = BadRows("skip")
    assert texts(path, "---", bad=bad) == ["a", "c"]
    assert bad.reasons == [f"{path}:3: not valid UTF-8 (byte 0xff)"]


def test_half_characters_of_json_are_no_text(tmp_path: Path) -> None:
    path = written(tmp_path, rb'{"text": "a \ud800 b"}', "a.jsonl")
    with pytest.raises(DataError, match=r"a.jsonl:1: "):
        texts(path)


@given(st.binary(max_size=40), st.integers(1, 5))
def test_decoding_in_pieces_is_decoding_whole(data: bytes, size: int) -> None:
    class Slow(io.BytesIO):
        def read(self, n: int | None = -1, /) -> bytes:
            return super().read(size)

    whole = data.decode("utf-8", "surrogateescape").replace("\r\n", "\n")
    if size >= 3:
        whole = whole.removeprefix("\ufeff")
    else:
        data = data.removeprefix(b"\xef\xbb\xbf")
        whole = data.decode("utf-8", "surrogateescape").replace("\r\n", "\n")
    assert "".join(chunks_of(Slow(data))) == whole


def test_gzip_standard_input_and_files_without_a_known_name(tmp_path: Path) -> None:
    text = f"\ufeffOnce.\r\n{LONG}"
    whole = [f"Once.\n{LONG}".rstrip()]
    assert texts(written(tmp_path, gzip.compress(text.encode()), "a.txt.gz")) == whole
    assert texts(written(tmp_path, gzip.compress(text.encode()), "corpus")) == whole
    assert texts(written(tmp_path, text, "wiki.raw")) == whole
    for data in (text.encode(), gzip.compress(text.encode())):
        stdin = io.BytesIO(data)
        assert texts("-", stdin=stdin) == whole
        assert not stdin.closed
    assert texts("-", stdin=io.BytesIO(jsonl({"text": "row"}))) == ["row"]
    with pytest.raises(UsageError, match="standard input is not at hand"):
        texts("-")
    with pytest.raises(DataError, match="not a complete gzip file"):
        texts(written(tmp_path, gzip.compress(text.encode())[:-9], "torn.txt.gz"))
    kept = keep_standard_input(io.BytesIO(gzip.compress(text.encode())), tmp_path / "stdin")
    assert texts(kept) == whole


def test_a_long_document_comes_in_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(documents_module, "LONGEST_PART", 1000)
    text = "".join(f"line {number} of many\n" for number in range(1000)) + "\n\n"
    path = written(tmp_path, text + "\n\nShort.")
    for separator in ("none", "blank-lines"):
        parts = list(read_documents([path], separator=parse_separator(separator)))
        ends = [document.is_end for document in parts]
        assert len(parts) > 10 and ends.count(True) == (1 if separator == "none" else 2)
        whole = "".join(part.text + "\n" * part.is_end for part in parts)
        assert whole.split() == [*text.split(), "Short."]
        assert [part.line for part in parts] == sorted(part.line for part in parts)


def test_skipping_a_part_still_ends_the_document(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(documents_module, "LONGEST_PART", 100)
    path = written(tmp_path, b"some words " * 30 + b"\xff")
    got = list(read_documents([path], bad=BadRows("skip")))
    assert [document.is_end for document in got] == [False] * (len(got) - 1) + [True]
    assert got[-1].text == ""


def test_memory_does_not_grow_with_the_file(tmp_path: Path) -> None:
    path = tmp_path / "huge.txt"
    peaks = []
    for copies in (40, 160):
        path.write_text(f"CHAPTER I\n\n{LONG * 250}\n\n" * copies)
        tracemalloc.start()
        for separator in (Separator(), Separator("none"), parse_separator("@@")):
            for _ in read_documents([path], separator=separator):
                pass
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert path.stat().st_size > 10_000_000
    assert peaks[1] < 1.2 * peaks[0] and peaks[1] < 14_000_000


@settings(max_examples=50)
@given(st.text(max_size=300), st.integers(1, 50))
def test_cut_loses_nothing(text: str, length: int) -> None:
    pieces = cut(text, length)
    assert "".join(pieces) == text
    assert all(len(piece) <= length for piece in pieces)


def test_cut_parts_words_from_spaces() -> None:
    pieces = cut(LONG * 20, 200)
    assert len(pieces) > 20
    assert all(re.match(r" \w", piece) for piece in pieces[1:])
