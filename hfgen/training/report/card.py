"""`card`: the model card (README.md) of a trained model, as the Hugging Face Hub reads it.

Says in plain words what the model is, how to use it, what it was trained on and how well that
went. Everything that comes from data and names is shown, never interpreted; folders of the machine
it was made on are left out. Knows the report and Markdown, not how either came about.
"""

from __future__ import annotations

import json
import math
import re
import shlex
from typing import TYPE_CHECKING, Any

from hfgen.models.naming.names import HUB_ID
from hfgen.models.sizing.quantities import in_bytes, in_digits, in_short, in_time
from hfgen.training.report import pretrained_card
from hfgen.training.report.markdown import code, fenced, plain, table
from hfgen.training.report.usage import usage

if TYPE_CHECKING:
    from hfgen.training.events import Sample
    from hfgen.training.report.record import RunReport

_METHODS = {"full": "", "lora": "LoRA", "dora": "DoRA", "qlora": "QLoRA"}
_LICENCE_ID = re.compile(r"[a-z0-9][a-z0-9.+-]*")
_OUTSIDE = re.compile(r"([/\\~]|\.\.(?=[/\\]|$)|[A-Za-z]:[/\\])")
"""How a path begins that leads out of the current folder."""
_BEFORE_PATH = re.compile(r"-[A-Za-z](?=[/\\~])|[\w-]+=")
_TEXT_OPTIONS = ("--template", "template")
_SAMPLES_SHOWN, _SAMPLE_CHARACTERS = 5, 1000
_ENDS = {"eos": "", "stop": "", "length": " (cut off at the length limit)"}


def card(report: RunReport, *, has_plot: bool = False) -> str:
    """The card's text; `has_plot` says that `loss.png` lies beside it."""
    sections = [
        _front_matter(report),
        f"# {plain(_title(report))}",
        _introduction(report),
        f"## Use\n\n{usage(report, _title(report))}",
        f"## Data\n\n{_data(report)}",
        f"## Results\n\n{_results(report)}",
        "![Loss by step](loss.png)" * has_plot,
        _samples(report),
        f"## Training\n\n{_training(report)}",
        f"## Limits\n\n{_limits(report)}",
    ]
    return "\n\n".join(filter(None, sections)) + "\n"


def base_name(path: str) -> str:
    """The last part of a path or of a Hub id, in the manner of any system."""
    return re.split(r"[/\\]", path.rstrip("/\\"))[-1]


def without_folders(word: str, *, private: frozenset[str] = frozenset()) -> str:
    """A word of a command line without the folders of a path that leads out of the current one.

    Words in `private` are such paths too, however they are written.
    """
    found = _BEFORE_PATH.match(word)
    option, path = (found[0], word[found.end() :]) if found else ("", word)
    if path in private or _OUTSIDE.match(path):
        return option + (base_name(path) or ".")
    return word


def _front_matter(report: RunReport) -> str:
    """The Hub refuses a whole card for one wrong name: models that are not its own stay out."""
    values: dict[str, Any] = {
        "library_name": "peft" if report.is_adapter else "transformers",
        "pipeline_tag": "text-generation",
        "tags": ["hfgen", *([report.method] if report.is_adapter else [])],
    }
    if repo_id := _repo_id(report):
        values["base_model"] = repo_id
    licences = [part.strip().lower() for part in (report.base.licence or "").split(",")]
    if all(map(_LICENCE_ID.fullmatch, licences)):
        values["license"] = licences[0] if len(licences) == 1 else licences
    lines = [f"{name}: {json.dumps(value)}" for name, value in values.items()]
    return "\n".join(["---", *lines, "---"])


def _title(report: RunReport) -> str:
    name = base_name(report.output)
    return name if name.strip(". ") else f"{_base_name(report)}-finetuned"


def _repo_id(report: RunReport) -> str | None:
    repo_id = report.base.repo_id
    return repo_id if repo_id and HUB_ID.fullmatch(repo_id) else None


def _base_name(report: RunReport) -> str:
    """The base model's name: no path, and for the Hub its id."""
    return _repo_id(report) or base_name(report.base.name) or "a model"


