"""`hfgen classify`: lines, records, reports, a fine-tuned model, and mistakes."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from hfgen.cli.program.main import run
from tests.conftest import wrap

ROWS = [
    {"text": f"There was a {word}.", "label": ("good", "bad")[n % 2], "id": n}
    for n, word in enumerate(("king", "fox", "bird", "sea", "golden house", "boat"))
]


@pytest.fixture
def lm(lm_of):
    return lm_of("gpt2")


@pytest.fixture
def classify(monkeypatch, capfd, lm, tmp_path):
    """Run the command with a tiny model: `classify("text", "--labels", "a,b")`."""
    monkeypatch.setattr("hfgen.loading.load_model", lambda which: lm)
    monkeypatch.setattr("hfgen.cli.program.main._QUIET_LIBRARIES", {})
    monkeypatch.chdir(tmp_path)
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    (tmp_path / "labels.txt").write_text("good: it ends well\nbad: it does not\n")

    def call(*arguments):
        code = run(["classify", *arguments])
        done = capfd.readouterr()
        return code, done.out, done.err

    return call


def test_a_line_for_each_text(classify, lm):
    code, out, err = classify("A king.", "A fox.", "--labels", "good,bad")
    assert (code, err) == (0, "")
    for line, text in zip(out.splitlines(), ("A king.", "A fox."), strict=True):
        found = lm.classify(text, labels=["good", "bad"])
        assert line == f"{found.label:<16}{found.confidence:.3f}  {text}"
    _, out, _ = classify("A king.", "A fox.", "--labels", "good,bad", "--min-confidence", "1")
    assert [line[0] for line in out.splitlines()] == ["-", "-"]


def test_records_of_rows(classify, lm):
    code, out, err = classify("-f", "rows.jsonl", "--labels", "good,bad", "--format", "jsonl")
    assert (code, err) == (0, "")
    records = [json.loads(line) for line in out.splitlines()]
    for number, (record, row) in enumerate(zip(records, ROWS, strict=True)):
        assert record["index"] == number
        assert record["id"] == str(row["id"])
        assert (record["text"], record["gold"]) == (row["text"], row["label"])
        assert sum(record["probabilities"].values()) == pytest.approx(1)
        assert record["probabilities"][record["label"]] == record["confidence"]
    whole = classify("-f", "rows.jsonl", "--labels", "good,bad", "--format", "json")[1]
    assert json.loads(whole) == records


def test_figures_and_the_prompt(classify):
    told = ["-f", "rows.jsonl", "--labels-file", "labels.txt", "--evaluate"]
    examples = ["--examples", "rows.jsonl", "--shots", "2", "--seed", "4"]
    code, out, err = classify(*told, *examples, "-v")
    assert code == 0
    assert out.startswith("classify: gpt2 on 6 rows, 2 examples, calibration none\n  accuracy ")
    assert "right label, by chosen label:" in out
    assert "good: it ends well\nbad: it does not\n\nThere was a " in err
    assert err.endswith("There was a king.\nLabel:\n")
    calibrated = ["--calibration", "contextual", "--format", "json"]
    found = json.loads(classify(*told, *examples, *calibrated)[1])
    assert set(found["metrics"]) == {"accuracy", "macro_f1", "calibration_error", "majority"}
    assert sum(sum(row.values()) for row in found["confusion"].values()) == 6
    assert found["method"]["content_free"] == ["N/A", "", "[MASK]"]
    assert all(place.startswith("rows.jsonl:") for place in found["method"]["examples"])


def test_a_fine_tuned_model_brings_its_labels(classify, lm, tmp_path, monkeypatch):
    asking = {"form": "{review}\\nSentiment:", "is_chat": False, "is_label": True}
    report = {"schema": 1, "data": {"asking": asking, "labels": ["bad", "good"]}}
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "training.json").write_text(json.dumps(report))
    mine = wrap(lm.model, lm.tokenizer)
    mine._resolved = replace(mine._resolved, path=tmp_path / "mine")
    monkeypatch.setattr("hfgen.loading.load_model", lambda which: mine)
    code, out, err = classify("-m", "mine", "-f", "rows.jsonl", "--evaluate", "--format", "json")
    assert (code, err) == (0, "")
    found = json.loads(out)
    assert found["method"]["template"] == "{review}\\nSentiment: {label}"
    assert list(found["confusion"]) == ["bad", "good"]
    code, out, _ = classify("-m", "mine", "A king.", "--labels", "yes,no", "--format", "json")
    assert list(json.loads(out)[0]["probabilities"]) == ["yes", "no"]


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["x"], 2, "no labels to choose from"),
        (["x", "--labels", "a"], 2, "needs two labels or more"),
        (["x", "--labels", "a,a"], 2, "label 'a' is given twice"),
        (["x", "--labels", "a,,b"], 2, "needs two labels or more"),
        (["x", "--task", "moods"], 2, "--task moods: there is no such task"),
        (["x", "--labels", "a,b", "--template", "x"], 2, "--template x: must be a text with"),
        (["x", "--labels", "a,b", "--template", "{x}"], 2, "--template {x}: must be a text with"),
        (["x", "--labels", "a,b", "--calibration", "z"], 2, "--calibration z: must be none"),
        (["x", "--labels", "a,b", "--min-confidence", "2"], 2, "--min-confidence 2: must be"),
        (["x", "--labels", "a,b", "--shots", "2"], 2, "--shots needs examples"),
        (["x", "--labels", "a,b", "--evaluate"], 2, "--evaluate needs labelled rows"),
        (["x", "--labels", "a,b", "--labels-file", "l.txt"], 2, "labels are given twice"),
        (["x", "--labels-file", "none.txt"], 1, "cannot read none.txt"),
        (["-f", "none.jsonl", "--labels", "a,b"], 1, "cannot read none.jsonl"),
        (["-f", "rows.jsonl", "--labels", "a,b", "--evaluate"], 1, "rows.jsonl:1: 'good' is none"),
        (["x", "--labels", "a,b", "--examples", "rows.jsonl"], 1, "rows.jsonl:1: 'good' is none"),
        (["long " * 200, "--labels", "a,b"], 1, "prompt and label have"),
    ],
)
def test_mistakes_take_two_lines(classify, arguments, code, message):
    found, out, err = classify(*arguments)
    assert (found, out) == (code, "")
    assert message in err.splitlines()[0]
    assert [line.split(":")[0] for line in err.splitlines()] == ["error", "hint"]
