"""A thread that owns a model: it prepares prompts, drives a scheduler, hands out what comes of it.

Neither a model nor a tokenizer may be used by several threads, so everything that touches them
runs here: jobs (texts to generate) in the scheduler's batches, and calls (a function of the model)
one at a time between two steps.

Who is next
    Texts enter in turn, one of each job, so that a request for a thousand texts does not keep
    another one waiting for its single text.

Failures
    A prompt that cannot be prepared, or a text that fails, ends its job and no other. A step that
    raises ends all jobs with texts under way, since how far each came is unknown; those that wait
    go on with another scheduler. Nothing that goes wrong ends the thread.
"""

from __future__ import annotations

import contextlib
import itertools
import queue
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

from hfgen.generation.records import Piece
from hfgen.generation.scheduler import Failed, Scheduler
from hfgen.serving.events import Accepted, Ended, Job, Watch

if TYPE_CHECKING:
    from hfgen.generation.results import TextInProgress
    from hfgen.language_model import LanguageModel

T = TypeVar("T")

# How long prompts are prepared before running texts get their next step.
_PREPARE_S = 0.02


@dataclass(eq=False)
class _Run:
    """A job on this side of the inbox."""

    job: Job
    first_index: int
    began: float = field(default_factory=time.monotonic)
    prepared: int = 0
    """How many of its prompts are prepared."""
    texts: deque[TextInProgress] = field(default_factory=deque)
    """Prepared, and not yet with the scheduler."""
    prompt_ids: list[tuple[int, ...]] = field(default_factory=list)
    open: int = 0
    """How many records are still to come."""
    has_entered: bool = False
    has_spoken: bool = False

    @property
    def is_prepared(self) -> bool:
        return self.prepared == len(self.job.prompts)