def _base(report: RunReport) -> str:
    if (repo_id := _repo_id(report)) is None:
        own = " (the model that comes with hfgen)" * (report.base.source == "bundled")
        return f"**{plain(_base_name(report))}**{own}"
    at = f", revision {code(report.base.revision[:12])}" if report.base.revision else ""
    return f"[{plain(repo_id)}](https://huggingface.co/{repo_id}){at}"


def _introduction(report: RunReport) -> str:
    if report.is_pretrained:
        return pretrained_card.introduction(report, _base(report))
    task = "It answers a message." if report.data.asking.is_chat else "It continues a text."
    if not report.is_adapter:
        what = f"all {in_short(report.parameters)} parameters of it were trained"
    else:
        part = report.trainable_parameters / max(1, report.parameters)
        what = (
            f"this is a {_METHODS[report.method]} adapter of "
            f"{in_short(report.trainable_parameters)} parameters ({part:.2%} of the model's), "
            "which is used together with it"
        )
    rows = f"{report.data.rows:,} {'row' if report.data.rows == 1 else 'rows'}"
    return f"A language model: {_base(report)}, fine-tuned with hfgen on {rows}; {what}. {task}"


def _data(report: RunReport) -> str:
    data = report.data
    counts = [
        ("rows", data.rows), ("tokens for training", data.tokens),
        ("of these learned", data.learned_tokens),
        ("bad rows left out", data.skipped), ("long texts cut into windows", data.split),
        ("long rows cut", data.truncated), ("long rows left out", data.dropped),
        ("rows for validation", data.validation_rows),
        ("tokens for validation", data.validation_tokens),
    ]  # fmt: skip
    rows = [(name, f"{count:,}") for name, count in counts[:3]]
    rows += [(name, f"{count:,}") for name, count in counts[3:] if count]
    if report.is_pretrained:
        rows = pretrained_card.counts(report)
    for what, files in (("file", data.files), ("validation file", data.validation_files)):
        rows += [(what, f"{plain(base_name(f.name))}, {in_bytes(f.bytes)}") for f in files[:20]]
        rows += [(what, f"and {len(files) - 20:,} more")] * (len(files) > 20)
    if data.fingerprint:
        rows.append(("fingerprint of the training rows", plain(data.fingerprint)))
    return f"Read as: {plain(data.description)}.\n\n{table(('', ''), rows)}"


def _results(report: RunReport) -> str:
    before, after = report.before, report.after
    if before.loss is None and after.loss is None and not report.data.validation_rows:
        why = f" ({plain(report.data.no_validation)})" if report.data.no_validation else ""
        return (
            f"There was no validation data{why}: how well the model does on text that it has not "
            "seen is not known. The loss on the training rows says little about it."
        )
    kept = f"after {report.steps_done:,} steps"
    if report.best_step == 0:
        kept = "the one that training began with, since no step did better"
    elif report.best_step is not None:
        kept = f"the best by this measure, of step {report.best_step:,} of {report.steps_done:,}"
    if after.bits_per_byte is not None:
        text = pretrained_card.results(report, kept)
    else:
        text = _validated(report, kept)
    if after.loss is None or not math.isfinite(after.loss):
        return text + "\n\nThe loss is no finite number: the model is of no use."
    if before.loss is not None and after.loss >= before.loss:
        return text + "\n\nTraining did not lower the validation loss."
    return text


def _validated(report: RunReport, kept: str) -> str:
    before, after = report.before, report.after
    columns = ["validation", "loss, nats a token", "perplexity"]
    rows = [
        [when, _number(event.loss), _number(event.perplexity)]
        for when, event in (("before", before), ("after", after))
    ]
    if before.accuracy is not None and after.accuracy is not None:
        columns.append("whole answers right")
        for row, event in zip(rows, (before, after), strict=True):
            row.append(f"{event.accuracy:.1%}")
    return (
        f"On {report.data.validation_rows:,} rows that were not trained on; the model here is "
        f"{kept}.\n\n" + table(columns, rows)
    )


