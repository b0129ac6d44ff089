"""Where conversations are saved, and what is there."""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from hfgen.dialogue import saved
from hfgen.errors import DataError, UsageError

DATA_VARIABLE = "HFGEN_DATA_DIR"
"""Environment variable that replaces the folder of the user's data."""
_SUFFIX = ".jsonl"


def chats_folder() -> Path:
    """Return the folder of saved conversations (in `HFGEN_DATA_DIR`, or the system's place)."""
    if chosen := os.environ.get(DATA_VARIABLE):
        return Path(os.path.expanduser(chosen)) / "chats"  # noqa: PTH111  # never raises
    import platformdirs

    return Path(platformdirs.user_data_dir("hfgen", appauthor=False)) / "chats"


@dataclass(frozen=True)
class Entry:
    """A saved conversation, in a list."""

    id: str
    path: Path
    changed: datetime
    model: str | None = None
    messages: int = 0
    first: str = ""
    """What the user said first."""
    problem: str | None = None
    """Why it cannot be read."""


def new_path() -> Path:
    """Return a path for a conversation that begins now; its name is its id."""
    now = datetime.now()
    return chats_folder() / f"{now:%Y-%m-%d-%H%M%S}-{secrets.token_hex(2)}{_SUFFIX}"


def now() -> str:
    """The time, as files have it."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def paths() -> list[Path]:
    """The saved conversations, the one that changed last first."""
    found = []
    with contextlib.suppress(OSError):
        for path in chats_folder().glob(f"*{_SUFFIX}"):
            with contextlib.suppress(OSError):
                found.append((path.stat().st_mtime_ns, path.name, path))
    return [path for _, _, path in sorted(found, reverse=True)]


def find(name: str) -> Path:
    """Return the conversation of that id, or whose id begins so. Raises `UsageError`."""
    known = paths()
    matches = [path for path in known if path.stem.startswith(name)]
    exact = [path for path in matches if path.stem == name]
    if len(exact or matches) == 1:
        return (exact or matches)[0]
    if matches:
        ids = ", ".join(path.stem for path in matches[:3])
        raise UsageError(
            f"{len(matches)} conversations begin with {name}", hint=f"write more of it: {ids}"
        )
    raise UsageError(f"there is no saved conversation {name}", hint="hfgen chat list")


def newest() -> Path:
    """Return the conversation that changed last. Raises `UsageError` where there is none."""
    if not (known := paths()):
        raise UsageError("there is no saved conversation to continue", hint="leave -c out")
    return known[0]


def entries() -> Iterator[Entry]:
    """What is saved, the conversation that changed last first."""
    for path in paths():
        try:
            changed = datetime.fromtimestamp(path.stat().st_mtime).astimezone()
        except OSError:
            continue  # removed in the meantime
        try:
            held = saved.read(path)
        except DataError as error:
            yield Entry(path.stem, path, changed, problem=error.message)
            continue
        turns = held.conversation.messages
        first = next((turn.content for turn in turns if turn.role == "user"), "")
        yield Entry(path.stem, path, changed, held.facts.get("model"), len(turns), first)


def remove(path: Path) -> None:
    """Remove a conversation, and what was kept of it aside."""
    path.unlink()
    path.with_suffix(".torn").unlink(missing_ok=True)
