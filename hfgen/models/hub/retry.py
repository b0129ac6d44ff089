"""How long hfgen waits for a Hub that is busy, ill or gone for a moment, and what it says.

A request is tried a few times with short pauses. Where the Hub itself says how long to wait
(`Retry-After`, or the `ratelimit` header of RFC draft httpapi-ratelimit-headers), a short pause is
kept and announced, a long one is an error that names it: a program that sleeps for minutes without
a word looks broken. `huggingface_hub` would sleep for as long as it is told, five times.
"""

from __future__ import annotations

import email.utils
import time
from collections.abc import Callable
from typing import Any

from hfgen.models.sizing.quantities import in_time

Progress = Callable[[str], None]

TRIES = 3
"""How often a request is made before its error counts."""

LONGEST_WAIT_S = 20.0
"""The longest pause that hfgen keeps because the Hub asks for it."""

_PASSING = (408, 429, 500, 502, 503, 504)


def patiently(call: Callable[[], Any], progress: Progress) -> Any:
    """Return what `call` returns, trying again after failures that may pass."""
    failures = 0
    while True:
        try:
            return call()
        except Exception as error:
            failures += 1
            pause_s = pause_after(error, failures)
            if pause_s is None:
                raise
            rest(pause_s, error, progress)


def pause_after(error: Exception, failures: int) -> float | None:
    """Return how long to wait after the n-th failure in a row; None when it is final."""
    from huggingface_hub.errors import HfHubHTTPError
    from huggingface_hub.utils import httpx

    if failures >= TRIES:
        return None
    if isinstance(error, HfHubHTTPError):
        if error.response is None or error.response.status_code not in _PASSING:
            return None
        asked_s = asked_wait(error.response.headers)
        if asked_s is not None:
            return asked_s if asked_s <= LONGEST_WAIT_S else None
    elif not isinstance(error, httpx.TransportError):
        return None
    return float(2 ** (failures - 1))


def asked_wait(headers: Any) -> float | None:
    """Return the seconds that an answer's headers ask to wait; None when they ask nothing."""
    from huggingface_hub.utils import parse_ratelimit_headers

    limit = parse_ratelimit_headers(headers)
    if limit is not None and limit.remaining == 0:
        return float(limit.reset_in_seconds)
    value = (headers.get("Retry-After") or "").strip()
    if value.isdecimal():
        return float(value)
    try:
        return max(0.0, email.utils.parsedate_to_datetime(value).timestamp() - time.time())
    except (ValueError, TypeError, OverflowError):
        return None


def rest(pause_s: float, error: Exception, progress: Progress) -> None:
    """Wait, and say why."""
    response = getattr(error, "response", None)
    why = "the connection broke" if response is None else f"HTTP {response.status_code}"
    progress(f"{why}: trying again in {in_time(pause_s)}")
    time.sleep(pause_s)
