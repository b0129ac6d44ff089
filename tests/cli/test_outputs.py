"""Formats and files: what is written, in which order, and what a failure leaves behind."""

from __future__ import annotations

import json
import os
import stat

import pytest

from hfgen.cli.io.outputs import to_json

ANSWER = " there was a fox."
KEYS = [
    "index", "id", "model", "prompt", "completion", "text", "finish_reason", "seed",
    "prompt_tokens", "completion_tokens",
]  # fmt: skip


def test_text_with_and_without_prompt(fake):
    assert fake("generate", "Once", "--echo").out == "Once" + ANSWER + "\n"
    assert fake("generate", "Once", "--no-echo").out == ANSWER + "\n"


def test_text_that_ends_with_a_line_end_gets_no_second_one(fake):
    assert fake("generate", "a", FAKE_ANSWER=" b|\n").out == "a b\n"
    assert fake("generate", "a", FAKE_ANSWER=" b\n|").out == "a b\n"
    assert fake("generate", "a", FAKE_ANSWER="").out == "a\n"
    assert fake("generate", "", FAKE_ANSWER="").out == "\n"
    assert fake("generate", "--no-echo", data="a\n\n", FAKE_ANSWER="").out == "\n"


def test_one_record_is_one_json_document(fake):
    result = fake("generate", "Once", "--format", "json", "--seed", "7")
    record = json.loads(result.out)
    assert list(record) == KEYS
    assert record["text"] == "Once" + ANSWER == record["prompt"] + record["completion"]
    assert record["seed"] == 7
    assert result.err == ""


@pytest.mark.parametrize("width", ["1", "2", "16"])
def test_several_texts_come_in_input_order(fake, width):
    data = "long:a\nb\nlong:c\nd\ne\n"
    plain = fake("generate", "--lines", "--slots", width, data=data)
    words = [line.split()[0] for line in plain.out.splitlines()]
    assert words == ["long:a", "b", "long:c", "d", "e"]
    for form in ("json", "jsonl"):
        result = fake("generate", "--lines", "--slots", width, "--format", form, data=data)
        records = (
            json.loads(result.out) if form == "json" else map(json.loads, result.out.splitlines())
        )
        assert [record["index"] for record in records] == [0, 1, 2, 3, 4]


def test_samples_of_a_prompt_come_together(fake):
    result = fake(
        "generate", "--lines", "--num-return-sequences", "2", "--format", "jsonl", "--seed", "5",
        data="a\nlong:b\nc\n",
    )  # fmt: skip
    records = [json.loads(line) for line in result.out.splitlines()]
    assert [(r["index"], r["seed"]) for r in records] == [
        (0, 5), (0, 1005), (1, 6), (1, 1006), (2, 7), (2, 1007),
    ]  # fmt: skip


def test_several_samples_make_a_list(fake):
    result = fake("generate", "a", "--num-return-sequences", "2", "--format", "json")
    assert [record["prompt"] for record in json.loads(result.out)] == ["a", "a"]
    result = fake("generate", "--lines", "--format", "json", data="a\n")
    assert [record["prompt"] for record in json.loads(result.out)] == ["a"]


def test_json_keeps_to_its_line_whatever_the_text():
    row = {"text": "\x7f\x85\x9b \u2028\u2029\n\x1b é 你 \udcff"}
    text = to_json(row)
    assert len(text.splitlines()) == 1
    assert "é 你" in text
    assert json.loads(text) == row


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ([], "Once" + ANSWER + "\n"),
        (["--no-echo"], ANSWER + "\n"),
        (["-0"], "Once" + ANSWER + "\0"),
    ],
)
def test_text_file(fake, tmp_path, flags, expected):
    path = tmp_path / "out.txt"
    result = fake("generate", "Once", "-o", str(path), *flags)
    assert (result.code, result.out, result.err) == (0, "", "")
    assert path.read_bytes() == expected.encode()
    assert stat.S_IMODE(path.stat().st_mode) == 0o666 & ~_umask()
    assert list(tmp_path.iterdir()) == [path]


def test_the_file_that_was_written_is_named_on_a_terminal_and_with_v(fake, tmp_path):
    # `-o temperature` is not what somebody wanted who meant to set it.
    for number, lines in enumerate(([], ["--lines"])):
        path = tmp_path / f"out{number}"
        result = fake("generate", *lines, "-o", str(path), "-v", "--seed", "1", data="Once")
        assert (result.code, result.out, result.err) == (0, "", f"notice: wrote {path}\n")


def _umask():
    mask = os.umask(0)
    os.umask(mask)
    return mask


