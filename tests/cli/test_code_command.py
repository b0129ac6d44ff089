"""`hfgen code`: what it writes, where, and what it refuses."""

from __future__ import annotations

import io
import json
from types import SimpleNamespace

import pytest

from hfgen.cli.program.main import run
from hfgen.generation.options.presets import PRESETS

WRITTEN = "    return x + 1\n\n\ndef g():\n"
KEPT = "    return x + 1"
OLD = "def f(x):\n"


@pytest.fixture
def code(monkeypatch, capfd, lm_of, tmp_path):
    """Run the command with a tiny model: `code("a.py")` -> (code, output, errors)."""
    monkeypatch.setattr("hfgen.loading.load_model", lambda which: lm_of("gpt2"))
    monkeypatch.setattr("hfgen.cli.program.main._QUIET_LIBRARIES", {})
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.py").write_text(OLD)

    def call(*arguments, stdin=None):
        given = io.BytesIO((stdin or "").encode())
        monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=given, isatty=lambda: False))
        code = run(["code", *arguments])
        done = capfd.readouterr()
        return code, done.out, done.err

    return call


@pytest.fixture
def writes(monkeypatch):
    """Have the model write given texts, one for each sample."""

    def prepare(*texts):
        from hfgen.coding.blocks import block_end
        from hfgen.coding.complete import Completion

        seen = {}

        def stand_in(lm, before, after, language, options, *, until, watch, **rest):
            seen.update(before=before, after=after, language=language, options=options)
            found = []
            for number, text in enumerate(texts):
                end = block_end(language, before, after, until)
                piece, is_end = end.add(text)
                piece += "" if is_end else end.flush()[0]
                watch(piece if len(texts) == 1 else "")
                found.append(Completion(piece, "stop", number, 5, 6, -0.5 - number))
            return found

        monkeypatch.setattr("hfgen.coding.complete.complete_code", stand_in)
        return seen

    return prepare


def test_a_real_run_streams_what_the_model_writes(code, lm_of):
    exit_code, out, err = code("a.py", "--until", "eof", "-n", "6", "--greedy")
    expected = lm_of("gpt2").generate(OLD, raw=True, greedy=True, max_new_tokens=6).completion
    assert (exit_code, out, err) == (0, expected.rstrip() + "\n", "")


def test_the_completion_of_a_file_or_standard_input(code, writes):
    seen = writes(WRITTEN)
    assert code("a.py") == (0, KEPT + "\n", "")
    assert (seen["before"], seen["after"], seen["language"].name) == (OLD, "", "Python")
    assert code(stdin=OLD) == (0, KEPT + "\n", "")
    assert code("-", stdin=OLD) == (0, KEPT + "\n", "")
    assert code("-", "--language", "c", stdin="int f() {\n")[0] == 0
    assert seen["language"].name == "C"


def test_echo_writes_the_whole_text(code, writes, tmp_path):
    writes(WRITTEN)
    assert code("a.py", "--echo")[1] == f"{OLD}{KEPT}\n"
    (tmp_path / "b.py").write_bytes("\ufeffdef f(x):\r\n    <FILL>\r\nf()".encode())
    seen = writes("y = (1,\n    2)\n    return y\n\ng()\n")
    assert code("b.py", "--echo") == (
        0, "\ufeffdef f(x):\r\n    y = (1,\r\n    2)\r\n    return y\r\nf()\n", "",
    )  # fmt: skip
    assert (seen["before"], seen["after"]) == ("def f(x):\n    ", "\nf()")


def test_a_place_is_a_line_and_column(code, writes, tmp_path):
    (tmp_path / "b.py").write_text("x = (1)\ny = 2\n")
    seen = writes("2, ")
    assert code("b.py", "--line", "1", "--column", "6", "--echo")[1] == "x = (2,1)\ny = 2\n"
    assert (seen["before"], seen["after"]) == ("x = (", "1)\ny = 2\n")
    code("b.py", "--line", "2")
    assert (seen["before"], seen["after"]) == ("x = (1)\ny = 2", "")


def test_a_diff(code, writes):
    writes(WRITTEN)
    assert code("a.py", "--diff") == (
        0, f"--- a/a.py\n+++ b/a.py\n@@ -1 +1,2 @@\n def f(x):\n+{KEPT}\n", "",
    )  # fmt: skip
    assert code("a.py", "--diff", "-i", "--no-backup")[1].endswith(f"+{KEPT}\n")
    assert code("a.py")[0] == 0


def test_in_place(code, writes, tmp_path):
    writes(WRITTEN)
    assert code("a.py", "--in-place", "-v", "--seed", "1") == (
        0, "", "notice: wrote a.py; a.py~ is the file as it was\n",
    )  # fmt: skip
    assert (tmp_path / "a.py").read_text() == f"{OLD}{KEPT}\n"
    assert (tmp_path / "a.py~").read_text() == OLD


def test_a_file_that_changes_meanwhile_keeps_the_change(code, writes, tmp_path, monkeypatch):
    writes(WRITTEN)
    from hfgen.coding import complete

    made = complete.complete_code

    def slow(*given, **named):
        (tmp_path / "a.py").write_text("mine")
        return made(*given, **named)

    monkeypatch.setattr("hfgen.coding.complete.complete_code", slow)
    exit_code, out, err = code("a.py", "-i")
    assert (exit_code, out) == (1, KEPT + "\n")
    assert err.splitlines() == [
        "error: a.py has changed meanwhile, and was left alone",
        "hint: the completion is on standard output; run the command again for the new file",
    ]
    assert (tmp_path / "a.py").read_text() == "mine"


