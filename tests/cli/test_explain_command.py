"""`hfgen explain`: what a terminal, a page, a picture and JSON hold, and mistakes."""

from __future__ import annotations

import json
import re

import pytest

from hfgen.cli.explaining.page import page
from hfgen.cli.program.main import run

TEXT = "Once upon a time there was a king"
KINDS = ["tokens", "attention", "lens", "attribute", "positions"]


@pytest.fixture
def explain(monkeypatch, capfd, lm_of, tmp_path):
    """Run the command with a tiny model: `explain("lens", "a text")` -> (code, output, errors)."""
    monkeypatch.setattr(
        "hfgen.loading.load_model",
        lambda which: lm_of("bloom" if which.name == "bloom" else "gpt2"),
    )
    monkeypatch.setattr("hfgen.cli.program.main._QUIET_LIBRARIES", {})
    monkeypatch.chdir(tmp_path)

    def call(*arguments):
        code = run(["explain", *arguments])
        done = capfd.readouterr()
        return code, done.out, done.err

    return call


def given(kind):
    return [] if kind == "positions" else [TEXT]


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_in_every_form(explain, kind, tmp_path):
    code, out, err = explain(kind, *given(kind))
    assert (code, err) == (0, "")
    assert out.endswith("\n")
    assert "\x1b" not in out
    document = json.loads(explain(kind, *given(kind), "--json")[1])
    assert (document["kind"], document["model"]) == (kind, "gpt2")
    for name, begins in (
        ("p.html", b"<!doctype html>"),
        ("p.png", b"\x89PNG"),
        ("p.svg", b"<?xml"),
    ):
        code, out, err = explain(kind, *given(kind), "-o", name)
        assert (code, out, err) == (0, "", "")
        assert (tmp_path / name).read_bytes().startswith(begins)


def test_axes_of_attention_are_layers_heads_queries_and_keys(explain):
    found = json.loads(explain("attention", TEXT, "--json", "--layers", "0,2", "--heads", "1-3")[1])
    tokens = len(found["tokens"])
    shape = (len(found["weights"]), len(found["weights"][0]), len(found["weights"][0][0]))
    assert shape == (2, 3, tokens)
    assert (found["layers"], found["heads"]) == ([0, 2], [1, 2, 3])
    assert found["weights"][0][0][0][1:] == [0.0] * (tokens - 1)
    one = explain("attention", TEXT, "--layers", "1", "--heads", "0")[1]
    assert len(one.splitlines()) == tokens + 1


def test_the_formula_is_compared(explain):
    code, out, _ = explain("attention", TEXT, "--verify")
    assert code == 0
    assert "holds: largest difference" in out
    assert out.count("= 1/√d") == 3
    code, _, err = explain("attention", TEXT, "--verify", "-m", "bloom")
    assert code == 1
    assert "cannot be recorded" in err


def test_heads_are_listed(explain):
    assert len(explain("heads")[1].splitlines()) == 1 + 3 * 4
    assert len(json.loads(explain("heads", "--no-first", "--json")[1])["heads"]) == 12


def test_a_page_holds_its_data_and_fetches_nothing():
    text = 'an end </script><script>alert(1)</script> <!-- "quoted" \u2028 ünï'
    made = page({"kind": "lens", "model": text, "tokens": [text], "kl": [[0.123456]]})
    assert "http" not in made.replace("http-equiv", "")
    (data,) = re.findall(r'<script type="application/json" id="data">(.*?)</script>', made, re.S)
    found = json.loads(data)
    assert found["tokens"] == [text]
    assert found["kl"] == [[0.1235]]
    assert made.count("<script") == 2


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["attention", TEXT, "--layers", "7"], 2, "there is no layer 7"),
        (["attention", TEXT, "--heads", "x"], 2, "--heads x: must be numbers"),
        (["lens", TEXT, "--top", "0"], 2, "--top 0: must be"),
        (["lens", TEXT, "-o", "x.pdf"], 2, "must end with .html"),
        (["lens", TEXT, "-o", "old.html"], 1, "already exists"),
        (["lens", TEXT, "-o", "none/x.html"], 1, "cannot write none/x.html"),
        (["attribute", TEXT, "--method", "magic"], 2, "--method magic: must be"),
        (["attribute", TEXT, "--target", ""], 2, "the target has no tokens"),
        (["attention", TEXT, "--verify", "-o", "x.png"], 2, "draws nothing"),
        (["tokens", "a", "--no-bos"], 1, "one token"),
        (["tokens", TEXT, "-f", "a.txt"], 2, "given twice"),
    ],
)
def test_mistakes_take_two_lines(explain, tmp_path, arguments, code, message):
    (tmp_path / "old.html").write_text("old")
    found, out, err = explain(*arguments)
    assert (found, out) == (code, "")
    assert message in err.splitlines()[0]
    assert [line.split(":")[0] for line in err.splitlines()] in (["error"], ["error", "hint"])
    assert (tmp_path / "old.html").read_text() == "old"


def test_a_text_beyond_the_window_is_cut_with_a_notice(explain):
    code, _, err = explain("tokens", "word " * 300)
    assert code == 0
    assert err == "" or "left out" in err
    assert "left out" in explain("lens", "word " * 300)[2]
