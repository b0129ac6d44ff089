"""What `hfgen finetune` writes to standard output: a result or an estimate, as text or JSON.

Text is for people: a fact a line, `name: value`. In a pipe, where colours are not seen, the
learned part of an example stands in ⟦brackets⟧.
"""

from __future__ import annotations

import dataclasses
import json
import math
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hfgen.cli.io.colours import Style
from hfgen.cli.io.training_display import figure
from hfgen.models.sizing.quantities import in_bytes, in_short, in_time
from hfgen.training.layout import CHECKPOINTS
from hfgen.training.options.finetune import TrainingOptions
from hfgen.training.planning.plan import patience_of

if TYPE_CHECKING:
    from hfgen.training.options.common import RunOptions
    from hfgen.training.planning.plan import Plan
    from hfgen.training.runs.outcome import DryRun, Rehearsal, Trained

Piece = tuple[str, Style]

_NAME_WIDTH = 13
_METHODS = {"lora": "LoRA", "dora": "DoRA", "qlora": "QLoRA"}
_BATCHES = {
    "dense": "side by side where they fit",
    "padded": "padded to the longest",
    "packed": "each filled with several examples",
    "windows": "cut from the text",
}
_OPEN, _CLOSE = "⟦", "⟧"
# A long run is shown with its two ends: where it comes from, and how it ends.
_HEAD_LINES, _TAIL_LINES = 8, 4
_HEAD_CHARACTERS, _TAIL_CHARACTERS = 480, 160


def result_text(done: Trained) -> str:
    """Where the model is, how good it is, and how it is used."""
    folder = shown_folder(done.folder)
    facts = [("adapter" if done.method != "full" else "model", folder)]
    facts += _quality(done)
    facts.append(("trained", f"{_count(done.steps, 'step')} in {in_time(max(1, done.seconds))}"))
    if done.has_improved is not None:
        facts.append(("kept", _kept(done)))
    checkpoints = done.folder / CHECKPOINTS
    facts.append(("clean up", f"rm -r {shlex.quote(shown_folder(checkpoints))}"))
    if (prompts := done.asking.description) is not None:
        facts.append(("prompts", prompts))
    if done.has_improved is False:
        # What would be used is no better than what there was: say what may be.
        facts.append(("next", "try a lower --learning-rate, or more data (--overwrite)"))
    facts.append(("use it", done.asking.command(folder)))
    return "".join(map(fact_line, facts))


def _kept(done: Trained) -> str:
    """Which step the model is of."""
    if not done.after.step:
        return "the model as it was before training: no step was better"
    worse = "" if done.has_improved else ", which is no better than before training"
    if done.after.step == done.steps:
        return f"the last step{worse or ', the best by validation'}"
    return f"step {done.after.step:,}, the best by validation{worse}"


def _quality(done: Trained) -> Iterator[tuple[str, str]]:
    before, after = done.before.perplexity, done.after.perplexity
    bits = done.before.bits_per_byte, done.after.bits_per_byte
    if bits[0] is not None and bits[1] is not None:
        tokens = _count(done.plan.val_tokens, "validation token")
        yield "bits/byte", f"{bits[0]:.3f} → {bits[1]:.3f} ({tokens})"
    elif before is not None and after is not None:
        rows = _count(done.plan.val_rows, "validation row")
        yield "perplexity", f"{figure(before)} → {figure(after)} ({rows})"
    right = done.before.accuracy, done.after.accuracy
    if right[0] is not None and right[1] is not None:
        yield "accuracy", f"{right[0]:.1%} → {right[1]:.1%} (whole answers, decoded greedily)"


def result_json(done: Trained) -> str:
    """The whole result as one document."""
    return _document(
        _plain(done)
        | {"before": _plain(done.before, done.before), "after": _plain(done.after, done.after)}
    )


def dry_run_json(dry: DryRun | Rehearsal) -> str:
    """The whole estimate as one document."""
    values = _plain(dry)
    if "examples" not in values:
        return _document(values)
    values["examples"] = [
        [{"text": text, "is_learned": is_learned} for text, is_learned in example]
        for example in values["examples"]
    ]
    return _document(values)


def dry_run_pieces(dry: DryRun, options: TrainingOptions, *, has_colours: bool) -> Iterator[Piece]:
    """The estimate for people: what there is, what will be done, what it takes, examples."""
    yield f"{dry.summary.description}\n\n", Style.PLAIN
    planned = [*_model(dry), *plan_facts(dry.plan, options)]
    for facts in (_data(dry), planned, cost_facts(dry)):
        yield "".join(map(fact_line, facts)) + "\n", Style.PLAIN
    legend = f"{_OPEN}what is learned{_CLOSE}"
    yield "examples, and ", Style.PLAIN
    yield ("what is learned", Style.LEARNED) if has_colours else (legend, Style.PLAIN)
    yield " of them:\n", Style.PLAIN
    for number, example in enumerate(dry.examples, 1):
        yield f"\n{f'── {number} ':─<24}\n", Style.PLAIN
        for text, is_learned in example:
            shown = shortened_text(text)
            if is_learned and not has_colours:
                shown = f"{_OPEN}{shown}{_CLOSE}"
            yield shown, Style.LEARNED if is_learned else Style.PLAIN
        yield "\n", Style.PLAIN


