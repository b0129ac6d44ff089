"""`card`: the model card (README.md) of a trained model, as the Hugging Face Hub reads it.

Says in plain words what the model is, how to use it, what it was trained on and how well that
went. Everything that comes from data and names is shown, never interpreted; folders of the machine
it was made on are left out. Knows the report and Markdown, not how either came about.
"""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Any

from hfgen.models.naming.names import HUB_ID
from hfgen.models.sizing.quantities import in_bytes, in_digits, in_short, in_time
from hfgen.training.report.folders import TEXT_OPTIONS, base_name, command, without_folders
from hfgen.training.report.markdown import code, fenced, plain, table
from hfgen.training.report.usage import usage

if TYPE_CHECKING:
    from hfgen.training.events import Sample
    from hfgen.training.report.record import RunReport

_METHODS = {"full": "", "lora": "LoRA", "dora": "DoRA", "qlora": "QLoRA"}
_LICENCE_ID = re.compile(r"[a-z0-9][a-z0-9.+-]*")
_SAMPLES_SHOWN, _SAMPLE_CHARACTERS = 5, 1000
_MEASURES = {
    "bits_per_byte": "bits per byte", "loss": "loss, nats a token", "perplexity": "perplexity",
    "accuracy": "whole answers right",
}  # fmt: skip
"""Attributes of an `Evaluation`, and their columns."""
_BITS_PER_BYTE = (
    "\n\nBits per byte can be compared with models of other tokenizers: the loss of all tokens, "
    "ends of documents included, by the bytes of the text."
)
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


def _front_matter(report: RunReport) -> str:
    """The Hub refuses a whole card for one wrong name: models that are not its own stay out."""
    from huggingface_hub import ModelCardData

    licences = [part.strip().lower() for part in (report.base.licence or "").split(",")]
    known: Any = licences if all(map(_LICENCE_ID.fullmatch, licences)) else None
    data = ModelCardData(
        library_name="peft" if report.is_adapter else "transformers",
        pipeline_tag="text-generation",
        tags=["hfgen", *([report.method] if report.is_adapter else [])],
        base_model=_repo_id(report),
        license=known[0] if known and len(known) == 1 else known,
    )
    return f"---\n{data.to_yaml()}\n---"


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
    data, size = report.data, f"{in_short(report.parameters)} parameters"
    rows = f"{data.rows:,} {'row' if data.rows == 1 else 'rows'}"
    task = "It answers a message." if data.asking.is_chat else "It continues a text."
    if report.is_pretrained:
        text = f"{in_bytes(data.bytes)} of text ({data.tokens:,} tokens)"
        what = f": {_base(report)}, all {size} trained further with hfgen on {text}"
        if report.is_new:
            what = f" of {size}, trained from the beginning with hfgen on {text}"
    elif report.is_adapter:
        part = report.trainable_parameters / max(1, report.parameters)
        what = (
            f": {_base(report)}, fine-tuned with hfgen on {rows}; this is a "
            f"{_METHODS[report.method]} adapter of {in_short(report.trainable_parameters)} "
            f"parameters ({part:.2%} of the model's), which is used together with it"
        )
    else:
        what = f": {_base(report)}, all {size} fine-tuned with hfgen on {rows}"
    return f"A language model{what}. {task}"


def _data(report: RunReport) -> str:
    data = report.data
    noun = "documents" if report.is_pretrained else "rows"
    counts: dict[str, str | int] = {noun: data.rows, "tokens for training": data.tokens}
    if report.is_pretrained:
        counts["text"] = in_bytes(data.bytes)
        learned = report.tokens / max(1, report.parameters)
        counts["tokens learned for each parameter"] = f"{learned:,.2g}"
    else:
        counts["of these learned"] = data.learned_tokens
    others = {
        f"bad {noun} left out": data.skipped, "long texts cut into windows": data.split,
        "long rows cut": data.truncated, "long rows left out": data.dropped,
        f"{noun} for validation": data.validation_rows,
        "tokens for validation": data.validation_tokens,
    }  # fmt: skip
    counts |= {name: count for name, count in others.items() if count}
    rows = [(n, count if isinstance(count, str) else f"{count:,}") for n, count in counts.items()]
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
    text = _validated(report, kept)
    if after.loss is None or not math.isfinite(after.loss):
        return text + "\n\nThe loss is no finite number: the model is of no use."
    if before.loss is not None and after.loss >= before.loss:
        return text + "\n\nTraining did not lower the validation loss."
    return text


def _validated(report: RunReport, kept: str) -> str:
    events = {"before": report.before, "after": report.after}
    told = [m for m in _MEASURES if any(getattr(e, m) is not None for e in events.values())]
    rows = [[when, *(_measured(m, getattr(e, m)) for m in told)] for when, e in events.items()]
    held, note = f"{report.data.validation_rows:,} rows", ""
    if "bits_per_byte" in told:
        held, note = f"{in_bytes(report.data.validation_bytes)} of text", _BITS_PER_BYTE
    columns = ("validation", *(_MEASURES[name] for name in told))
    return (
        f"On {held} that the model was not trained on; the model here is {kept}.\n\n"
        f"{table(columns, rows)}{note}"
    )


def _measured(name: str, value: float | None) -> str:
    return f"{value:.1%}" if name == "accuracy" and value is not None else _number(value)


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
    if words := command(report):
        parts += ["To repeat it (paths are without their folders):", fenced(words, "sh")]
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
    return text if name in TEXT_OPTIONS else without_folders(text)


def _limits(report: RunReport) -> str:
    licence = report.base.licence
    named = f" ({plain(licence)})" if licence else ", which hfgen could not find out"
    terms = f"of the base model{named} applies to this model too, and so may that of the data"
    origin = "the base model and of the data"
    if report.is_new:
        terms, origin = "of the data may apply to this model", "the data"
    return (
        f"The licence {terms}. It has the biases and mistakes of {origin}, and may repeat pieces "
        "of the data word for word. What it writes is not checked by anyone: it may be false."
    )


def _number(value: float | None) -> str:
    if value is None or not math.isfinite(value):
        return "–" if value is None else "not a number"
    return f"{value:,.4g}" if abs(value) < 10_000 else in_digits(value)
