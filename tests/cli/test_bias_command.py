"""`hfgen bias`: alone, on files, as JSON and as a picture; mistakes."""

from __future__ import annotations

import json

import pytest

from hfgen.cli.program.main import run


@pytest.fixture
def bias(monkeypatch, capfd, lm_of, tmp_path):
    """Run the command with a tiny model: `bias("pairs", "rows.jsonl")`."""
    monkeypatch.setattr("hfgen.loading.load_model", lambda which: lm_of("gpt2"))
    monkeypatch.setattr("hfgen.cli.program.main._QUIET_LIBRARIES", {})
    monkeypatch.chdir(tmp_path)
    rows = [{"more": f"The king saw {n}.", "less": f"The fox saw {n}."} for n in range(6)]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "words.txt").write_text("The man, The woman\n")
    (tmp_path / "text.jsonl").write_text('{"text": "x"}\n')

    def call(*arguments):
        code = run(["bias", *arguments])
        done = capfd.readouterr()
        return code, done.out, done.err

    return call


def test_alone_it_takes_the_built_in_set(bias):
    code, out, err = bias()
    assert (code, err) == (0, "")
    assert out.startswith("bias builtin: gpt2 on 40 rows\n  gender ")
    assert "score: sum of log-probabilities; direction: " in out
    assert "not about what the model writes or" in out
    assert bias("--score", "mean")[1] != out


def test_figures_rows_and_picture(bias, tmp_path):
    pytest.importorskip("matplotlib")
    arguments = ["pairs", "rows.jsonl", "--json", "-o", "out.jsonl", "--plot", "p.png"]
    code, out, err = bias(*arguments)
    assert (code, err) == (0, "notice: wrote p.png\n")
    found = json.loads(out)
    assert (found["rows"], found["method"]["ties"]) == (6, "0, half each")
    assert set(found["metrics"]) == {"all pairs", "all", "difference"}
    assert found["reading"].startswith("The model finds")
    rows = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    hits = sum(row["score_more"] > row["score_less"] for row in rows)
    assert found["metrics"]["all"]["value"] == hits / 6
    assert (tmp_path / "p.png").stat().st_size > 5000
    code, _, err = bias(*arguments)
    assert code == 1
    assert "p.png already exists" in err


def test_a_template(bias):
    code, out, err = bias("template", "{x} was good at maths.", "--swap", "words.txt")
    assert (code, err) == (0, "")
    assert out.startswith("bias template: gpt2 on 1 row\n")


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["crows", "none.csv"], 1, "cannot read none.csv"),
        (["pairs", "text.jsonl"], 1, "text.jsonl:1: no pair of sentences among `text`"),
        (["pairs", "words.txt"], 2, "sentences on lines come in two files"),
        (["stereoset", "rows.jsonl"], 1, "rows.jsonl is not StereoSet's JSON"),
        (["template", "none", "--swap", "words.txt"], 2, "the template has no {x}: none"),
        (["template", "{x}."], 2, "--swap"),
        (["pairs", "rows.jsonl", "--score", "max"], 2, "--score max: must be sum or mean"),
        (["pairs", "rows.jsonl", "--limit", "0"], 2, "--limit 0: must be"),
        (["crowds"], 2, "crowds"),
    ],
)
def test_mistakes_take_two_lines(bias, arguments, code, message):
    found, out, err = bias(*arguments)
    assert (found, out) == (code, "")
    assert message in err.splitlines()[0]
    assert [line.split(":")[0] for line in err.splitlines()] == ["error", "hint"]
