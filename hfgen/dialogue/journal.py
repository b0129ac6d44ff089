"""`Journal`: saves a conversation as it goes, so that nothing can lose it.

Every change is on the disk (written and synced) before the conversation goes on: the user's turn
before the answer begins, the answer as it ends. A turn that is added is written over the three
bytes that close the file, all else under another name and renamed. A write that fails (a full disk)
leaves the file as it was, is told once, and is made up for by the next one that succeeds.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from hfgen.atomic import write_whole
from hfgen.claims import Claim
from hfgen.dialogue import saved
from hfgen.dialogue.conversation import Conversation, Message
from hfgen.errors import OutputError

_OWNER_ONLY = 0o600


class Journal:
    """Saves one conversation to one file, from the user's first turn on."""

    def __init__(
        self,
        path: Path,
        facts: Mapping[str, Any],
        *,
        notify: Callable[[str], None] = lambda text: None,
    ) -> None:
        """`facts` stand before the messages; `notify` hears one line when saving fails."""
        self.path = path
        self._facts = dict(facts)
        self._notify = notify
        self._claim = Claim(path)
        self._is_claimed = False
        self._has_failed = False
        self._written: tuple[Message, ...] = ()
        self._branches: list[tuple[Message, ...]] = []
        self._end: int | None = None
        """Where the bytes begin that close the file; None where it has to be written whole."""

    @property
    def is_empty(self) -> bool:
        """Whether nothing was saved."""
        return not self._written

    def claim(self) -> None:
        """Keep other processes from writing the file. Raises `OutputError` where one does."""
        with contextlib.suppress(OSError):
            self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        if not self._is_claimed and not self._claim.take():
            raise OutputError(
                f"{self.path.stem} is open in another chat",
                hint="end that chat first, or begin another one without -c",
            )
        self._is_claimed = True

    def resume(self, known: saved.Saved) -> str | None:
        """Go on with what the file holds; return a notice where its end was torn off.

        The torn file is kept beside the one that takes its place. Raises `OutputError` where
        another process has the file, or had it since it was read.
        """
        self.claim()
        if saved.read(self.path).conversation.messages != known.conversation.messages:
            raise OutputError(f"{self.path.stem} was changed meanwhile", hint="run it again")
        if not known.is_torn:
            self._note(known.conversation)
            self._end = self.path.stat().st_size - len(saved.END)
            with self.path.open("rb") as stream:
                stream.seek(self._end)
                if stream.read() != saved.END:
                    self._end = None
            return None
        aside = self.path.with_suffix(".torn")
        write_whole(aside, self.path.read_bytes(), mode=_OWNER_ONLY)
        return f"the end of {self.path.stem} was torn off: what is whole was read, {aside} has all"

    def save(self, conversation: Conversation) -> None:
        """Bring the file up to the conversation; never raises what the disk does."""
        if not any(turn.role == "user" for turn in conversation.messages) and self.is_empty:
            return
        try:
            self.claim()
            self._write(conversation)
        except OSError as error:
            if not self._has_failed:
                self._notify(
                    f"warning: the conversation is not saved: {error.strerror or error} "
                    f"({self.path}); it is tried again with every turn"
                )
            self._has_failed = True
            return
        if self._has_failed:
            self._notify("the conversation is saved again, all turns included")
        self._has_failed = False
        self._note(conversation)

    def close(self) -> None:
        """Let others write the file."""
        if self._is_claimed:
            self._claim.release()
            self._is_claimed = False

    def _note(self, conversation: Conversation) -> None:
        self._written, self._branches = conversation.messages, conversation.branches

    def _write(self, conversation: Conversation) -> None:
        count = len(self._written)
        new = conversation.messages[count:]
        is_longer = conversation.messages[:count] == self._written
        if self._end is not None and is_longer and conversation.branches == self._branches:
            if new:
                data = saved.addition(new, is_first=count == 0)
                _put(self.path, self._end, data)
                self._end += len(data) - len(saved.END)
            return
        data = saved.to_bytes(conversation, self._facts)
        write_whole(self.path, data, mode=_OWNER_ONLY)
        self._end = len(data) - len(saved.END)


def _put(path: Path, end: int, data: bytes) -> None:
    """Write `data` from `end` on, and sync; where that fails, the file ends there as before."""
    descriptor = os.open(path, os.O_WRONLY)
    try:
        try:
            _write_at(descriptor, data, end)
            os.fsync(descriptor)
        except BaseException:
            with contextlib.suppress(OSError):
                _write_at(descriptor, saved.END, end)
                os.ftruncate(descriptor, end + len(saved.END))
            raise
    finally:
        os.close(descriptor)


def _write_at(descriptor: int, data: bytes, offset: int) -> None:
    os.lseek(descriptor, offset, os.SEEK_SET)
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]
