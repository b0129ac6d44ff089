"""An answer on the screen: it streams, Ctrl-C stops it, and its end says what it was."""

from __future__ import annotations

import contextlib
import dataclasses
import signal
from collections.abc import Callable, Generator, Iterator
from types import FrameType

from hfgen.cli.chat.markdown import MarkdownText
from hfgen.cli.io.colours import LEGEND
from hfgen.cli.io.outputs import Text
from hfgen.cli.io.sinks import OutputSink
from hfgen.cli.program.console import Console
from hfgen.generation.records import Piece, Record

_Pieces = Generator[Piece, None, None]


class AnswerView:
    """Shows answers."""

    def __init__(self, console: Console, *, has_markdown: bool) -> None:
        self._console = console
        self._has_markdown = has_markdown and console.has_colours
        self.has_colours = False
        """Whether tokens are coloured by their probability."""

    def show(self, pieces: _Pieces) -> bool:
        """Show an answer as it comes; False where it was stopped."""
        self._console.status("…")
        with stopping() as is_stopped, contextlib.closing(pieces):
            writer = self._writer()
            try:
                for piece in pieces:
                    writer(piece)
                    if is_stopped() and piece.record is None:
                        return False
            finally:
                writer(None)
        return True

    def whole(self, text: str) -> None:
        """Show an answer that is there."""
        writer = self._writer()
        writer(Piece(0, 0, text))
        writer(None)

    def _writer(self) -> Callable[[Piece | None], None]:
        """What shows pieces, and ends the answer's last line where it gets None."""
        if self._has_markdown and not self.has_colours:
            return _Markdown(self._console)
        return _Plain(self._console, has_colours=self.has_colours)


class _Markdown:
    def __init__(self, console: Console) -> None:
        self._console = console
        self._text = MarkdownText(console)
        self._thinks = False

    def __call__(self, piece: Piece | None) -> None:
        if piece is None:
            self._text.end()
            return
        if piece.thinking:
            self._console.aside(piece.thinking)
            self._thinks = True
        if piece.text:
            if self._thinks:
                self._console.aside("\n\n")
                self._thinks = False
            self._text.add(piece.text)


class _Plain:
    def __init__(self, console: Console, *, has_colours: bool) -> None:
        self._console = console
        self._has_colours = has_colours
        self._text = Text(OutputSink(console), has_echo=False, thinks=console.aside)

    def __call__(self, piece: Piece | None) -> None:
        if piece is None:
            self._text.end(is_complete=True)
            if self._has_colours:
                self._console.legend(LEGEND)
            return
        self._text.show(piece if self._has_colours else dataclasses.replace(piece, logprobs=()))


@contextlib.contextmanager
def stopping() -> Iterator[Callable[[], bool]]:
    """Have the first Ctrl-C only be noticed; a second one interrupts."""
    noticed: list[int] = []

    def handle(number: int, frame: FrameType | None) -> None:
        if noticed:
            raise KeyboardInterrupt
        noticed.append(number)

    before = signal.signal(signal.SIGINT, handle)
    try:
        yield lambda: bool(noticed)
    finally:
        signal.signal(signal.SIGINT, before)


def cut_notice(record: Record, window: int | None) -> str | None:
    """What to say of an answer that ended by its length; None where it did not."""
    if record.finish_reason == "time":
        return "the answer was cut by max_time"
    if record.finish_reason != "length":
        return None
    tokens = record.completion_tokens
    if window is not None and record.prompt_tokens + tokens >= window:
        return f"the answer was cut at {tokens:,} tokens: the context window is full"
    return f"the answer was cut at {tokens:,} tokens; /set max_new_tokens N for more"
