"""What a run leaves beside its model: `training.json`, the model card, the plot."""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import hashlib
import io
import itertools
import json
import math
import os
import random
import re
import shlex
import stat
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from huggingface_hub import ModelCard
from hypothesis import example, given
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from PIL import Image

import hfgen
from hfgen.atomic import write_whole
from hfgen.errors import DataError, OutputError
from hfgen.training.events import Evaluation, Sample, Step
from hfgen.training.report import plot
from hfgen.training.report.asking import Asking
from hfgen.training.report.card import card
from hfgen.training.report.environment import (
    FileFacts,
    Machine,
    file_facts,
    machine,
    timestamp,
    versions,
)
from hfgen.training.report.folders import base_name, without_folders
from hfgen.training.report.markdown import code, fenced, one_line, plain, visible
from hfgen.training.report.plot import draw, draw_losses, moving_average, title
from hfgen.training.report.record import (
    BaseModel,
    DataFacts,
    RunReport,
    StepFacts,
    to_json,
    write_report,
)
from tests.training.samples import read_report

NASTY = [
    "", " ", "plain", "a|b", r"a\|b", r"a\\|b", "back`tick", "````", "~~~~", "---", "--- ", "...",
    "# heading", "<script>alert(1)</script>", "<!-- x", "&amp; &#x41;", "[a](http://b)", "![i](j)",
    "$x^2$", "**b** _i_ ~~s~~", "a\nb", "a\r\nb", "a\rb", "```\n---\n# x\n```", "\n---\nlicense: x",
    "\x00\x1b[31m\x7f\x85", "\u202eevil\u2066", "\u2028\u2029\ufeff", "\ud800", "\udcff", "🤦🏽‍♀️",
    "{{x}}", "'\"", "$(rm -rf ~)", "-m", "-", "--", "'; rm", "!!python/object", "*anchor", "%TAG",
]  # fmt: skip
texts = st.one_of(
    st.sampled_from(NASTY),
    st.text(st.characters(), max_size=30),
    st.lists(st.sampled_from(NASTY), max_size=4).map("\n".join),
)
numbers = st.one_of(st.none(), st.floats(), st.floats(0, 20))
samples = st.builds(Sample, texts, texts, st.sampled_from(["eos", "length", "stop", "odd|one"]))


def files_of(names: st.SearchStrategy[str]) -> Any:
    one = st.builds(FileFacts, names, st.integers(0, 2**60), st.just("ab" * 32))
    return st.lists(one, max_size=3).map(tuple)


evaluations = st.builds(
    Evaluation, st.integers(0, 10**6), numbers, st.booleans(),
    st.lists(samples, max_size=3).map(tuple),
)  # fmt: skip
reports = st.builds(
    RunReport,
    output=texts,
    base=st.builds(
        BaseModel,
        texts,
        st.sampled_from(["hub", "cache", "folder", "bundled", "gguf", None]),
        st.one_of(st.none(), texts, st.just("openai-community/gpt2")),
        st.one_of(st.none(), texts),
        st.one_of(st.none(), texts, st.sampled_from(["mit", "MIT, apache-2.0"])),
    ),
    method=st.sampled_from(["full", "lora", "dora", "qlora"]),
    parameters=st.integers(0, 10**12),
    trainable_parameters=st.integers(0, 10**12),
    data=st.builds(
        DataFacts, texts, st.integers(0, 10**9), st.integers(0, 10**9), st.integers(0, 10**9),
        st.builds(Asking, texts, st.one_of(st.none(), texts), texts, st.booleans()),
        labels=st.lists(texts, max_size=2).map(tuple), files=files_of(texts),
        validation_files=files_of(texts), fingerprint=texts,
        validation_rows=st.integers(0, 5), no_validation=st.one_of(st.none(), texts),
    ),
    plan=st.dictionaries(texts, st.one_of(texts, st.integers(), st.booleans()), max_size=3),
    before=evaluations,
    after=evaluations,
    steps=st.lists(st.builds(StepFacts, st.integers(0, 99), numbers), max_size=5).map(tuple),
    evaluations=st.lists(evaluations, max_size=2).map(tuple),
    best_step=st.one_of(st.none(), st.integers(0, 99)),
    seconds=st.floats(0, 1e9),
    tokens_per_s=numbers,
    options=st.dictionaries(texts, st.one_of(texts, st.lists(texts, max_size=2)), max_size=3),
    has_template=st.booleans(),
    command=st.one_of(st.none(), texts),
    versions=st.dictionaries(texts, texts, max_size=2),
    machine=st.one_of(st.none(), st.builds(Machine, texts, st.integers(1, 99))),
)  # fmt: skip