def test_alternatives(code, writes):
    writes("    return 1\n\nx", "    return 2\n\nx")
    assert code("a.py", "--count", "2")[1] == (
        "--- 1 of 2, log-probability -0.500 a token, seed 0\n    return 1\n"
        "--- 2 of 2, log-probability -1.500 a token, seed 1\n    return 2\n"
    )


def test_records(code, writes):
    writes("    return 1\n\nx", "    return 2\n\nx")
    rows = [json.loads(line) for line in code("a.py", "--format", "jsonl")[1].splitlines()]
    assert rows == json.loads(code("a.py", "--json")[1])
    assert rows[0] == {
        "index": 0, "model": "gpt2", "file": "a.py", "language": "Python", "line": 2, "column": 1,
        "completion": "    return 1", "finish_reason": "stop", "seed": 0, "prompt_tokens": 5,
        "completion_tokens": 6, "mean_logprob": -0.5, "samples": 1,
    }  # fmt: skip


def test_records_with_logprobs(code):
    arguments = ("a.py", "--json", "--logprobs", "1", "-n", "4", "--until", "eof", "--greedy")
    (record,) = json.loads(code(*arguments)[1])
    assert len(record["logprobs"]) == 4
    assert record["logprobs"][0]["top"][0]["token_id"] == record["logprobs"][0]["token_id"]


@pytest.mark.parametrize(
    ("arguments", "exit_code", "message", "hint"),
    [
        (["none.py"], 1, "cannot read none.py: No such file", "check the name"),
        (["a.bin"], 1, "a.bin is a binary file", "UTF-8"),
        ([], 2, "standard input is empty", "hfgen code FILE"),
        (["a.py", "--line", "9"], 2, "a.py has no line 9", "it has 2"),
        (["a.py", "--line", "0"], 2, "--line 0: must be a whole number from 1", ""),
        (["a.py", "--line", "1", "--column", "99"], 2, "has no column 99", "from 1 to 10"),
        (["a.py", "--column", "1"], 2, "--column needs a line", "--line 1"),
        (["a.py", "--marker", "HERE"], 2, "a.py has no HERE", "--line 1"),
        (["a.py", "--marker", "f", "--line", "1"], 2, "given twice: --line and --mark", "drop one"),
        (["a.py", "--until", "end"], 2, "--until end: must be function or block", "leave --until"),
        (["a.py", "--format", "xml"], 2, "--format xml: must be text", "leave --format out"),
        (["a.py", "--language", "pyton"], 2, "no language 'pyton'", "did you mean python?"),
        (["-", "-i"], 2, "--in-place needs a file", "hfgen code -i FILE"),
        (["a.py", "--no-backup"], 2, "--no-backup has no effect without --in", "add -i"),
        (["a.py", "--diff", "--json"], 2, "--diff has no effect on records", "drop --diff"),
        (["a.py", "--diff", "--echo"], 2, "--echo does not go with --diff", "drop one"),
        (["a.py", "--logprobs", "2"], 2, "--logprobs has no place in code", "--format json"),
        (["a.py", "--line", "1", "--column", "3"], 1, "gpt2 cannot fill in: its tokenizer has no",
         "end of the text, or name a model that has them: -m Qwen/Qwen2.5-Coder-0.5B"),
        (["a.py", "--num-samples", "2"], 2, "there is no option --num-samples", "write --num-ret"),
    ],
)  # fmt: skip
def test_mistakes_take_two_lines(code, tmp_path, arguments, exit_code, message, hint):
    (tmp_path / "a.bin").write_bytes(b"\0")
    found, out, err = code(*arguments)
    assert (found, out) == (exit_code, "")
    first, second = err.splitlines()
    assert message in first
    assert hint in second
    assert (tmp_path / "a.py").read_text() == OLD


def test_an_empty_file_and_nothing_to_add(code, writes, tmp_path):
    (tmp_path / "b.py").write_text("")
    seen = writes("\n")
    assert code("b.py", "-v", "--seed", "1") == (
        0,
        "",
        "notice: the model has nothing to add here\n",
    )
    assert seen["before"] == ""
    assert code("b.py", "-i", "--no-backup")[0] == 0
    assert (tmp_path / "b.py").read_bytes() == b""


def test_what_was_cut_by_the_default_length(code, lm_of):
    _, _, err = code("a.py", "-v", "--seed", "3")
    assert "notice: cut at 64 tokens, before the end of the function; -n for more" in err
    assert "cut at" not in code("a.py", "-v", "--seed", "3", "-n", "5")[2]


def test_rows_of_humaneval_give_what_it_reads(code, monkeypatch, tmp_path):
    rows = [{"task_id": f"HumanEval/{i}", "prompt": OLD, "entry_point": "f", "test": "assert f"}
            for i in range(2)]  # fmt: skip
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    arguments = ("rows.jsonl", "-n", "4", "--seed", "1")
    assert run(["batch", *arguments, "--preset", "code", "-o", "code.jsonl"]) == 0
    assert run(["batch", *arguments, "--preset", "humaneval", "-o", "humaneval.jsonl"]) == 0
    for name in ("code.jsonl", "humaneval.jsonl"):
        found = [json.loads(line) for line in (tmp_path / name).read_text().splitlines()]
        assert [row["task_id"] for row in found] == ["HumanEval/0", "HumanEval/1"]
        assert all(isinstance(row["completion"], str) for row in found)
    assert "\ndef " in PRESETS["humaneval"].values["stop_strings"]