def _samples(report: RunReport) -> str:
    """What the model made of the same prompts before and after."""
    if not report.after.samples:
        return ""
    earlier = {sample.prompt: sample for sample in report.before.samples}
    parts = ["## Samples"]
    for number, sample in enumerate(report.after.samples[:_SAMPLES_SHOWN], 1):
        parts += [f"### {number}", "Prompt:", fenced(_clipped(sample.prompt), "text")]
        if before := earlier.get(sample.prompt):
            parts += _completion("Before", before)
        parts += _completion("After", sample)
    return "\n\n".join(parts)


def _completion(when: str, sample: Sample) -> list[str]:
    how = _ENDS.get(sample.finish_reason, f" ({plain(sample.finish_reason)})")
    return [f"{when} training{how}:", fenced(_clipped(sample.completion), "text")]


def _clipped(text: str) -> str:
    return text if len(text) <= _SAMPLE_CHARACTERS else text[:_SAMPLE_CHARACTERS] + " …"


def _training(report: RunReport) -> str:
    parts = [table(("setting", "value"), _settings(report))]
    if command := _command(report):
        parts += ["To repeat it (paths are without their folders):", fenced(command, "sh")]
    if report.versions:
        named = ", ".join(f"{plain(name)} {plain(v)}" for name, v in report.versions.items())
        parts.append(f"Made with {named}.")
    return "\n\n".join(parts)


def _settings(report: RunReport) -> list[tuple[str, str]]:
    settings = {
        "method": _METHODS[report.method] or "all parameters",
        "optimizer steps": f"{report.steps_done:,}",
        **{f"{name}": value for name, value in report.plan.items() if name != "method"},
        **_flat(report.options),
        "seed": report.seed,
        "resumed from step": ", ".join(map(str, report.resumed_from)),
        "trained tokens": f"{report.tokens:,}",
        "time": in_time(report.seconds),
        "tokens per second": report.tokens_per_s and f"{report.tokens_per_s:,.0f}",
        "highest memory": report.peak_bytes and in_bytes(report.peak_bytes),
        "processes": report.processes,
        "machine": report.machine and ", ".join((*report.machine.gpus, report.machine.cpu)),
        "finished": report.finished,
    }
    return [
        (plain(name), plain(_shown(name, value)))
        for name, value in settings.items()
        if value not in (None, "", ())
    ]


def _flat(options: dict[str, Any]) -> dict[str, Any]:
    arguments = options.get("arguments")
    rest = {name: value for name, value in options.items() if name != "arguments"}
    return rest | (arguments if isinstance(arguments, dict) else {})


def _shown(name: str, value: Any) -> str:
    if isinstance(value, (list, tuple)):
        return ", ".join(_shown(name, item) for item in value)
    if isinstance(value, float):
        return _number(value)
    text = str(value)
    return text if name in _TEXT_OPTIONS else without_folders(text)


def _command(report: RunReport) -> str | None:
    try:
        words = shlex.split(report.command or "")
    except ValueError:
        return None
    files = (*report.data.files, *report.data.validation_files)
    private = frozenset({report.output, *(file.name for file in files)})
    if report.base.repo_id is None:
        private |= {report.base.name}
    shown = [
        word
        if before in _TEXT_OPTIONS or word.startswith("--template=")
        else without_folders(word, private=private)
        for before, word in zip(["", *words], words, strict=False)
    ]
    return shlex.join(shown) or None


def _limits(report: RunReport) -> str:
    if report.is_pretrained:
        return pretrained_card.limits(report)
    licence = report.base.licence
    terms = f" ({plain(licence)})" if licence else ", which hfgen could not find out"
    return (
        f"The licence of the base model{terms} applies to this model too, and so may that of the "
        "data. It keeps the base model's biases and mistakes, and may add those of the data, or "
        "repeat rows of it word for word. What it writes is not checked by anyone: it may be "
        "false."
    )


def _number(value: float | None) -> str:
    if value is None or not math.isfinite(value):
        return "–" if value is None else "not a number"
    return f"{value:,.4g}" if abs(value) < 10_000 else in_digits(value)
