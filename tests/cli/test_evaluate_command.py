"""`hfgen evaluate`: figures, results of rows, going on, comparing, and mistakes."""

from __future__ import annotations

import json

import pytest

from hfgen.cli.program.main import run

CHOICES = [
    {"query": f"There were {n} kings and a", "choices": ["bird", "fox", "sea"], "gold": n % 3}
    for n in range(20)
]


@pytest.fixture
def evaluate(monkeypatch, capfd, lm_of, tmp_path):
    """Run the command with tiny models: `evaluate("choice", "rows.jsonl")`."""

    def load(which):
        return lm_of("llama" if which.name == "other" else "gpt2")

    monkeypatch.setattr("hfgen.loading.load_model", load)
    monkeypatch.setattr("hfgen.cli.program.main._QUIET_LIBRARIES", {})
    monkeypatch.chdir(tmp_path)
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in CHOICES))
    (tmp_path / "text.txt").write_text("Once upon a time there was a king.\n" * 30)

    def call(*arguments):
        code = run(["evaluate", *arguments])
        done = capfd.readouterr()
        return code, done.out, done.err

    return call


def test_figures_have_intervals(evaluate):
    code, out, err = evaluate("choice", "rows.jsonl")
    assert (code, err) == (0, "")
    assert out.startswith("choice: gpt2 on 20 rows\n  accuracy ")
    assert "33.3% [33.3, 33.3]" in out
    found = json.loads(evaluate("choice", "rows.jsonl", "--json", "--limit", "6")[1])
    assert found["rows"] == 6
    metric = found["metrics"]["accuracy"]
    assert metric["low"] <= metric["value"] <= metric["high"]
    found = json.loads(evaluate("perplexity", "text.txt", "--json", "--stride", "64")[1])
    assert found["method"]["stride"] == 64
    assert set(found["metrics"]) == {"perplexity", "word_perplexity", "bits_per_byte"}


def test_results_are_kept_and_gone_on_from(evaluate, tmp_path):
    whole = json.loads(evaluate("choice", "rows.jsonl", "--json", "-o", "out.jsonl")[1])
    path = tmp_path / "out.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    assert [json.loads(line)["index"] for line in lines] == list(range(20))
    code, _, err = evaluate("choice", "rows.jsonl", "-o", "out.jsonl")
    assert code == 1
    assert "out.jsonl already exists" in err
    path.write_bytes(b"".join(lines[:7]) + lines[7][:20])
    again = json.loads(evaluate("choice", "rows.jsonl", "--json", "-o", "out.jsonl", "--resume")[1])
    assert again == whole
    assert path.read_bytes() == b"".join(lines)
    code, _, err = evaluate("cloze", "text.txt", "-o", "out.jsonl", "--resume")
    assert code == 1
    assert "another task or model" in err


def test_two_models_on_the_same_rows(evaluate):
    code, out, err = evaluate("compare", "rows.jsonl", "-m", "one", "-m", "other")
    assert (code, err) == (0, "")
    assert "McNemar p = " in out
    assert "KL(A || B)" in out
    assert "most different rows: rows.jsonl:" in out
    found = json.loads(evaluate("compare", "text.txt", "-m", "a", "-m", "other", "--json")[1])
    assert [one["model"] for one in found["models"]] == ["gpt2", "llama"]
    assert found["comparison"]["kl_divergence"]["value"] > 0
    assert "mcnemar_p" not in found["comparison"]


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["choice", "none.jsonl"], 1, "cannot read none.jsonl"),
        (["choice", "text.txt"], 1, "choices must be a list"),
        (["perplexity", "rows.jsonl"], 1, "text must be a text"),
        (["choice", "rows.jsonl", "--limit", "0"], 2, "--limit 0: must be"),
        (["choice", "rows.jsonl", "--resume"], 2, "--resume continues --output"),
        (["compare", "rows.jsonl", "-m", "a"], 2, "compare takes two models, not 1"),
        (["perplexity", "text.txt", "--stride", "999"], 2, "stride is 999, must be 1 to 128"),
        (["perplexities", "text.txt"], 2, "perplexities"),
    ],
)
def test_mistakes_take_two_lines(evaluate, arguments, code, message):
    found, out, err = evaluate(*arguments)
    assert (found, out) == (code, "")
    assert message in err.splitlines()[0]
    assert [line.split(":")[0] for line in err.splitlines()] in (["error"], ["error", "hint"])


def test_alone_it_is_its_help(evaluate):
    code, out, _ = evaluate()
    assert code == 0
    assert all(name in out for name in ("perplexity", "cloze", "choice", "compare"))
