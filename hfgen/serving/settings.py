"""How a server listens and what it allows; the defaults of `hfgen serve`."""

from __future__ import annotations

from dataclasses import dataclass

from hfgen.errors import UsageError
from hfgen.mentions import mention

LOOPBACK = ("127.0.0.1", "::1", "localhost")


@dataclass(frozen=True)
class ServerSettings:
    """Settings of one server."""

    host: str = "127.0.0.1"
    port: int = 8000
    """0 takes a free one."""
    api_key: str | None = None
    """What clients have to send as `Authorization: Bearer …`."""
    has_auth: bool = True
    """Whether an address beyond this machine needs an API key."""
    queue: int = 64
    """How many requests may wait besides those that have a slot."""
    timeout_s: float = 600.0
    """The longest that a request may take, waiting included."""
    body_limit: int = 8 * 2**20
    """Most bytes of a request's body."""
    cors: tuple[str, ...] = ()
    """Web pages (origins) that may call the server from a browser."""

    @property
    def is_local(self) -> bool:
        """Whether only this machine can reach it."""
        return self.host in LOOPBACK or self.host.startswith("127.")

    def check(self) -> None:
        """Raise `UsageError` for an address that others reach without an API key."""
        if not self.is_local and self.has_auth and self.api_key is None:
            raise UsageError(
                f"{self.host} can be reached from other machines, and there is no API key",
                hint=f"add {mention('api_key', 'KEY')}, or {mention('no_auth', True)} to let "
                "everybody in",
            )
        if self.api_key is not None and not (self.api_key.isascii() and self.api_key.strip()):
            raise UsageError(
                "the API key must be printable ASCII", hint=f"choose another {mention('api_key')}"
            )