def make_report(losses: Any = (3.0, 2.5, 2.0), validation: Any = (), **changes: Any) -> RunReport:
    """A report of a run with these losses; `validation` is (step, loss) of each evaluation."""
    points = tuple(Evaluation(step, loss, False) for step, loss in validation)
    best = min((e for e in points if e.step), key=lambda e: e.loss or 0, default=None)
    values: dict[str, Any] = {
        "output": "gpt2-finetuned",
        "base": BaseModel("gpt2", "cache", "openai-community/gpt2", "607a30d783df", "mit"),
        "method": "full",
        "parameters": 124_439_808,
        "trainable_parameters": 124_439_808,
        "data": DataFacts('texts in "text", learned whole', 100, 5000, 4900,
                          validation_rows=5 if points else 0),
        "plan": {"steps": len(losses), "learning_rate": 5e-5},
        "steps": tuple(StepFacts(n, loss) for n, loss in enumerate(losses, 1)),
        "evaluations": points,
        "before": points[0] if points else Evaluation(0, None, False),
        "after": best or Evaluation(len(losses), None, False),
        "best_step": best.step if best else None,
        "steps_done": len(losses),
    }  # fmt: skip
    return RunReport(**values | changes)


# --- Markdown


def rendered(markdown: str) -> list[Any]:
    return MarkdownIt("commonmark").enable(["table", "strikethrough"]).parse(markdown)


def text_of(token: Any) -> str:
    assert {child.type for child in token.children} <= {"text", "text_special", "code_inline"}
    return "".join(child.content for child in token.children)


@given(texts)
def test_text_in_markdown_is_shown_and_nothing_else(text: str) -> None:
    shown = one_line(text)
    for markdown in (f"# {plain(text)}", f"x {plain(text)}", f"x {code(text)}"):
        opening, inline, _ = rendered(markdown)
        assert opening.type in ("heading_open", "paragraph_open")
        assert text_of(inline).removeprefix("x ") == shown
    cells = [t for t in rendered(f"| a | b |\n|---|---|\n| {plain(text)} | x |") if t.children]
    assert [text_of(cell) for cell in cells] == ["a", "b", shown, "x"]


@given(texts)
def test_no_text_leaves_its_fence(text: str) -> None:
    (block,) = rendered(fenced(text, "text"))
    assert block.type == "fence"
    assert block.content == visible(text) + "\n"
    visible(text).encode("utf-8")
    assert all(c in "\n\t\u200c\u200d" or ord(c) >= 0x20 for c in visible(text))


def test_what_cannot_be_seen_becomes_visible() -> None:
    assert visible("a\x00\x1b\r\n\tb\u202e\x85\ud800é日🤦🏽‍♀️") == (
        "a\u2400\u241b\n\tb\\u202e\\u0085\ufffdé日🤦🏽‍♀️"
    )


# --- the card


def headings(markdown: str) -> list[str]:
    pairs = itertools.pairwise(rendered(markdown))
    return [inline.content for opening, inline in pairs if opening.type == "heading_open"]


@given(reports)
def test_no_content_breaks_the_card(report: RunReport) -> None:
    text = card(report, has_plot=True)
    parsed = ModelCard(text)
    front, body = text.removeprefix("---\n").split("\n---\n", 1)
    values = yaml.safe_load(front)
    assert set(values) <= {"library_name", "pipeline_tag", "tags", "base_model", "license"}
    assert parsed.data.to_dict() == values
    assert values["library_name"] == ("peft" if report.is_adapter else "transformers")
    assert values["tags"][0] == "hfgen"
    assert re.fullmatch(r"[\w.-]+/[\w.-]+", values.get("base_model", "a/b"), re.ASCII)
    shown = [str(n) for n in range(1, len(report.after.samples) + 1)]
    sections = ["Use", "Data", "Results", *(["Samples", *shown] if shown else [])]
    assert headings(body)[1:] == [*sections, "Training", "Limits"]
    tokens = rendered(body)
    inner = [child.type for t in tokens for child in t.children or ()]
    assert not {"html_block", "hr", "bullet_list_open", "code_block"} & {t.type for t in tokens}
    assert "html_inline" not in inner
    assert inner.count("image") == 1
    fences = [t.content for t in tokens if t.type == "fence" and t.info == "text"]
    for sample in report.after.samples:
        assert visible(sample.prompt) + "\n" in fences
        assert visible(sample.completion) + "\n" in fences
    program = next(t.content for t in tokens if t.info == "python")
    compile(program, "card", "exec")
    text.encode("utf-8")


