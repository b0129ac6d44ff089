"""How an endpoint answers: a job is run for the client, whole or as a stream of events."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any, Protocol

from starlette.requests import Request
from starlette.responses import Response

from hfgen.generation.records import Piece
from hfgen.serving.events import Accepted
from hfgen.serving.http import (
    PING,
    ClientGone,
    EventStream,
    answer,
    error_answer,
    event,
    unless_gone,
)
from hfgen.serving.job import PendingJob
from hfgen.serving.openai.errors import ApiError, from_exception
from hfgen.serving.service import Service, begin, follow, too_late
from hfgen.serving.worker import Worker

_CLIENT_GONE = 499


class Answers(Protocol):
    """Makes the documents of one answer; a stream is `start`, `add` for each piece, and `end`."""

    has_named_events: bool
    """Whether the events of a stream are called by their `type`, and the last one ends it."""

    def start(self, accepted: Accepted) -> Iterator[dict[str, Any]]: ...

    def add(self, piece: Piece) -> Iterator[dict[str, Any]]: ...

    def end(self) -> Iterator[dict[str, Any]]: ...

    def whole(self) -> dict[str, Any]:
        """The whole answer, once all pieces are added."""

    def failed(self, error: ApiError) -> dict[str, Any]:
        """What a stream ends with when it fails."""


Handler = Callable[[Request], Awaitable[Response]]


def endpoint(function: Handler) -> Handler:
    """Have whatever a handler raises become an answer."""

    @functools.wraps(function)
    async def handle(request: Request) -> Response:
        try:
            return await function(request)
        except ClientGone:
            return Response(status_code=_CLIENT_GONE)
        except Exception as error:  # noqa: BLE001 (the boundary)
            failure = from_exception(error)
            if failure.status >= 500:
                service_of(request).report(error)
            return error_answer(failure)

    return handle


def service_of(request: Request) -> Service:
    """The service behind a request."""
    service: Service = request.app.state.service
    return service


async def respond(
    request: Request,
    worker: Worker,
    job: PendingJob | None,
    answers: Answers,
    *,
    is_stream: bool,
    before: Callable[[], Awaitable[None]] | None = None,
) -> Response:
    """Run a job, if there is one, and answer with it.

    `before` is what the answer needs of the model first; whatever it takes counts for the request's
    time.
    """
    service = service_of(request)
    deadline = service.deadline()
    ticket = service.admit(worker)
    is_handed_on = False

    async def accept() -> Accepted:
        if before is not None:
            try:
                async with asyncio.timeout(service.settings.timeout_s):
                    await before()
            except TimeoutError:
                raise too_late() from None
        if job is None:
            return Accepted(())
        ticket.submit(job)
        return await begin(job, deadline)

    try:
        accepted = await unless_gone(request.receive, accept())
        if is_stream:
            events = _events(service, job, answers, accepted, deadline)
            is_handed_on = True
            return EventStream(events, ticket.release)
        return answer(await unless_gone(request.receive, _whole(job, answers, accepted, deadline)))
    finally:
        if not is_handed_on:
            ticket.release()


async def _pieces(job: PendingJob | None, deadline: float) -> AsyncIterator[Piece | None]:
    if job is not None:
        async for piece in follow(job, deadline):
            yield piece


async def _whole(
    job: PendingJob | None, answers: Answers, accepted: Accepted, deadline: float
) -> dict[str, Any]:
    for _ in answers.start(accepted):
        pass
    async for piece in _pieces(job, deadline):
        if piece is not None:
            for _ in answers.add(piece):
                pass
    return answers.whole()


async def _events(
    service: Service,
    job: PendingJob | None,
    answers: Answers,
    accepted: Accepted,
    deadline: float,
) -> AsyncIterator[bytes]:
    def framed(chunk: dict[str, Any]) -> bytes:
        return event(chunk, chunk["type"] if answers.has_named_events else None)

    try:
        for chunk in answers.start(accepted):
            yield framed(chunk)
        async for piece in _pieces(job, deadline):
            if piece is None:
                yield PING
            else:
                for chunk in answers.add(piece):
                    yield framed(chunk)
        for chunk in answers.end():
            yield framed(chunk)
    except Exception as error:  # noqa: BLE001 (the status is sent: it becomes an event)
        failure = from_exception(error)
        if failure.status >= 500:
            service.report(error)
        yield framed(answers.failed(failure))
        return
    if not answers.has_named_events:
        yield b"data: [DONE]\n\n"