def shown_folder(path: Path) -> str:
    """The folder as it can be typed: `./name` is no Hub id and no alias."""
    text = str(path)
    return text if path.is_absolute() or text.startswith((".", "~")) else f"./{text}"


def _data(dry: DryRun) -> Iterator[tuple[str, str]]:
    summary = dry.summary
    rows = f"{summary.rows:,}"
    rows += f", skipped {summary.skipped:,}" * bool(summary.skipped)
    yield "rows", rows
    yield "tokens", f"{summary.tokens:,}, learned {summary.learned_tokens:,}"
    at_most = summary.percentiles
    yield (
        "lengths",
        f"median {at_most[50]:,}, 90% up to {at_most[90]:,}, 99% up to {at_most[99]:,}, "
        f"longest {summary.longest:,}",
    )
    longer = {
        f"{summary.split:,} split into {summary.windows:,}": summary.split,
        f"{summary.truncated:,} truncated": summary.truncated,
        f"{summary.dropped:,} dropped": summary.dropped,
    }
    if told := [words for words, count in longer.items() if count]:
        yield "long rows", f"{', '.join(told)} (longer than {dry.plan.max_length:,} tokens)"
    plan = dry.plan
    has_validation = plan.val_rows > 0
    tokens = f", {plan.val_tokens:,} tokens"
    yield "validation", (_count(plan.val_rows, "row") + tokens) if has_validation else "none"


def _model(dry: DryRun) -> Iterator[tuple[str, str]]:
    plan = dry.plan
    yield "model", f"{dry.model}, {in_short(dry.parameters)} parameters"
    share = 100 * dry.trainable_parameters / max(1, dry.parameters)
    if plan.method == "full":
        yield "trained", "all of them"
    else:
        name, count = _METHODS[plan.method], in_short(dry.trainable_parameters)
        yield "trained", f"{name}, {count} parameters ({share:.2g}%)"


def plan_facts(plan: Plan, options: RunOptions) -> Iterator[tuple[str, str]]:
    """What will be done."""
    passes = f"{plan.epochs:,.4g} epochs" if plan.epochs != 1 else "1 epoch"
    yield "steps", f"{plan.steps:,} ({passes} of {plan.steps_per_epoch:,})"
    factors = f"{plan.batch_size} rows"
    if plan.gradient_accumulation_steps > 1:
        factors += f" × {plan.gradient_accumulation_steps} batches"
    if plan.processes > 1:
        factors += f" × {plan.processes} processes"
    whole = f" = {plan.effective_batch} a step" if "×" in factors else " a step"
    yield "batches", f"{factors}{whole}, {_BATCHES[plan.batches]}"
    warmup = f" after {_count(plan.warmup_steps, 'step')} of warmup" * bool(plan.warmup_steps)
    yield "rate", f"{plan.learning_rate:g}{warmup}, {options.value('lr_scheduler')}"
    yield "precision", plan.precision
    each = f"every {_count(plan.eval_steps, 'step')}"
    is_same = plan.save_steps == plan.eval_steps
    saved = "with a checkpoint" if is_same else f"a checkpoint every {plan.save_steps:,}"
    yield "evaluation", f"{each}, {saved}"
    if (waits := patience_of(options, plan)) is not None:
        yield "early stop", f"after {_count(waits, 'evaluation')} no better than the best"


def cost_facts(dry: DryRun | Rehearsal) -> Iterator[tuple[str, str]]:
    """What it takes."""
    cost = dry.cost
    yield "memory", f"about {in_bytes(cost.memory_bytes)}"
    yield "disk", f"about {in_bytes(cost.disk_bytes)} in {shown_folder(dry.output)}"
    yield "time", "unknown" if cost.seconds is None else f"about {in_time(max(1, cost.seconds))}"


def fact_line(fact: tuple[str, str]) -> str:
    """A fact as a line."""
    name, value = fact
    return f"{name + ':':<{_NAME_WIDTH}}{value}\n"


def _count(number: int, word: str) -> str:
    return f"{number:,} {word}{'s' * (number != 1)}"


def shortened_text(text: str) -> str:
    """A text's beginning and end, with a mark where something was left out."""
    lines = text.split("\n")
    if len(lines) > _HEAD_LINES + _TAIL_LINES + 1:
        text = "\n".join([*lines[:_HEAD_LINES], " […] ", *lines[-_TAIL_LINES:]])
    if len(text) > _HEAD_CHARACTERS + _TAIL_CHARACTERS + 5:
        text = f"{text[:_HEAD_CHARACTERS]} […] {text[-_TAIL_CHARACTERS:]}"
    return text


def _plain(value: Any, event: Any = None) -> dict[str, Any]:
    """A dataclass as plain data; an evaluation with its perplexity."""
    values = dataclasses.asdict(value)
    return values if event is None else values | {"perplexity": event.perplexity}


def _document(values: dict[str, Any]) -> str:
    return json.dumps(_finite(values), ensure_ascii=False, indent=2, default=str) + "\n"


def _finite(value: Any) -> Any:
    """The value with None where a number is none: JSON has no NaN."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    return [_finite(item) for item in value] if isinstance(value, list | tuple) else value
