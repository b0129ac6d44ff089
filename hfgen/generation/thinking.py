"""Reasoning apart from the answer, in streamed text.

Reasoning models write `<think> … </think>` before the answer; gpt-oss writes messages on channels
(`<|channel|>analysis<|message|> … <|end|>`), the last one, `final`, being the answer (OpenAI's
harmony format). `splitter_for` knows from a model's chat template which of the two to expect.
"""

from __future__ import annotations

import re
from typing import Any, Literal, Protocol

_OPEN, _CLOSE = "<think>", "</think>"
_CHANNEL, _MESSAGE, _END, _START = "<|channel|>", "<|message|>", "<|end|>", "<|start|>"


class Splitter(Protocol):
    """Takes text as it comes, tells (thinking, answer) apart."""

    def add(self, text: str) -> tuple[str, str]:
        """Take more text; return what is certain to be thinking, and to be answer."""

    def flush(self) -> tuple[str, str]:
        """Return what was held back, at the end of the text."""


def needs_markers(tokenizer: Any) -> bool:
    """Whether the marks are special tokens, which text decoding must keep (gpt-oss)."""
    return _CHANNEL in str(tokenizer.chat_template)


def splitter_for(tokenizer: Any, rendered: str | None) -> Splitter | None:
    """The splitter for a chat model's answers, None where it does not reason.

    `rendered` is the prompt as the template wrote it, since some templates open the reasoning
    there; None without a template.
    """
    if rendered is None:
        return None
    if needs_markers(tokenizer):
        return ChannelSplitter()
    if _CLOSE in str(tokenizer.chat_template) or _OPEN in tokenizer.get_vocab():
        return TagSplitter(is_open=rendered.rstrip().endswith(_OPEN))
    return None


class TagSplitter:
    """`<think> … </think>` at the beginning of the text."""

    def __init__(self, *, is_open: bool = False) -> None:
        self._state: Literal["before", "opened", "thinking", "after", "answer"] = (
            "opened" if is_open else "before"
        )
        self._held = ""

    def add(self, text: str) -> tuple[str, str]:
        """See `Splitter`."""
        self._held += text
        thinking = answer = ""
        if self._state == "before":
            begun = self._held.lstrip()
            if begun.startswith(_OPEN):
                self._state, self._held = "opened", begun.removeprefix(_OPEN)
            elif not _OPEN.startswith(begun):
                self._state = "answer"
        if self._state == "opened":
            self._held = self._held.lstrip("\n")
            self._state = "thinking" if self._held else "opened"
        if self._state == "thinking":
            thinking, found, rest = self._held.partition(_CLOSE)
            if found:
                self._state, self._held = "after", rest
            else:
                keep = _partial(thinking, _CLOSE)
                thinking, self._held = (
                    thinking[: len(thinking) - keep],
                    thinking[len(thinking) - keep :],
                )
        if self._state == "after":
            self._held = self._held.lstrip()
            self._state = "answer" if self._held else "after"
        if self._state == "answer":
            answer, self._held = self._held, ""
        return thinking, answer

    def flush(self) -> tuple[str, str]:
        """See `Splitter`."""
        held, self._held = self._held, ""
        return (held, "") if self._state == "thinking" else ("", held)


class ChannelSplitter:
    """Messages on channels; all but `final` are thinking."""

    def __init__(self) -> None:
        self._channel: str | None = None
        self._held = ""
        self._is_plain = False

    def add(self, text: str) -> tuple[str, str]:
        """See `Splitter`."""
        self._held += text
        thinking = answer = ""
        while self._held:
            if self._channel is None and not self._read_header():
                break
            body, found, rest = self._held.partition(_END)
            keep = 0 if found or self._is_plain else _partial(body, _END)
            ready = body[: len(body) - keep]
            if self._channel == "final":
                answer += ready
            else:
                thinking += ready
            self._held = rest if found else body[len(body) - keep :]
            if not found:
                break
            self._channel = None
        return thinking, answer

    def flush(self) -> tuple[str, str]:
        """See `Splitter`."""
        held, self._held = self._held, ""
        return ("", held) if self._channel == "final" else (held, "")

    def _read_header(self) -> bool:
        """Take the header of the next message; False while it is not complete."""
        begun = self._held.lstrip()
        starts = (_CHANNEL, _START)
        if not begun.startswith(starts) and not any(mark.startswith(begun) for mark in starts):
            # No channel at all: the text is the answer.
            self._channel, self._is_plain = "final", True
            return True
        header, found, rest = begun.partition(_MESSAGE)
        if not found:
            return False
        name = re.search(re.escape(_CHANNEL) + r"\s*(\w+)", header)
        self._channel, self._held = name[1] if name else "final", rest
        return True


def _partial(text: str, mark: str) -> int:
    """Length of the longest end of `text` with which `mark` begins."""
    for length in range(min(len(mark) - 1, len(text)), 0, -1):
        if mark.startswith(text[-length:]):
            return length
    return 0
