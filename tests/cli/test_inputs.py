"""Where prompts come from, and what is refused with file and line."""

from __future__ import annotations

import io
import json
import os

import pytest
from processes import TERMINAL

from hfgen.cli.io.inputs import InputChoice, Prompts, _split
from hfgen.errors import DataError

ANSWER = " there was a fox."


def rows(result):
    assert result.code == 0, result
    return [json.loads(line)["prompt"] for line in result.out.splitlines()]


def test_arguments_are_joined_by_one_space(fake):
    result = fake("generate", "Once  upon", "a", "", "time")
    assert (result.out, result.err) == ("Once  upon a  time" + ANSWER + "\n", "")


def test_explicit_empty_prompt_is_a_prompt(fake):
    assert fake("generate", "").out == ANSWER + "\n"


def test_after_two_dashes_everything_is_prompt(fake):
    assert fake("generate", "-n", "5", "--", "-5", "--greedy").out == "-5 --greedy" + ANSWER + "\n"


@pytest.mark.parametrize("data", ["Once", "Once\n", "Once\r\n", b"\xef\xbb\xbfOnce\n"])
def test_standard_input_is_the_prompt_without_its_last_line_end(fake, data):
    assert fake("generate", data=data).out == "Once" + ANSWER + "\n"
    assert fake("generate", "-", data=data).out == "Once" + ANSWER + "\n"
    assert fake("generate", "-f", "-", data=data).out == "Once" + ANSWER + "\n"


def test_only_one_line_end_is_dropped(fake):
    assert fake("generate", data=" a\n\n\n").out == " a\n\n" + ANSWER + "\n"


def test_dash_stands_for_standard_input_among_arguments(fake):
    result = fake("generate", "Say", "-", "again:", data="hello\n")
    assert result.out == "Say hello again:" + ANSWER + "\n"


def test_standard_input_is_not_read_when_a_prompt_is_given(shell):
    result = shell("printf '%s\\n' one two | while read w; do hfgen generate \"$w\"; done")
    assert result.out == f"one{ANSWER}\ntwo{ANSWER}\n"
    result = shell("printf 'x\\ny\\n' > f; printf '%s\\n' a b | while read w; do "
                   "hfgen generate --lines -f f --no-echo; done")  # fmt: skip
    assert result.out == (ANSWER + "\n") * 4


NOTICE = "notice: standard input is not read: write - where it belongs in the prompt, as in: {} -\n"


def test_unread_standard_input_beside_a_prompt_is_told_and_left_alone(shell):
    line = "{{ hfgen generate 'Sum up:' -n 5; cat; }} {}"
    answer = f"Sum up:{ANSWER}\n"
    for source, rest in (("< f", "data\n"), ("<<< data", "data\n")):
        result = shell("echo data > f; " + line.format(source))
        assert (result.out, result.err) == (answer + rest, NOTICE.format("'Sum up:'"))
    result = shell("echo data | " + line.format(""))
    assert (result.out, result.err) == (answer + "data\n", NOTICE.format("'Sum up:'"))
    # A slow producer is not waited for; what has come by the end is told.
    result = shell("{ sleep 2; echo; } | FAKE_DELAY=1 hfgen generate Once")
    assert (result.out, result.err) == (f"Once{ANSWER}\n", NOTICE.format("Once"))


@pytest.mark.parametrize(
    "line",
    [
        "hfgen generate Once < /dev/null",
        "hfgen generate Once <&-",
        "true | hfgen generate Once",
        ": > f; hfgen generate Once < f",
        "echo x > f; { cat > /dev/null; hfgen generate Once; } < f",
        "mkfifo f; sleep 9 > f & hfgen generate Once < f; kill $!",
        "echo x | hfgen generate Once -q",
    ],
)
def test_no_notice_where_nothing_is_to_be_read(shell, line):
    result = shell(line)
    assert (result.out, result.err) == (f"Once{ANSWER}\n", "")


def test_no_notice_on_a_terminal(fake):
    assert fake("generate", "Once", data=TERMINAL).err == ""


def test_a_loop_keeps_its_lines_and_is_told(shell):
    loop = 'while read w; do hfgen generate "$w"; done'
    lines = r"printf '%s\n' one two"
    for line in (f"{lines} | {loop}", f"{lines} > f; {loop} < f"):
        result = shell(line)
        assert result.out == f"one{ANSWER}\ntwo{ANSWER}\n"
        assert result.err == NOTICE.format("one")


def test_file(fake, tmp_path):
    path = tmp_path / "a file.txt"
    path.write_bytes("Es war einmal ein Bär\n".encode())
    assert fake("generate", "-f", str(path)).out == "Es war einmal ein Bär" + ANSWER + "\n"


def test_lines_are_prompts_and_empty_ones_are_counted(fake):
    result = fake("generate", "--lines", "--format", "jsonl", data="a\r\n\n  \nb\n\nc")
    assert rows(result) == ["a", "  ", "b", "c"]
    assert result.err == "notice: empty prompts skipped: 2\n"
    assert [json.loads(line)["index"] for line in result.out.splitlines()] == [0, 1, 2, 3]


