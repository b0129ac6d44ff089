"""`Example`: one thing to learn, whatever columns it came from."""

from __future__ import annotations

from dataclasses import dataclass

from hfgen.errors import DataError
from hfgen.training.reading.rows import row_error


@dataclass(frozen=True, slots=True)
class Example:
    """One thing to learn: `text`, or `prompt` and `completion`, or `messages`."""

    place: str
    """Where its row stands, for messages."""
    text: str | None = None
    prompt: str | None = None
    completion: str | None = None
    messages: tuple[tuple[str, str], ...] | None = None
    """(role, content) of each turn; roles are system, user and assistant."""
    unlearned: frozenset[int] = frozenset()
    """Which of the messages are an assistant's turns that are read but not learned."""

    def error(self, reason: str) -> DataError:
        """The error that names the row which the example came from."""
        return row_error(self.place, reason)

    @property
    def question(self) -> tuple[str | None, str] | None:
        """What a user types for the first answer, behind the system message if there is one.

        None for a text, and where the conversation does not begin with a user's single message.
        """
        if self.messages is None:
            return None if self.prompt is None else (None, self.prompt)
        system = None
        turns = list(self.messages[:3])
        if turns[0][0] == "system":
            system = turns.pop(0)[1]
        roles = [role for role, _ in turns[:2]]
        return (system, turns[0][1]) if roles == ["user", "assistant"] else None
