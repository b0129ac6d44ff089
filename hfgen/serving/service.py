"""What the endpoints share: the models, the bounded queue, and the one way a job is run."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import AsyncIterator, Callable, Mapping
from typing import TYPE_CHECKING, TypeVar

from hfgen.generation.records import Piece
from hfgen.serving.events import Accepted, Ended
from hfgen.serving.job import PendingJob
from hfgen.serving.openai.errors import ApiError
from hfgen.serving.settings import ServerSettings
from hfgen.serving.token_bytes import TokenBytes
from hfgen.serving.worker import Worker

if TYPE_CHECKING:
    from hfgen.language_model import LanguageModel

T = TypeVar("T")

PING_S = 15.0
"""How long a stream is silent before it shows that it is alive."""


class Ticket:
    """A request's place among those that a worker has taken on."""

    def __init__(self, worker: Worker, forget: Callable[[Ticket], None]) -> None:
        self.worker = worker
        self.began = time.monotonic()
        self._forget = forget
        self._job: PendingJob | None = None

    def submit(self, job: PendingJob) -> None:
        """Have a job run until the release."""
        self._job = job
        self.worker.submit(job)

    def release(self) -> None:
        """Give the place back; the job's slots are free with the worker's next step."""
        self._forget(self)
        if self._job is not None:
            self.worker.cancel(self._job)


class Service:
    """The models that are served, by the names that requests know them by."""

    def __init__(
        self,
        workers: Mapping[str, Worker],
        settings: ServerSettings,
        report: Callable[[Exception], None] = lambda error: None,
    ) -> None:
        """`report` hears of exceptions that are no fault of a request."""
        self.workers = workers
        self.settings = settings
        self.report = report
        self.created = int(time.time())
        self.tickets: dict[Worker, set[Ticket]] = {worker: set() for worker in workers.values()}
        """Requests that are not answered yet, by worker."""
        self._token_bytes: dict[Worker, TokenBytes] = {}
        self._seconds = 1.0
        """About how long a job takes."""

    def worker(self, model: str | None) -> tuple[str, Worker]:
        """The name and worker of a model; the first one where a request names none."""
        name = next(iter(self.workers)) if model is None else model
        if name not in self.workers:
            known = ", ".join(self.workers)
            raise ApiError(
                404, f"there is no model {name[:80]!r} here (there is: {known})",
                param="model", code="model_not_found",
            )  # fmt: skip
        return name, self.workers[name]

    def admit(self, worker: Worker) -> Ticket:
        """Let a request in; its ticket is to be released at its end, whatever that is.

        Raises `ApiError` with status 429 when the queue is full.
        """
        tickets = self.tickets[worker]
        if len(tickets) >= worker.slots + self.settings.queue:
            wait_s = max(1, math.ceil(self._seconds * len(tickets) / max(1, worker.slots)))
            headers = {"retry-after": str(min(60, wait_s))}
            raise ApiError(429, "the queue is full, try again later", code="queue_full",
                           headers=headers)  # fmt: skip
        ticket = Ticket(worker, self._forget)
        tickets.add(ticket)
        return ticket

    def _forget(self, ticket: Ticket) -> None:
        self.tickets[ticket.worker].discard(ticket)
        self._seconds = 0.8 * self._seconds + 0.2 * (time.monotonic() - ticket.began)

    async def call(self, worker: Worker, function: Callable[[LanguageModel], T]) -> T:
        """Run a function of the model between two steps."""
        return await asyncio.wrap_future(worker.call(function))

    async def token_bytes(self, worker: Worker) -> TokenBytes:
        """What the tokens of a model are as bytes."""
        if worker not in self._token_bytes:
            make = self.call(worker, lambda lm: TokenBytes(lm.tokenizer))
            self._token_bytes[worker] = await make
        return self._token_bytes[worker]

    def deadline(self) -> float:
        """Until when a request that begins now has to be answered, by `time.monotonic`."""
        return time.monotonic() + self.settings.timeout_s


async def begin(job: PendingJob, deadline: float) -> Accepted:
    """Wait until a job is accepted; raises what ended it before that."""
    first = await job.next(deadline - time.monotonic())
    if first is None:
        raise too_late()
    if isinstance(first, Ended) and first.error is not None:
        raise first.error
    assert isinstance(first, Accepted)
    return first


async def follow(job: PendingJob, deadline: float) -> AsyncIterator[Piece | None]:
    """The pieces of an accepted job up to its end; None whenever nothing came for a while.

    Raises what ended the job, if it was not done.
    """
    while True:
        left = deadline - time.monotonic()
        event = await job.next(min(PING_S, left))
        if event is None and left <= PING_S:
            raise too_late()
        if isinstance(event, Ended):
            if event.error is not None:
                raise event.error
            return
        assert event is None or isinstance(event, Piece)
        yield event


def too_late() -> ApiError:
    """The error for a request that took too long."""
    # The client would try again, and take as long.
    headers = {"x-should-retry": "false"}
    return ApiError(504, "the request took too long", code="timeout", headers=headers)
