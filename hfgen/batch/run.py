"""One run: rows from the input, past those that are done, through the model, to the output."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from hfgen.batch.decoding import Decoder
from hfgen.batch.input.remarks import Remarks
from hfgen.batch.input.rows import BatchRow, fingerprint
from hfgen.batch.ordering import Order, Outcome
from hfgen.batch.output.output import Output
from hfgen.batch.output.resume_index import Done
from hfgen.batch.processes import Processes
from hfgen.batch.slots import fitting_slots
from hfgen.errors import DataError
from hfgen.generation.options.options import GenerationOptions
from hfgen.generation.prompts.encode import Reading
from hfgen.generation.records import Pending

_OTHER_INPUT = "resume with the input it was begun with, or begin again with --overwrite"


@dataclass(frozen=True)
class Plan:
    """What decides the texts of a run, the model aside."""

    options: GenerationOptions
    reading: Reading = Reading()
    is_ordered: bool = True
    is_any_model: bool = False
    """Whether rows may name another model."""
    is_retry: bool = False
    """Whether rows that failed are run again."""
    slots: int | None = None
    """None: as many as the memory allows."""

    @property
    def settings(self) -> dict[str, Any]:
        """What a resume must have in common, by name."""
        return {
            "seed": self.options.seed,
            "options": replace(self.options, seed=None).given(),
            **asdict(self.reading),
            "unordered": not self.is_ordered,
        }


@dataclass
class Progress:
    """How far a run is."""

    rows: int = 0
    """Rows finished in this run."""
    failed: int = 0
    skipped: int = 0
    """Rows that were done before."""
    tokens: int = 0
    started: float = field(default_factory=time.perf_counter)

    @property
    def elapsed_s(self) -> float:
        """Seconds since the first row could begin."""
        return time.perf_counter() - self.started


def seeded(plan: Plan, output: Output) -> Plan:
    """The plan with the seed of the output's beginning, or else one that is drawn.

    Raises `OptionConflict` where the output was begun with other settings.
    """
    given = plan.settings
    if plan.options.seed is None:
        del given["seed"]
    seed = output.seed(given)
    if plan.options.seed is not None:
        return plan
    seed = secrets.randbits(32) if seed is None else seed
    return replace(plan, options=replace(plan.options, seed=seed))


def run(
    lm: Any,
    rows: Iterable[BatchRow | DataError | Pending],
    output: Output,
    plan: Plan,
    *,
    processes: Processes | None = None,
    facts: Mapping[str, Any] | None = None,
    names: Iterable[str] = (),
    is_stopped: Callable[[], bool] = lambda: False,
    notify: Callable[[str], None] = lambda text: None,
    listen: Callable[[Progress], None] = lambda progress: None,
) -> Progress:
    """Run all rows that are not done; the plan is `seeded`.

    `names` are other names of the model; `facts` of it are kept with the settings. Whatever ends
    the run, rows that are finished are written. Raises `DataError` for input that is not that of
    the output, `UsageError` where no prompt can be read as the plan says.
    """
    lm.check_reading(plan.reading)
    processes = processes or Processes()
    facts = {
        "model": lm.name,
        "weights": lm.fingerprint(),
        "dtype": str(lm.model.dtype).removeprefix("torch."),
        **(facts or {}),
    }
    output.begin({**plan.settings, **facts})
    progress = Progress()
    order = Order(is_kept=plan.is_ordered)
    decoder = Decoder(
        lm,
        plan.options,
        plan.reading,
        slots=plan.slots or fitting_slots(lm, processes=processes.on_this_machine),
        order=order,
        models=None if plan.is_any_model else {lm.name, *names},
        notify=notify,
    )
    is_complete = False
    try:
        remarks = Remarks(notify if processes.is_first else lambda text: None)
        ours = _to_do(rows, output.done, progress, plan, processes, remarks)
        for outcome in decoder.run(ours, is_stopped):
            _write(output, outcome, progress)
            listen(progress)
        is_complete = not is_stopped()
    finally:
        try:
            for outcome in order.rest():
                _write(output, outcome, progress)
        finally:
            output.close(is_complete=is_complete)
    if not plan.is_retry:
        progress.failed += output.done.failed if processes.is_first else 0
    return progress


def _write(output: Output, outcome: Outcome, progress: Progress) -> None:
    output.write(outcome.lines)
    progress.rows += 1
    progress.tokens += outcome.tokens
    progress.failed += outcome.error is not None


def _to_do(
    rows: Iterable[BatchRow | DataError | Pending],
    done: Done,
    progress: Progress,
    plan: Plan,
    processes: Processes,
    remarks: Remarks,
) -> Iterator[BatchRow | DataError | Pending]:
    seen = 0
    for row in rows:
        if not isinstance(row, BatchRow):
            yield row
            if isinstance(row, DataError):
                return
            continue
        remarks.look_at(row)
        mark = done.mark(row.index)
        if mark:
            seen += 1
            if mark != fingerprint(row.said):
                message = f"{row.place}: the output has a record of another row {row.index}"
                yield DataError(message, hint=_OTHER_INPUT)
                return
        is_wanted = not mark or (plan.is_retry and done.has_failed(row.index))
        if is_wanted and row.index % processes.count == processes.number:
            yield row
        elif not is_wanted:
            progress.skipped += 1
    if seen < done.count:
        message = f"the output has {done.count - seen} records of rows that the input has not"
        yield DataError(message, hint=_OTHER_INPUT)
