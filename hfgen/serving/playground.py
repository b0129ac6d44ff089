"""`GET /`: a page to try the models, one file that needs nothing from elsewhere."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from starlette.requests import Request
from starlette.responses import Response

# Nothing but this page and this server, whatever a model writes.
_POLICY = (
    "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


@cache
def _page() -> bytes:
    return Path(__file__).with_suffix(".html").read_bytes()


async def playground(request: Request) -> Response:
    """Answer with the page; it asks for an API key itself."""
    headers = {"content-security-policy": _POLICY, "cache-control": "no-cache"}
    return Response(_page(), media_type="text/html", headers=headers)
