"""Whether the Hugging Face Hub can be reached, known within three seconds.

The Hub library retries for more than 20 s, and a name server that does not answer cannot be
interrupted at all. So one small request is made in a daemon thread with a deadline. A negative
answer is remembered for some minutes in a stamp file per endpoint, so that the next run of a
program without network does not wait again; a positive one is not, as asking costs little then.
The stamp names the address this machine had, so that it is void once the network has changed.
"""

from __future__ import annotations

import hashlib
import socket
import threading
import time
from pathlib import Path

from hfgen.models.cache_dir import own_cache_folder

PROBE_S = 2.2
"""Longest time to wait for the Hub's first answer: with the start of the program under 3 s."""

REMEMBERED_S = 300.0
"""For how long an unreachable Hub is not asked again."""


def is_reachable(endpoint: str) -> bool:
    """Tell whether the Hub answers at `endpoint`, in less than three seconds."""
    stamp = stamp_file(endpoint)
    if _is_fresh(stamp):
        return False
    if _answers(endpoint):
        return True
    try:
        stamp.parent.mkdir(parents=True, exist_ok=True)
        stamp.write_text(_own_address(), encoding="utf-8")
    except OSError:
        pass  # a read-only cache folder costs the next run its wait, nothing more
    return False


def stamp_file(endpoint: str) -> Path:
    """Return the file whose age tells when the Hub was last found unreachable."""
    return own_cache_folder() / f"unreachable-{hashlib.sha256(endpoint.encode()).hexdigest()[:16]}"


def _is_fresh(stamp: Path) -> bool:
    try:
        age_s = time.time() - stamp.stat().st_mtime
        address = stamp.read_text(encoding="utf-8")
    except (OSError, ValueError):
        return False
    return 0 <= age_s < REMEMBERED_S and address == _own_address()


def _own_address() -> str:
    """Return the address that packets to elsewhere would come from; nothing is sent."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # reserved for documentation, RFC 5737
            return str(probe.getsockname()[0])
        except OSError:
            return "no network"


def _answers(endpoint: str) -> bool:
    """Send one request; any answer at all counts, whatever its status."""
    from huggingface_hub import get_session

    answered: list[bool] = []
    # Made here: the thread may outlive the call, and must not be importing when the program ends.
    session = get_session()

    def ask() -> None:
        try:
            session.head(endpoint, timeout=PROBE_S)
        except Exception:  # noqa: BLE001 -- whatever went wrong, the Hub cannot be used
            return
        answered.append(True)

    thread = threading.Thread(target=ask, name="hfgen-hub-probe", daemon=True)
    thread.start()
    thread.join(PROBE_S)
    return bool(answered)