@pytest.mark.parametrize("form", ["text", "json", "jsonl"])
def test_rows_file(fake, tmp_path, form):
    path = tmp_path / "out"
    data = "a\nlong:b\nc\n"
    straight = fake("generate", "--lines", "--format", form, "--seed", "1", data=data)
    result = fake(
        "generate", "--lines", "--format", form, "--seed", "1", "-o", str(path), data=data
    )
    assert (result.code, result.out, result.err) == (0, "", "")
    assert path.read_text() == straight.out


@pytest.mark.parametrize("form", ["text", "json", "jsonl"])
def test_existing_file_is_refused_before_the_model_loads(refused, fake, tmp_path, form):
    path = tmp_path / "out"
    path.write_text("precious")
    path.chmod(0o640)
    command = ["generate", "x", "-o", str(path), "--format", form]
    refused(*command).assert_error(1, f"{path} already exists", "--overwrite replaces it")
    assert path.read_text() == "precious"
    assert fake(*command, "--overwrite").code == 0
    assert "there was a fox" in path.read_text()
    assert stat.S_IMODE(path.stat().st_mode) == 0o640


@pytest.mark.parametrize("form", ["text", "json", "jsonl"])
@pytest.mark.parametrize("lines", [True, False])
def test_failure_before_the_first_text_leaves_everything_as_it_was(fake, tmp_path, form, lines):
    old, new = tmp_path / "old", tmp_path / "new"
    old.write_text("precious")
    for path, flags in ((old, ["--overwrite"]), (new, [])):
        command = ["generate", "--format", form, "-o", str(path), *flags, *(["--lines"] * lines)]
        result = fake(*command, data="a\n", FAKE_FAIL="RuntimeError:broken", FAKE_FAIL_AT="1")
        result.assert_error(1, "unexpected RuntimeError: broken", "--debug")
    assert old.read_text() == "precious"
    assert list(tmp_path.iterdir()) == [old]


@pytest.mark.parametrize("form", ["text", "json", "jsonl"])
def test_failure_later_keeps_the_finished_rows(fake, tmp_path, form):
    path = tmp_path / "out"
    result = fake(
        "generate", "--lines", "--slots", "2", "--format", form, "-o", str(path),
        data="a\nb\nlong:c\nd\ne\n", FAKE_FAIL="ContextOverflow:too long", FAKE_FAIL_AT="11",
    )  # fmt: skip
    assert result.err.startswith("error: too long\nhint: ")
    text = path.read_text()
    if form == "text":
        prompts = [line.split()[0] for line in text.splitlines()]
    elif form == "json":
        prompts = [record["prompt"] for record in json.loads(text)]
    else:
        prompts = [json.loads(line)["prompt"] for line in text.splitlines()]
    # c was cut off; d had overtaken it.
    assert prompts == ["a", "b", "d"]
    assert list(tmp_path.iterdir()) == [path]


def test_output_that_cannot_be_written_is_refused_before_the_model_loads(refused, tmp_path):
    refused("generate", "x", "-o", str(tmp_path)).assert_error(1, "is a folder", "name a file")
    missing = str(tmp_path / "no" / "out")
    refused("generate", "x", "-o", missing).assert_error(1, "there is no folder", "make it first")
    long = str(tmp_path / ("a" * 300))
    refused("generate", "x", "-o", long).assert_error(1, "File name too long")


def test_input_is_not_overwritten(refused, shell, tmp_path):
    path = tmp_path / "rows"
    path.write_text("a\nb\n")
    result = refused("generate", "--lines", "-f", str(path), "-o", str(path), "--overwrite")
    result.assert_error(2, "is the input", "another file")
    result = shell("hfgen generate --lines -o rows --overwrite < rows")
    result.assert_error(2, "is the input", "another file")
    assert path.read_text() == "a\nb\n"


def test_output_through_links_and_special_files(shell, tmp_path):
    (tmp_path / "link").symlink_to(tmp_path / "target")
    assert shell("hfgen generate x -o link").code == 0
    assert (tmp_path / "target").read_text() == "x" + ANSWER + "\n"
    assert (tmp_path / "link").is_symlink()
    for name in ("-", "/dev/stdout", "/dev/fd/1"):
        result = shell(f"hfgen generate x -o {name}")
        assert (result.code, result.out) == (0, "x" + ANSWER + "\n")
    assert shell("hfgen generate x -o /dev/stdout > f; cat f").out == "x" + ANSWER + "\n"
    result = shell("hfgen generate x --format json -o >(jq -r .text); sleep 0.5")
    assert (result.code, result.out, result.err) == (0, "x" + ANSWER + "\n", "")
    assert shell("hfgen generate x -o /dev/null").code == 0
    result = shell("hfgen generate x -o /dev/full")
    result.assert_error(1, "cannot write /dev/full: No space left on device")
