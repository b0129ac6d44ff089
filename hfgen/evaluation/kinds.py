"""The kinds of evaluation, by name and by what rows hold."""

from __future__ import annotations

from hfgen.evaluation.choice import Choice
from hfgen.evaluation.cloze import Cloze
from hfgen.evaluation.perplexity import Perplexity
from hfgen.evaluation.task import Task
from hfgen.training.reading.rows import RawRow

_TASKS: dict[str, type[Task]] = {task.name: task for task in (Perplexity, Cloze, Choice)}


def task_named(name: str) -> Task:
    """The task of a name, one of perplexity, cloze and choice."""
    return _TASKS[name]()


def task_of(row: RawRow) -> Task:
    """The task that a row is for. Raises `DataError` for a row of none."""
    if "choices" in row.values or "context_options" in row.values:
        return Choice()
    if "target" in row.values:
        return Cloze()
    if "text" in row.values:
        return Perplexity()
    raise row.error(
        f"nothing to evaluate among {', '.join(row.values) or 'no values'}",
        hint="rows have text, context and target, or query, choices and gold",
    )
