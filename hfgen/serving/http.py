"""JSON in and out, server-sent events, and clients that go away.

Starlette's own `is_disconnected` never sees a client leave while a plain answer is computed; here
every wait for a result races the connection, and whoever loses is cancelled.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from typing import Any, TypeVar

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from hfgen.serving.openai.errors import ApiError, invalid

T = TypeVar("T")

BODY_PATIENCE_S = 30.0
"""How long a client may take to send its request."""
READER_PATIENCE_S = 60.0
"""How long a client may leave a stream unread."""
# Line ends for some readers of lines, but not for JSON.
_LINE_ENDS = {code: f"\\u{code:04x}" for code in (0x85, 0x2028, 0x2029)}

PING = b": ping\n\n"
"""A comment that keeps a connection alive."""


class ClientGone(Exception):
    """The client went away before its answer was there."""


def as_json(data: object) -> bytes:
    """One line of JSON in UTF-8, whatever the strings hold."""
    text = json.dumps(data, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    # A lone surrogate becomes \udcff: JSON stays JSON.
    return text.translate(_LINE_ENDS).encode("utf-8", "backslashreplace")


def answer(data: object, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """A JSON answer."""
    return Response(as_json(data), status, dict(headers or {}), media_type="application/json")


def error_answer(error: ApiError) -> Response:
    """An error as an answer."""
    return answer(error.body, error.status, error.headers)


def event(data: object, name: str | None = None) -> bytes:
    """A server-sent event."""
    head = b"" if name is None else b"event: " + name.encode() + b"\n"
    return head + b"data: " + as_json(data) + b"\n\n"


async def read_json(request: Request) -> Any:
    """The body of a request; raises `ApiError` for what is no JSON."""
    try:
        async with asyncio.timeout(BODY_PATIENCE_S):
            body = await request.body()
    except TimeoutError:
        raise ApiError(408, "the request's body did not arrive in time") from None
    except ClientDisconnect:
        raise ClientGone from None
    try:
        return json.loads(body, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        reason = "nested too deeply" if isinstance(error, RecursionError) else error
        raise invalid(f"the body is not valid JSON: {reason}", None) from None


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no number")


async def unless_gone(receive: Receive, work: Coroutine[Any, Any, T]) -> T:
    """Do some work for a client; cancel it and raise `ClientGone` when the client goes away."""
    task = asyncio.ensure_future(work)
    gone = asyncio.ensure_future(_wait_until_gone(receive))
    try:
        await asyncio.wait({task, gone}, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            return task.result()
        raise ClientGone
    finally:
        for one in (task, gone):
            one.cancel()
        await asyncio.gather(task, gone, return_exceptions=True)


async def _wait_until_gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


class EventStream(Response):
    """Sends events as they come, until the client goes away."""

    media_type = "text/event-stream"

    def __init__(self, events: AsyncIterator[bytes], release: Callable[[], None]) -> None:
        """`release` is called at the end, also where the client leaves before the first event."""
        super().__init__(headers={"cache-control": "no-cache", "x-accel-buffering": "no"})
        del self.headers["content-length"]
        self._events = events
        self._release = release

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer the request."""
        try:
            with contextlib.suppress(ClientGone, TimeoutError):
                await unless_gone(receive, self._send(send))
        finally:
            self._release()

    async def _send(self, send: Send) -> None:
        start = {"status": self.status_code, "headers": self.raw_headers}
        await send({"type": "http.response.start", **start})
        async for data in self._events:
            async with asyncio.timeout(READER_PATIENCE_S):
                await send({"type": "http.response.body", "body": data, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})
