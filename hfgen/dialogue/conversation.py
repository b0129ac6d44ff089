"""`Conversation`: the turns of a dialogue, and the ways that it did not take.

Turns are added at the end. Whoever goes back and on another way (undo, retry, edit) leaves a
branch behind, so that no turn is ever lost.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Message:
    """One turn."""

    role: str
    content: str
    facts: Mapping[str, Any] = field(default_factory=dict)
    """How an answer came about (`seed`, `finish_reason`, `model`, `thinking`), JSON-ready."""

    def to_dict(self) -> dict[str, str]:
        """As in OpenAI's API."""
        return {"role": self.role, "content": self.content}


class Conversation:
    """A dialogue; see the module's docstring."""

    def __init__(
        self, messages: Iterable[Message] = (), branches: Iterable[Iterable[Message]] = ()
    ) -> None:
        self.messages: tuple[Message, ...] = tuple(messages)
        """The turns from the first to the newest, a system message included."""
        self.branches: list[tuple[Message, ...]] = [tuple(branch) for branch in branches]
        """Other ways, each from its first turn on; the one that was left last is the last."""
        self.on_change: Callable[[], None] = lambda: None
        """Is called after every change, before anything else happens."""

    @property
    def system(self) -> str | None:
        """The system message."""
        first = self.messages[0] if self.messages else None
        return first.content if first is not None and first.role == "system" else None

    @property
    def last_question(self) -> int | None:
        """The place of the user's newest turn; None where there is none."""
        places = [place for place, turn in enumerate(self.messages) if turn.role == "user"]
        return places[-1] if places else None

    def add(self, message: Message) -> None:
        """Add a turn."""
        self._change((*self.messages, message))

    def cut(self, length: int) -> None:
        """Go back to the first `length` turns; the others stay as a branch."""
        self._change(self.messages[:length])

    def replace(self, place: int, message: Message) -> None:
        """Change a turn, and go on from it; the conversation as it was stays as a branch."""
        self._change((*self.messages[:place], message))

    def set_system(self, text: str | None) -> None:
        """Set the system message, or remove it, at the beginning of all that was said."""
        rest = self.messages[1:] if self.system is not None else self.messages
        self._change(rest if text is None else (Message("system", text), *rest))

    def switch(self, number: int) -> None:
        """Go on from the end of a branch, counted from 0; the present way becomes one."""
        self._change(self.branches[number])

    def _change(self, messages: tuple[Message, ...]) -> None:
        """Take another way; what is on none of the others stays as a branch."""
        left, self.messages = self.messages, messages
        ways = [*self.branches, left]
        self.branches = [
            way
            for number, way in enumerate(ways)
            if not any(_begins(other, way) for other in (messages, *ways[number + 1 :]))
            and not any(_begins(other, way) and other != way for other in ways[:number])
        ]
        self.on_change()


def _begins(way: tuple[Message, ...], beginning: tuple[Message, ...]) -> bool:
    """Whether a way begins as another one goes."""
    return way[: len(beginning)] == beginning