def test_null_separated_prompts_may_hold_lines(fake):
    result = fake("generate", "-0", "--format", "jsonl", data="a\nb\0\0c\0")
    assert rows(result) == ["a\nb", "c"]
    assert fake("generate", "-0", data="a\0b").out == f"a{ANSWER}\0b{ANSWER}\0"


def test_null_ends_the_texts_of_an_argument(fake):
    result = fake("generate", "-0", "--num-return-sequences", "2", "x")
    assert result.out == f"x{ANSWER}\0x{ANSWER}\0"


def test_endless_input_is_read_lazily(shell):
    result = shell(
        "yes word | hfgen generate --lines --format jsonl | head -3; echo ${PIPESTATUS[1]}"
    )
    assert result.out.splitlines()[3:] == ["0"]
    assert [json.loads(line)["index"] for line in result.out.splitlines()[:3]] == [0, 1, 2]
    assert result.err == ""


BAD_FILES = [
    (b"fine\nbad \xff here\n", [], "prompts:2: not valid UTF-8 (byte 0xff)"),
    (b"\xc3(", [], "prompts:1: not valid UTF-8 (byte 0xc3)"),
    (b"\xe9t\xe9\n", ["--lines"], "prompts:1: not valid UTF-8 (byte 0xe9)"),
    (b"\n\n\xe9\0b", ["-0"], "prompts:3: not valid UTF-8 (byte 0xe9)"),
]


@pytest.mark.parametrize(("data", "flags", "message"), BAD_FILES)
def test_input_that_is_not_utf8(refused, tmp_path, data, flags, message):
    path = tmp_path / "prompts"
    path.write_bytes(data)
    refused("generate", "-f", str(path), *flags).assert_error(1, message, "iconv")
    message = message.replace("prompts", "standard input")
    refused("generate", *flags, data=data).assert_error(1, message, "iconv")


def test_rows_before_a_bad_one_are_finished(fake):
    result = fake("generate", "--lines", "--format", "jsonl", data=b"a\nlong:b\n\xff\nd\n")
    assert [json.loads(line)["prompt"] for line in result.out.splitlines()] == ["a", "long:b"]
    assert result.err.startswith("error: standard input:3: not valid UTF-8 (byte 0xff)\nhint: ")
    assert result.code == 1


def test_line_number_of_a_null_separated_row(fake):
    result = fake("generate", "-0", data=b"a\nb\0c\nd \xff\0")
    assert "error: standard input:3: not valid UTF-8" in result.err
    assert result.out == f"a\nb{ANSWER}\0"


@pytest.mark.parametrize(
    ("name", "reason"),
    [("missing.txt", "No such file"), (".", "Is a directory"), ("a" * 300, "File name too long")],
)
def test_file_that_cannot_be_read(refused, tmp_path, name, reason):
    for flags in ([], ["--lines"]):
        result = refused("generate", "-f", str(tmp_path / name), *flags)
        result.assert_error(1, f"{reason}", "check the name")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_file_without_permission(refused, tmp_path):
    path = tmp_path / "secret"
    path.write_text("x")
    path.chmod(0)
    refused("generate", "-f", str(path)).assert_error(1, "Permission denied")


@pytest.mark.parametrize("data", ["", "\n", "\r\n"])
def test_empty_input(refused, tmp_path, data):
    refused("generate", data=data).assert_error(2, "standard input is empty", 'hfgen generate ""')
    path = tmp_path / "empty"
    path.write_text(data)
    refused("generate", "-f", str(path)).assert_error(2, "empty is empty")
    refused("generate", "--lines", "-f", str(path)).assert_error(2, "holds no prompts")


def test_closed_standard_input(shell):
    result = shell("hfgen generate <&-")
    result.assert_error(2, "standard input is empty")


def test_two_megabytes(fake, tmp_path):
    text = ("ab\x00\x07<|endoftext|>é\n" * 120_000)[:-1]
    assert fake("generate", data=text).out == text + ANSWER + "\n"
    one_line = "x" * 2_000_000
    result = fake("generate", "--lines", "--no-echo", data=f"{one_line}\n{one_line}\n")
    assert result.out == (ANSWER + "\n") * 2


def test_null_separated_parts_do_not_depend_on_chunks():
    class Trickle(io.BytesIO):
        def read1(self, size=-1):
            return super().read1(3)

    data = b"one\0two\0\0three and more\0last"
    assert list(_split(Trickle(data), b"\0")) == data.split(b"\0")
    assert list(_split(Trickle(data + b"\0"), b"\0")) == data.split(b"\0")


def test_finish_raises_what_ended_the_rows(tmp_path):
    path = tmp_path / "rows"
    path.write_bytes(b"a\nb\n\xff\n")
    prompts = Prompts(InputChoice(file=str(path), has_rows=True))
    assert list(prompts) == ["a", "b"]
    with pytest.raises(DataError, match=r"rows:3: not valid UTF-8 \(byte 0xff\)"):
        prompts.finish()
