"""`hfgen score`: inputs, formats and errors."""

from __future__ import annotations

import json
import math

import pytest

from hfgen.cli.program.main import run


@pytest.fixture
def score(monkeypatch, capfd, lm_of, tmp_path):
    """Run the command with a tiny model: `score("a text")` -> (code, output, errors)."""
    monkeypatch.setattr("hfgen.loading.load_model", lambda which: lm_of("gpt2"))
    monkeypatch.setattr("hfgen.cli.program.main._QUIET_LIBRARIES", {})
    monkeypatch.chdir(tmp_path)

    def call(*arguments):
        code = run(["score", *arguments])
        done = capfd.readouterr()
        return code, done.out, done.err

    return call


def test_each_argument_is_a_text(score, lm_of):
    code, out, err = score("The cat sat.", "The mat sat.")
    assert (code, err) == (0, "")
    header, *lines = out.splitlines()
    assert header.split() == ["log-prob", "tokens", "perplexity", "bits/byte", "text"]
    expected = lm_of("gpt2").score(["The cat sat.", "The mat sat."])
    assert [float(line.split()[0]) for line in lines] == pytest.approx(
        [one.log_likelihood for one in expected], abs=1e-3
    )
    assert lines[1].endswith("The mat sat.")


@pytest.mark.parametrize("by", ["token", "word", "line"])
def test_records_hold_what_was_asked_for(score, by):
    code, out, _ = score("--format", "jsonl", "--by", by, "Once upon a time\nthere was")
    record = json.loads(out)
    assert code == 0
    units = record[f"{by}_scores"]
    assert "".join(unit[by] for unit in units) == record["text"]
    assert ("rank" in units[0]) == (by == "token")
    if by != "word":
        total = math.fsum(unit["logprob"] for unit in units)
        assert total == pytest.approx(record["log_likelihood"], abs=1e-5)
    assert list(record)[:8] == [
        "index", "id", "text", "log_likelihood", "tokens", "bytes", "perplexity", "bits_per_byte",
    ]  # fmt: skip


def test_rows_bring_their_context(score, tmp_path):
    rows = [
        {"context": "There was a", "continuation": " king", "id": 7},
        {"prompt": "There was a", "completion": " king"},
        {"text": "There was a king"},
    ]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    code, out, _ = score("-f", "rows.jsonl", "--format", "json")
    first, second, third = json.loads(out)
    assert code == 0
    assert first["id"] == "7"
    assert first["log_likelihood"] == second["log_likelihood"]
    assert (first["tokens"], first["after"], third["after"]) == (1, None, "<|endoftext|>")
    _, out, _ = score("--context", "There was a", " king", "--format", "json")
    assert json.loads(out)[0]["log_likelihood"] == pytest.approx(first["log_likelihood"], abs=1e-6)


def test_a_file_of_lines(score, tmp_path):
    (tmp_path / "a.txt").write_text("one\ntwo\n\nthree\n")
    assert len(score("-f", "a.txt", "--lines")[1].splitlines()) == 4
    assert len(score("-f", "a.txt")[1].splitlines()) == 2


@pytest.mark.parametrize(
    ("arguments", "code", "message", "hint"),
    [
        (["x", "--by", "letter"], 2, "--by letter: must be", "leave it out"),
        (["x", "--format", "xml"], 2, "--format xml: must be", "leave it out"),
        (["x", "--stride", "0"], 2, "--stride 0: must be", ""),
        (["x", "--stride", "500"], 2, "stride is 500, must be 1 to 128", ""),
        (["x", "-f", "a.txt"], 2, "a text is given twice", "drop one"),
        (["x", "y", "-f", "a.txt"], 2, "a text is given twice", "drop one"),
        (["x", "-f", "bad.jsonl"], 2, "texts come from rows and from arguments", "drop one"),
        (["-f", "empty.txt"], 2, "empty.txt is empty", "hfgen score"),
        (["-f", "none.jsonl"], 1, "cannot read none.jsonl", "check the name"),
        (["-f", "bad.jsonl"], 1, "bad.jsonl:2: no text to score among answer", "continuation"),
        (["-f", "bad.jsonl", "--context", "a"], 2, "--context is for texts", "continuation"),
        (["--no-bos", "a"], 1, "text 0 has 1 token: nothing to score", "needs two"),
    ],
)
def test_mistakes_take_two_lines(score, tmp_path, arguments, code, message, hint):
    (tmp_path / "a.txt").write_text("one")
    (tmp_path / "empty.txt").write_text("")
    (tmp_path / "bad.jsonl").write_text('{"text": "a b"}\n{"answer": 1}\n')
    found, out, err = score(*arguments)
    assert found == code
    lines = [line for line in err.splitlines() if line.startswith(("error: ", "hint: "))]
    assert message in lines[0]
    assert hint in (lines[1] if len(lines) > 1 else "")
    assert len(err.splitlines()) == len(lines)
    assert "one" not in out
