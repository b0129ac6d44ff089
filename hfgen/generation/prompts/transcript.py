"""Conversations for a model that has no template for them: a plain transcript.

A base model knows whose turn it is from the text alone, so that it gets what such texts look like,
and is stopped where it would write the user's next turn itself:

    You answer in one sentence.

    User: What is the capital of France?
    Assistant: Paris.
    User: And of Spain?
    Assistant:
"""

from __future__ import annotations

from collections.abc import Sequence

STOP_STRINGS = ("\nUser:", "\nAssistant:")
"""What ends an answer besides the end of the text."""

_INSTRUCTIONS = ("system", "developer")


def transcript(messages: Sequence[dict[str, str]]) -> str:
    """The conversation as text, up to the answer that is missing."""
    blocks = []
    rest = list(messages)
    if rest[0]["role"] in _INSTRUCTIONS:
        blocks = [rest.pop(0)["content"], ""]
    lines = [f"{message['role'].capitalize()}: {message['content']}" for message in rest]
    return "\n".join([*blocks, *lines, "Assistant:"])


class AnswerText:
    """An answer's text without the white space around it; looks like a `Splitter`."""

    def __init__(self) -> None:
        self._has_begun = False
        self._held = ""

    def add(self, text: str) -> tuple[str, str]:
        """Take more text; return ("", what is certain to be within the answer)."""
        text = self._held + text
        if not self._has_begun:
            text = text.lstrip()
            self._has_begun = bool(text)
        answer = text.rstrip()
        self._held = text[len(answer) :]
        return "", answer

    def flush(self) -> tuple[str, str]:
        """Nothing: what was held back is white space."""
        return "", ""