def test_folders_of_the_machine_stay_out_of_the_card() -> None:
    secret = "/home/alice/secret"
    report = make_report(
        output=f"{secret}/poet",
        base=BaseModel(f"{secret}/base", "folder"),
        data=DataFacts("texts", 1, 1, 1, files=(FileFacts("client/alice.jsonl", 3, "00"),)),
        options={"val_data": f"{secret}/val.jsonl", "arguments": {"logging_dir": f"{secret}/logs"}},
        command=shlex.join([
            "hfgen", "finetune", "client/alice.jsonl", "-m", f"{secret}/base",
            f"--output={secret}/poet", f"-o{secret}/x", "-O", f"logging_dir={secret}/logs",
            "--val-data", "../client/val.jsonl", "--template", "/{a}/: {b}",
        ]),
    )  # fmt: skip
    text = card(report)
    for word in ("/home", "secret", "client", "../"):
        assert word not in text
    assert (
        "hfgen finetune alice.jsonl -m base --output=poet -ox -O logging_dir=logs "
        "--val-data val.jsonl --template '/{a}/: {b}'" in text
    )
    assert "base_model" not in text
    assert secret in to_json(report)


def test_words_that_are_no_paths_stay() -> None:
    for word in ("gpt2", "org/name", "org/name@main", "--lora", "1e-5", "a=b", "{q}", "data/x.csv"):
        assert without_folders(word) == word
    assert without_folders(r"C:\Users\alice\data.csv") == "data.csv"
    assert without_folders("~/x/data.csv") == "data.csv"
    assert base_name("/a/b/") == "b"


def test_the_card_says_what_is_known_of_validation() -> None:
    better = card(make_report(validation=[(0, 4.0), (2, 3.0)]))
    assert "| before | 4 | 54.6 |\n| after | 3 | 20.09 |" in better
    assert "the best by this measure, of step 2 of 3" in better
    assert "did not lower" not in better
    assert "did not lower" in card(make_report(validation=[(0, 3.0), (2, 4.0)]))
    broken = make_report(validation=[(0, 3.0)], after=Evaluation(3, math.nan, False))
    assert "no finite number" in card(broken)
    data = DataFacts("texts", 20, 10, 5, no_validation="no validation: 20 rows are too few")
    unknown = card(make_report(data=data))
    assert "There was no validation data (no validation: 20 rows are too few)" in unknown
    assert "perplexity" not in unknown


def test_the_front_matter_names_a_licence_only_where_it_is_known() -> None:
    def licence(name: str | None) -> Any:
        base = BaseModel("gpt2", "hub", "openai-community/gpt2", None, name)
        return ModelCard(card(make_report(base=base))).data.to_dict().get("license")

    assert licence("mit") == "mit"
    assert licence("MIT, Apache-2.0") == ["mit", "apache-2.0"]
    assert licence(None) is None
    assert licence("my own: terms") is None


def test_a_prompt_that_fits_is_shown_in_the_commands() -> None:
    def use(prompt: str, **changes: Any) -> list[str]:
        after = Evaluation(3, None, False, (Sample(prompt, "x", "eos"),))
        tokens = rendered(card(make_report(after=after, **changes)))
        return shlex.split(next(t.content for t in tokens if t.info == "sh"))

    start = ["hfgen", "generate", "-m", "./gpt2-finetuned"]
    assert use("Question: who?\nAnswer:") == [*start, "Question: who?\nAnswer:"]
    assert use("-n 5") == [*start, "--", "-n 5"]
    assert use("x" * 400) == [*start, "-f", "prompt.txt"]
    assert use("a\x00b") == [*start, "-f", "prompt.txt"]
    raw = DataFacts("texts", 1, 1, 1, asking=Asking(is_raw=True))
    assert use("Hi", has_template=True, data=raw) == [*start, "--raw", "Hi"]
    chat = DataFacts("chats", 1, 1, 1, asking=Asking(is_chat=True))
    assert use("Hi", has_template=True, data=chat) == [*start, "Hi"]