class Worker:
    """Runs jobs on a model; see the module's docstring.

    `submit`, `cancel`, `call` and `close` may be called from any thread.
    """

    def __init__(
        self,
        lm: LanguageModel,
        *,
        slots: int,
        watch: Watch | None = None,
        notify: Callable[[str], None] = lambda text: None,
    ) -> None:
        self.lm = lm
        self.slots = slots
        """Most texts at once; fewer after a lack of memory."""
        self._watch = watch
        self._notify = notify
        self._inbox: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._calls: deque[tuple[Future[Any], Callable[[LanguageModel], Any]]] = deque()
        self._runs: dict[Job, _Run] = {}
        self._by_index: dict[int, _Run] = {}
        self._arriving: deque[_Run] = deque()
        self._ready: deque[_Run] = deque()
        self._next_index = itertools.count()
        self._is_closing = False
        self._scheduler = self._new_scheduler(slots)
        self._thread = threading.Thread(target=self._work, name=f"model {lm.name}", daemon=True)
        self._thread.start()

    @property
    def running(self) -> int:
        """How many texts have a slot."""
        return self._scheduler.running

    @property
    def waiting(self) -> int:
        """How many jobs have no text with a slot yet."""
        return sum(not run.has_entered for run in [*self._runs.values()])

    def submit(self, job: Job) -> None:
        """Take a job; its events follow, `Ended` last unless it is cancelled."""
        self._inbox.put(lambda: self._take(job))

    def cancel(self, job: Job) -> None:
        """Drop a job, whatever it has come to; its slots are free with the next step."""
        self._inbox.put(lambda: self._drop(job))

    def call(self, function: Callable[[LanguageModel], T]) -> Future[T]:
        """Run a function on the worker's thread, between two steps."""
        future: Future[T] = Future()
        self._inbox.put(lambda: self._calls.append((future, function)))
        return future

    def close(self, timeout_s: float | None = None) -> None:
        """End the thread once everything that was submitted is done, or wait so long for that."""

        def close() -> None:
            self._is_closing = True

        self._inbox.put(close)
        self._thread.join(timeout_s)

    # The thread ------------------------------------------------------------------------------

    def _work(self) -> None:
        while True:
            try:
                if self._is_done_after_a_turn():
                    return
            except Exception as error:  # noqa: BLE001 (told to those whose texts were under way)
                self._start_again(error)

    def _is_done_after_a_turn(self) -> bool:
        """Do a little of everything that there is to do."""
        self._read_inbox()
        if self._calls:
            self._answer(*self._calls.popleft())
        self._prepare()
        self._feed()
        if self._scheduler.has_work:
            self._step()
            return False
        return self._is_closing and not self._has_more

    @property
    def _has_more(self) -> bool:
        return bool(self._calls or self._arriving or self._ready)

    def _read_inbox(self) -> None:
        if not self._has_more and not self._scheduler.has_work and not self._is_closing:
            self._inbox.get()()
        with contextlib.suppress(queue.Empty):
            while True:
                self._inbox.get_nowait()()

    def _take(self, job: Job) -> None:
        first = next(self._next_index)
        for _ in job.prompts[1:]:
            next(self._next_index)
        run = self._runs[job] = _Run(job, first)
        self._arriving.append(run)

    def _drop(self, job: Job) -> None:
        if (run := self._runs.pop(job, None)) is None:
            return
        with contextlib.suppress(ValueError):
            self._arriving.remove(run)
        with contextlib.suppress(ValueError):
            self._ready.remove(run)
        for index in range(run.first_index, run.first_index + run.prepared):
            if self._by_index.pop(index, None) is not None:
                self._scheduler.cancel(index)

    def _end(self, run: _Run, error: Exception | None = None) -> None:
        self._drop(run.job)
        run.job.deliver([Ended(error)])

    def _answer(self, future: Future[Any], function: Callable[[LanguageModel], Any]) -> None:
        if not future.set_running_or_notify_cancel():
            return
        try:
            future.set_result(function(self.lm))
        except Exception as error:  # noqa: BLE001 (it is the caller's)
            future.set_exception(error)

    def _prepare(self) -> None:
        """Prepare prompts of those that came last, for a short while."""
        until = time.monotonic() + _PREPARE_S
        while self._arriving and time.monotonic() < until:
            run = self._arriving[0]
            try:
                self._prepare_next(run)
            except Exception as error:  # noqa: BLE001 (the job's own)
                self._end(run, error)
                continue
            if run.is_prepared:
                self._arriving.popleft()
                self._ready.append(run)
                run.job.deliver([Accepted(tuple(run.prompt_ids))])

    def _prepare_next(self, run: _Run) -> None:
        index = run.first_index + run.prepared
        prompt = run.job.prompts[run.prepared]
        texts = self.lm.prepare(prompt, index, run.job.options, run.job.reading)
        run.prepared += 1
        run.texts += texts
        run.open += sum(text.count for text in texts)
        run.prompt_ids.append(texts[0].request.prompt_ids)

    def _feed(self) -> None:
        """Give the scheduler as many texts as will enter, one of each job in turn."""
        for _ in range(self._scheduler.free_slots):
            if not self._ready:
                return
            run = self._ready.popleft()
            text = run.texts.popleft()
            self._by_index[text.request.key[0]] = run
            self._scheduler.submit([text])
            if run.texts:
                self._ready.append(run)
            if not run.has_entered:
                run.has_entered = True
                if self._watch is not None:
                    tokens = sum(map(len, run.prompt_ids))
                    self._watch.entered(time.monotonic() - run.began, tokens)

    def _step(self) -> None:
        pieces: dict[_Run, list[Piece]] = {}
        failed: dict[_Run, Exception] = {}
        for one in self._scheduler.step():
            if (run := self._by_index.get(one.index)) is None:
                continue
            if isinstance(one, Failed):
                failed.setdefault(run, one.error)
            else:
                pieces.setdefault(run, []).append(one)
        for run, its in pieces.items():
            self._hand_out(run, its)
        for run, failure in failed.items():
            self._end(run, failure)

    def _hand_out(self, run: _Run, pieces: list[Piece]) -> None:
        own = [_moved(piece, piece.index - run.first_index) for piece in pieces]
        if not run.has_spoken and self._watch is not None:
            self._watch.first_token(time.monotonic() - run.began)
        run.has_spoken = True
        for piece in own:
            if piece.record is not None:
                run.open -= 1
                if self._watch is not None:
                    self._watch.text_ended(piece.record.completion_tokens)
        run.job.deliver(own)
        if run.open == 0:
            self._end(run)

    def _start_again(self, error: Exception) -> None:
        """End all jobs with texts under way, and make another scheduler for the others."""
        runs = set(self._by_index.values())
        self._by_index.clear()
        self._scheduler = self._new_scheduler(self.slots)
        for run in runs:
            self._end(run, error)

    def _new_scheduler(self, slots: int) -> Scheduler:
        return self.lm.scheduler(slots, kept=slots, on_fewer_slots=self._have_fewer_slots)

    def _have_fewer_slots(self, slots: int) -> None:
        self.slots = slots
        self._notify(f"memory is short: {slots} texts at once from now on")


def _moved(piece: Piece, index: int) -> Piece:
    return Piece(index, piece.sample, piece.text, piece.logprobs, piece.record, piece.thinking)
