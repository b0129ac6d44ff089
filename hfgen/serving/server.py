"""A server on a socket: bound before models are loaded, and closed once all is answered.

The first request to stop (a signal, `ListeningServer.stop`) refuses new connections and finishes
what was begun; a second one gives that up.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

import uvicorn

from hfgen.errors import HfgenError, UsageError
from hfgen.mentions import mention
from hfgen.serving.settings import ServerSettings

# Longer than most clients keep a connection that they may use again.
_KEEP_ALIVE_S = 75


def bind(settings: ServerSettings) -> socket.socket:
    """A socket at the server's address, which does not listen yet; raises `HfgenError`."""
    try:
        (family, kind, _, _, address), *_ = socket.getaddrinfo(
            settings.host, settings.port, type=socket.SOCK_STREAM
        )
    except (OSError, UnicodeError) as error:
        raise UsageError(
            f"there is no address {settings.host[:80]}", hint=f"leave {mention('host')} out"
        ) from error
    listener = socket.socket(family, kind)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
    except OSError as error:
        listener.close()
        reason = (error.strerror or str(error)).lower()
        raise HfgenError(
            f"cannot listen at {settings.host} port {settings.port}: {reason}",
            hint=f"choose another port, or {mention('port', 0)} for a free one",
        ) from error
    listener.setblocking(False)
    return listener


def url_of(listener: socket.socket) -> str:
    """The address that a browser of this machine takes."""
    host, port = listener.getsockname()[:2]
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


class ListeningServer(uvicorn.Server):
    """A uvicorn server that leaves signals to its caller."""

    def __init__(self, app: Any, on_started: Callable[[], None] = lambda: None) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                log_config=None,
                access_log=False,
                lifespan="off",
                http="h11",
                ws="none",
                loop="asyncio",
                server_header=False,
                timeout_keep_alive=_KEEP_ALIVE_S,
            )
        )
        self._on_started = on_started

    def serve_on(self, listener: socket.socket) -> None:
        """Serve until `stop`."""
        asyncio.run(self.serve([listener]))

    def stop(self) -> None:
        """Stop once all is answered; called again, at once. Safe in a signal's handler."""
        self.force_exit = self.should_exit
        self.should_exit = True

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to listen."""
        await super().startup(sockets)
        self._on_started()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave them alone."""
        yield

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Stop for a signal."""
        self.stop()
