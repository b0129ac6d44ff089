"""The layers that every request passes: who may come in, how much it may bring, what it is called.

Plain ASGI, since Starlette's `BaseHTTPMiddleware` hides from a handler that its client has left.
"""

from __future__ import annotations

import hmac
import re
import secrets
import time
from collections.abc import Callable
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from hfgen.serving.http import error_answer
from hfgen.serving.openai.errors import ApiError
from hfgen.serving.settings import LOOPBACK, ServerSettings

Log = Callable[[str, str, int, float], None]
"""Is told method, path, status and seconds of every answer."""

_OPEN_PATHS = ("/", "/health", "/v1/health")
_REQUEST_ID = "x-request-id"
_SLASHES = re.compile("/{2,}")


class Guard:
    """Lets in who may come in; gives every answer an id."""

    def __init__(self, app: ASGIApp, settings: ServerSettings, log: Log | None = None) -> None:
        self._app = app
        self._settings = settings
        self._log = log

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began = time.monotonic()
        status = 500
        request_id = f"req_{secrets.token_hex(12)}"

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message)[_REQUEST_ID] = request_id
            await send(message)

        # Some clients join an address that ends in a slash with a path that begins with one.
        scope = {**scope, "path": _SLASHES.sub("/", scope["path"])}
        try:
            if (refusal := self._refusal(scope)) is not None:
                await error_answer(refusal)(scope, receive, send_with_id)
            else:
                await self._app(scope, receive, send_with_id)
        finally:
            if self._log is not None:
                self._log(scope["method"], scope["path"], status, time.monotonic() - began)

    def _refusal(self, scope: Scope) -> ApiError | None:
        headers = Headers(scope=scope)
        settings = self._settings
        if settings.api_key is None and settings.is_local and not _is_own_name(headers):
            # A web page whose name leads to this machine ("DNS rebinding").
            return ApiError(403, "the Host header must name this machine (or use an API key)")
        origin = headers.get("origin")
        is_strange = origin is not None and not self._is_allowed(origin, headers)
        if is_strange and settings.api_key is None:
            return ApiError(403, f"web pages of {str(origin)[:200]} may not use this server")
        is_preflight = scope["method"] == "OPTIONS" and bool(settings.cors)
        if settings.api_key is None or scope["path"] in _OPEN_PATHS or is_preflight:
            return None
        given = headers.get("authorization", "").removeprefix("Bearer ").strip()
        if hmac.compare_digest(given.encode(), settings.api_key.encode()):
            return None
        what = "the API key is wrong" if given else "an API key is needed"
        return ApiError(
            401, f"{what}: send it as Authorization: Bearer KEY", code="invalid_api_key",
            headers={"www-authenticate": "Bearer"},
        )  # fmt: skip

    def _is_allowed(self, origin: str, headers: Headers) -> bool:
        allowed = self._settings.cors
        own = (f"http://{headers.get('host')}", f"https://{headers.get('host')}")
        return origin in allowed or "*" in allowed or origin in own


def _is_own_name(headers: Headers) -> bool:
    try:
        name = urlsplit(f"//{headers.get('host', '')}").hostname or ""
    except ValueError:
        return False
    return name in LOOPBACK or name.startswith("127.")


class BodyLimit:
    """Refuses bodies that are too long, by their announced length or as they come."""

    def __init__(self, app: ASGIApp, limit: int) -> None:
        self._app = app
        self._limit = limit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        announced = Headers(scope=scope).get("content-length", "0")
        error = ApiError(413, f"the body is longer than {self._limit:,} bytes")
        error.headers["connection"] = "close"
        if announced.isdecimal() and int(announced) > self._limit:
            await error_answer(error)(scope, receive, send)
            return
        seen = 0

        async def counted() -> Message:
            nonlocal seen
            message = await receive()
            seen += len(message.get("body", b""))
            if seen > self._limit:
                raise error
            return message

        await self._app(scope, counted, send)