def test_labels_are_not_sampled() -> None:
    labels = DataFacts("labels", 1, 1, 1, asking=Asking(is_label=True))
    for report in (
        make_report(data=labels),
        make_report(data=labels, method="lora", base=BaseModel("storyteller", "bundled")),
    ):
        blocks = {t.info: t.content for t in rendered(card(report)) if t.type == "fence"}
        assert "--greedy" in shlex.split(blocks["sh"])
        assert "do_sample=False" in blocks["python"] or "temperature=0)" in blocks["python"]
        assert "top_p" not in blocks["python"]


def test_what_was_kept_where_no_step_was_better() -> None:
    report = make_report(validation=[(2, 4.0)], before=Evaluation(0, 3.0, False), best_step=0)
    text = card(dataclasses.replace(report, after=dataclasses.replace(report.before)))
    assert "the model here is the one that training began with, since no step did better" in text
    assert "did not lower" in text


def test_large_perplexities_are_plain_numbers() -> None:
    report = make_report(validation=[(0, math.log(29_104)), (3, math.log(1.02))])
    assert title(report) == "Validation perplexity 29,100 → 1.02"
    assert "| before | 10.28 | 29,100 |" in card(report)
    written = dataclasses.replace(
        report,
        is_pretrained=True,
        before=dataclasses.replace(report.before, bits_per_byte=2.0),
        after=dataclasses.replace(report.after, bits_per_byte=1.0),
    )
    assert "| before | 2 | 10.28 | 29,100 |" in card(written)


KINDS = {
    "text": ("full", "folder", False),
    "chat": ("full", "folder", True),
    "adapter": ("lora", "folder", False),
    "dora": ("dora", "folder", True),
    "bundled": ("lora", "bundled", False),
}


@pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing:FutureWarning")  # of peft
@pytest.mark.parametrize("kind", KINDS)
def test_the_programs_of_the_card_run(
    kind: str, tmp_path: Path, tokenizer: Any, capfd: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    method, source, is_chat = KINDS[kind]
    folder = tmp_path / "my model"
    write_model(folder, tokenizer, method=method, source=source, is_chat=is_chat)
    report = make_report(
        output=str(folder), method=method, base=BaseModel("base", source), has_template=is_chat,
        data=DataFacts("texts", 1, 1, 1, asking=Asking(is_chat=is_chat)),
        after=Evaluation(1, None, False, (Sample('Who "is" it?\nIt\'s', "x", "eos"),)),
    )  # fmt: skip
    tokens = rendered(card(report))
    program = next(t.content for t in tokens if t.info == "python")
    words = shlex.split(next(t.content for t in tokens if t.info == "sh"))
    assert words[:2] == ["hfgen", "generate"]
    monkeypatch.chdir(tmp_path)
    with contextlib.redirect_stderr(io.StringIO()):
        names: dict[str, Any] = {}
        torch.manual_seed(0)
        exec(compile(program, "card", "exec"), names)
    ids = torch.arange(1, 9)[None]
    expected = hfgen.load(str(folder), dtype="float32").model(ids).logits
    # hfgen merges an adapter, peft adds it: the same but for rounding.
    difference = (names["model"](ids).logits - expected).abs().max()
    # The bundled model's file is in bfloat16, which Transformers keeps.
    assert difference < (0.05 if source == "bundled" else 1e-4) * expected.abs().max()
    assert ("adapter_config.json" in card(report)) == (method != "full")
    assert len(capfd.readouterr().out) > 5
    if kind in ("text", "bundled"):
        from hfgen.cli.program.main import run

        assert run([*words[1:2], "-n", "3", "--echo", *words[2:]]) == 0
        assert capfd.readouterr().out.startswith('Who "is" it?\nIt\'s')


def write_model(folder: Path, tokenizer: Any, *, method: str, source: str, is_chat: bool) -> None:
    """A folder as a run writes it."""
    import copy

    from hfgen.models.naming.resolve import resolve
    from hfgen.training.data.chat_template import plain_template
    from hfgen.training.model.lora import attach
    from hfgen.training.options.finetune import TrainingOptions
    from tests.conftest import build_model

    tokenizer = copy.deepcopy(tokenizer)
    if is_chat:
        tokenizer.chat_template = plain_template(tokenizer)
    model = build_model("gpt2", n_positions=512)
    if method == "full":
        model.save_pretrained(folder)
    else:
        base = folder.with_name("base")
        model.save_pretrained(base)
        tokenizer.save_pretrained(base)
        found = resolve("storyteller" if source == "bundled" else str(base))
        if source == "bundled":
            from transformers import AutoModelForCausalLM

            model = AutoModelForCausalLM.from_pretrained(found.path)
        options = TrainingOptions.from_mapping({method: True, "lora_r": 2})
        adapted = attach(model, options, found)
        for name, weight in adapted.named_parameters():
            if "lora_B" in name:
                torch.nn.init.normal_(weight, generator=torch.Generator().manual_seed(0))
            elif "magnitude" in name:
                weight.data *= 1.5  # what a wrong way of reading would set back
        adapted.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


# --- training.json


def without_what_json_lacks(value: Any) -> Any:
    """The value as JSON holds it: null for what is not finite."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {
            without_what_json_lacks(name): without_what_json_lacks(inner)
            for name, inner in value.items()
        }
    if isinstance(value, (list, tuple)):
        return type(value)(map(without_what_json_lacks, value))
    if isinstance(value, str):  # two halves of a character that lie side by side become it
        return value.encode("utf-16", "surrogatepass").decode("utf-16", "surrogatepass")
    return value


@given(reports)
def test_a_report_is_written_as_it_is(report: RunReport) -> None:
    text = to_json(report)
    text.encode("utf-8")
    values = json.loads(text, parse_constant=pytest.fail)
    assert values.pop("schema") == 1
    assert list(values) == [f.name for f in dataclasses.fields(RunReport)]
    expected = json.loads(json.dumps(without_what_json_lacks(dataclasses.asdict(report))))
    expected["notes"] = values["notes"]
    for event in (values["before"], values["after"], *values["evaluations"]):
        del event["perplexity"]
    assert values == expected


def test_numbers_that_are_none_are_null_with_a_note(tmp_path: Path) -> None:
    report = make_report([3.0, math.nan, 2.0, math.inf])
    write_report(tmp_path, report)
    again = read_report(tmp_path)
    assert [step.loss for step in again.steps] == [3.0, None, 2.0, None]
    assert again.notes == [
        "null for a number that was not finite, 2×: steps[1].loss, steps[3].loss"
    ]
    lines = (tmp_path / "training.json").read_text().splitlines()
    assert sum(line.startswith('    {"step"') for line in lines) == 4


def test_perplexity_is_written_beside_every_loss(tmp_path: Path) -> None:
    write_report(tmp_path, make_report(validation=[(0, 2.0), (3, 1.0)]))
    values = json.loads((tmp_path / "training.json").read_bytes())
    assert values["after"]["perplexity"] == math.e
    assert [e["perplexity"] for e in values["evaluations"]] == [math.exp(2.0), math.e]


# --- writing


def test_all_files_are_written_training_json_last(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    order = []
    replace = Path.replace
    monkeypatch.setattr(
        Path, "replace", lambda self, to: (order.append(Path(to).name), replace(self, to))[1]
    )
    written = write_report(tmp_path, make_report())
    assert [path.name for path in written] == ["loss.png", "README.md", "training.json"]
    assert order == ["loss.png", "README.md", "training.json"]
    assert sorted(tmp_path.iterdir()) == sorted(written)
    assert "![Loss by step](loss.png)" in (tmp_path / "README.md").read_text()


def test_without_matplotlib_there_is_no_plot_nor_an_old_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "loss.png").write_bytes(b"of another run")
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    written = write_report(tmp_path, make_report())
    assert [path.name for path in written] == ["README.md", "training.json"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["README.md", "training.json"]
    assert "loss.png" not in (tmp_path / "README.md").read_text()


@pytest.mark.parametrize("failing", range(3))
def test_a_full_disk_leaves_what_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: int
) -> None:
    names = ["loss.png", "README.md", "training.json"]
    for name in names:
        (tmp_path / name).write_text("old")
    calls, sync = [], os.fsync

    def full(descriptor: int) -> None:
        calls.append(descriptor)
        if len(calls) > failing:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OutputError, match=f"{names[failing]}: No space left") as caught:
        write_report(tmp_path, make_report())
    assert "free space" in (caught.value.hint or "")
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(names)
    for name in names[failing:]:
        assert (tmp_path / name).read_text() == "old"


def test_a_whole_file_keeps_permissions_and_links(tmp_path: Path) -> None:
    mask = os.umask(0o027)
    try:
        write_whole(tmp_path / "new", b"1")
        write_whole(tmp_path / "secret", b"1", mode=0o600)
    finally:
        os.umask(mask)
    assert stat.S_IMODE((tmp_path / "new").stat().st_mode) == 0o640
    assert stat.S_IMODE((tmp_path / "secret").stat().st_mode) == 0o600
    (tmp_path / "link").symlink_to("secret")
    write_whole(tmp_path / "link", b"2")
    assert (tmp_path / "secret").read_bytes() == b"2"
    assert (tmp_path / "link").is_symlink()
    assert stat.S_IMODE((tmp_path / "secret").stat().st_mode) == 0o600


# --- the plot


@example([1.0] * 150 + [math.nan] + [2.0, 5.0] * 75, 7)
@given(st.lists(st.one_of(st.just(math.nan), st.floats(0, 1e6)), max_size=200), st.integers(1, 99))
def test_the_curve_is_the_plain_moving_average(losses: list[float], width: int) -> None:
    found = moving_average(np.array(losses, dtype=np.float64), width)
    for place, (loss, mean) in enumerate(zip(losses, found, strict=True)):
        near = losses[max(0, place - width // 2) : place + (width + 1) // 2]
        values = [value for value in near if not math.isnan(value)]
        if math.isnan(loss):
            assert math.isnan(mean)
        else:
            assert mean == pytest.approx(sum(values) / len(values), abs=1e-6)


def test_a_step_done_again_after_a_resume_counts_once() -> None:
    from matplotlib.figure import Figure

    steps = zip([1, 2, 3, 2, 3, 4], [5.0, 4.0, 3.0, 4.5, 3.5, 2.0], strict=True)
    axes = Figure().add_subplot()
    draw_losses(axes, make_report(steps=tuple(itertools.starmap(StepFacts, steps))))
    assert axes.get_lines()[0].get_xydata().tolist() == [[1, 5], [2, 4.5], [3, 3.5], [4, 2]]


FALLING = [2 + 2 * math.exp(-n / 100) for n in range(500)]
RUNS = {
    "three": make_report([4.1, 3.5, 3.2], [(0, 4.2), (3, 3.3)]),
    "no validation": make_report(FALLING),
    "long": make_report(FALLING * 20, [(0, 4.2), (10_000, 3.3)]),
    "gap": make_report([*FALLING[:200], *[math.nan] * 50, *FALLING], [(0, 4.2), (500, 3.3)]),
    "resumed": make_report(FALLING, [(0, 4.2), (250, 3.3)], resumed_from=(100, 300)),
    "very long": make_report([2 + n % 7 for n in range(100_000)]),
    "nothing": make_report([]),
    "one": make_report([3.0]),
    "only gaps": make_report([math.nan] * 100),
    "spike": make_report([*FALLING, 1e300], [(0, 4.2), (250, math.inf)]),
}


@pytest.mark.parametrize("run", RUNS)
def test_every_run_can_be_drawn(run: str, tmp_path: Path, capfd: Any, caplog: Any) -> None:
    from matplotlib import rcParams

    before = dict(rcParams)
    assert draw(RUNS[run], tmp_path / "loss.png")
    with Image.open(tmp_path / "loss.png") as image:
        assert image.size == (1200, 750)
        colours = {colour for _, colour in image.convert("RGB").getcolors(2**20) or ()}
    has_validation = len(RUNS[run].evaluations) > 0
    assert ((217, 130, 43) in colours) == has_validation
    has_loss = any(s.loss is not None and math.isfinite(s.loss) for s in RUNS[run].steps)
    assert ((59, 110, 168) in colours) or not has_loss
    assert dict(rcParams) == before
    assert capfd.readouterr() == ("", "")
    assert not caplog.records


def limits(report: RunReport) -> tuple[float, float]:
    from matplotlib.figure import Figure

    axes = Figure().add_subplot()
    draw_losses(axes, report)
    return axes.get_ylim()


def test_a_spike_does_not_flatten_the_curve_and_a_beginning_is_shown() -> None:
    low, high = limits(make_report([*FALLING, 900.0, *FALLING]))
    assert 1.5 < low < 2
    assert 4 < high < 8
    assert limits(make_report(FALLING, [(0, 9.0), (500, 2.0)]))[1] > 9


@pytest.mark.parametrize("count", [20, 41, 99, 400])
def test_the_legend_has_the_colours_of_the_lines(count: int) -> None:
    from matplotlib.colors import to_rgba
    from matplotlib.figure import Figure

    axes = Figure().add_subplot()
    draw_losses(axes, make_report(FALLING[:count], [(0, 4.2), (count, 2.0)]))
    legend = axes.legend()
    named = {text.get_text() for text in legend.get_texts()}
    lines = [line for line in axes.get_lines() if line.get_color() == plot._TRAINING]
    assert len(lines) == (2 if count >= 100 else 1)
    assert all(line.get_label() in named for line in lines)
    handles = [h for h in legend.get_lines() if h.get_color() == plot._TRAINING]
    assert [to_rgba(h.get_color(), h.get_alpha()) for h in handles] == [
        to_rgba(line.get_color(), line.get_alpha()) for line in lines
    ]


def test_titles() -> None:
    assert title(make_report(validation=[(0, 4.0), (3, 3.0)])) == (
        "Validation perplexity 54.6 → 20.09"
    )
    assert title(make_report()) == "Training loss 3.000 → 2.000, no validation"
    assert title(make_report([math.nan])) == "No step had a loss"


@pytest.mark.slow
def test_nothing_is_said_where_matplotlib_has_no_cache_yet(tmp_path: Path) -> None:
    program = (
        "from tests.training.test_report import make_report; from pathlib import Path;"
        "from hfgen.training.report.plot import draw; import sys;"
        "print(draw(make_report(), Path(sys.argv[1])))"
    )
    for backend, answer in (("", "True\n"), ("nonsense", "False\n")):
        done = subprocess.run(
            [sys.executable, "-W", "error", "-c", program, str(tmp_path / "loss.png")],
            env=os.environ | {"MPLCONFIGDIR": str(tmp_path / "none"), "MPLBACKEND": backend},
            cwd=Path(__file__).parents[2], capture_output=True, text=True, check=True, timeout=200,
        )  # fmt: skip
        assert (done.stdout, done.stderr) == (answer, "")


# --- where and with what


def test_files_are_known_by_size_and_hash(tmp_path: Path) -> None:
    data = random.Random(0).randbytes(1_000_003)
    path = tmp_path / "data.jsonl"
    path.write_bytes(data)
    assert file_facts([path, str(path)]) == (
        FileFacts(str(path), len(data), hashlib.sha256(data).hexdigest()),
    ) * 2  # fmt: skip
    with pytest.raises(DataError, match="No such file"):
        file_facts([tmp_path / "none"])


def test_versions_and_machine() -> None:
    import torch
    import transformers

    found = versions()
    assert found["torch"] == torch.__version__
    assert found["transformers"] == transformers.__version__
    assert found["python"] == sys.version.split()[0]
    assert "peft" not in found
    assert versions("lora")["peft"] == metadata.version("peft")
    here = machine()
    assert here.cpu
    assert 1 <= here.cores <= (os.cpu_count() or 1)
    assert (here.memory_bytes or 0) > 10**8
    assert timestamp().endswith("+00:00")


def test_a_step_of_the_report_is_what_its_event_said() -> None:
    event = Step(
        step=3, steps=9, epoch=0.5, loss=2.0, learning_rate=1e-4, grad_norm=None, tokens=10,
        tokens_per_s=5.0, remaining_s=1.0, memory_bytes=7,
    )  # fmt: skip
    assert StepFacts.of(event) == StepFacts(3, 2.0, 0.5, 1e-4, None, 5.0)
