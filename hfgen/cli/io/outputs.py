"""Results in their three formats, in input order.

Texts are generated side by side and written in order: the earliest unfinished one streams, later
ones wait. What waits was generated while the earliest one was running, so that it is bounded by
the slots times that text's length. When a run ends early, the rows that are finished are written,
and JSON stays JSON.

`text` is prompt and completion (or the completion) with a line end, which is added where the text
has none; `json` is one record, or a list of records; `jsonl` is a record a line.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol

from hfgen.cli.flags.common import choice
from hfgen.cli.io.colours import Style, style_of
from hfgen.cli.io.sinks import OutputSink, Sink, check_output, open_sink
from hfgen.cli.program.console import Console
from hfgen.errors import OptionConflict
from hfgen.generation.records import Pending, Piece, Record

FORMATS = ("text", "json", "jsonl")

_STANDARD_OUTPUT = ("-", "/dev/stdout", "/dev/fd/1", "/proc/self/fd/1")

# JSON allows these as they are; a terminal, or a reader that splits lines by Unicode, does not.
_ESCAPED = {code: f"\\u{code:04x}" for code in (*range(0x7F, 0xA0), 0x2028, 0x2029)}


@dataclass(frozen=True)
class OutputChoice:
    """What the command line says about results."""

    format: str = "text"
    has_echo: bool | None = None
    """None where nothing was said: prompts are echoed, but not those of chat models."""
    file: str | None = None
    is_overwrite: bool = False
    is_null_terminated: bool = False
    is_list: bool = False
    """Whether several texts are expected."""

    def check(self) -> None:
        """Refuse what contradicts itself."""
        choice("--format", self.format, FORMATS)
        if self.format != "text" and self.has_echo is not None:
            raise OptionConflict(
                f"{'--echo' if self.has_echo else '--no-echo'} has no effect on JSON: "
                "a record holds prompt, completion and text",
                hint="drop it, or take the field you need with jq",
            )
        if self.is_overwrite and self.file is None:
            raise OptionConflict("--overwrite has no effect without --output", hint="add -o FILE")

    def open(self, console: Console, *, source: str | None) -> Sink:
        """Open standard output or the file, as far as that can be done without changing it."""
        if self.file is None or self.file in _STANDARD_OUTPUT:
            console.require_output()
            return OutputSink(console)
        path = check_output(self.file, is_overwrite=self.is_overwrite, source=source)
        is_document = self.format == "json" or not self.is_list
        return open_sink(path, is_document=is_document, is_overwrite=self.is_overwrite)

    def formatted(
        self, sink: Sink, *, is_chat: bool, thinks: Callable[[str], None] = lambda text: None
    ) -> Format:
        """Return the format that writes to `sink`; a chat model's prompt is not echoed."""
        if self.format == "jsonl":
            return JsonLines(sink)
        if self.format == "json":
            return Json(sink, is_list=self.is_list)
        terminator = "\0" if self.is_null_terminated else "\n"
        has_echo = not is_chat if self.has_echo is None else self.has_echo
        return Text(sink, has_echo=has_echo, terminator=terminator, thinks=thinks)


class Format(Protocol):
    """How one text becomes output."""

    is_streaming: bool
    """Whether unfinished texts are shown."""

    def watched(self, prompts: Iterable[str | Pending]) -> Iterable[str | Pending]:
        """Pass the prompts through, on their way to the model."""

    def show(self, piece: Piece) -> None:
        """Show a piece of the earliest text, if unfinished text is shown."""

    def finish(self, record: Record) -> None:
        """Write what is left of a finished text."""

    def end(self, *, is_complete: bool) -> None:
        """End the output; after an early end only finished texts remain."""


class Text:
    """Prompt and completion, streaming where somebody may be watching."""

    def __init__(
        self,
        sink: Sink,
        *,
        has_echo: bool,
        terminator: str = "\n",
        thinks: Callable[[str], None] = lambda text: None,
    ) -> None:
        """`thinks` is told a reasoning model's thinking as it comes."""
        self._sink = sink
        self._thinks = thinks
        self._logprobs: list[float] = []
        self._is_thinking = False
        self.is_streaming = sink.is_live
        self._has_echo = has_echo
        self._terminator = terminator
        self._prompts: deque[tuple[int, str]] = deque()
        self._has_begun = False
        self._last = ""

    def watched(self, prompts: Iterable[str | Pending]) -> Iterator[str | Pending]:
        """Pass prompts through, keeping each until it is echoed."""
        index = 0
        for prompt in prompts:
            if not isinstance(prompt, Pending):
                if self.is_streaming and self._has_echo:
                    self._prompts.append((index, prompt))
                index += 1
            yield prompt

    def show(self, piece: Piece) -> None:
        """Stream a piece, after the prompt where it is the first one."""
        if not self.is_streaming:
            return
        if not self._has_begun:
            self._has_begun = True
            self._write(self._prompt(piece.index), style=Style.PROMPT)
        if piece.thinking:
            self._thinks(piece.thinking)
            self._is_thinking = True
        elif self._is_thinking:
            self._thinks("\n")
            self._is_thinking = False
        # A character may take several tokens: its colour is that of the least likely one.
        self._logprobs += [token.logprob for token in piece.logprobs]
        style = style_of(min(self._logprobs)) if self._logprobs else Style.PLAIN
        if piece.text:
            self._logprobs.clear()
        self._write(piece.text, style=style)

    def finish(self, record: Record) -> None:
        """End the text's last line; to a file, write all of it."""
        if self.is_streaming:
            self._sink.write(self._ending(self._last))
            self._has_begun, self._last = False, ""
        else:
            text = record.prompt + record.completion if self._has_echo else record.completion
            self._sink.write(text + self._ending(text))

    def end(self, *, is_complete: bool) -> None:
        """End the line of a text that was cut off."""
        if self._has_begun and self._last != "\n":
            self._sink.write("\n")

    def _ending(self, text: str) -> str:
        return "" if self._terminator == "\n" and text.endswith("\n") else self._terminator

    def _prompt(self, index: int) -> str:
        if not self._has_echo:
            return ""
        while self._prompts[0][0] < index:
            self._prompts.popleft()
        return self._prompts[0][1]

    def _write(self, text: str, *, style: Style = Style.PLAIN) -> None:
        if text:
            self._sink.write(text, style=style)
            self._last = text[-1]


class JsonLines:
    """A record a line."""

    is_streaming = False

    def __init__(self, sink: Sink) -> None:
        self._sink = sink

    def watched(self, prompts: Iterable[str | Pending]) -> Iterable[str | Pending]:
        """A record brings its prompt."""
        return prompts

    def show(self, piece: Piece) -> None:
        """A record is written whole."""

    def finish(self, record: Record) -> None:
        """Write the record."""
        self._sink.write(to_json(record.to_dict()) + "\n")

    def end(self, *, is_complete: bool) -> None:
        """Nothing is left to do."""


class Json:
    """One document: a record, or a list of records."""

    is_streaming = False

    def __init__(self, sink: Sink, *, is_list: bool) -> None:
        self._sink = sink
        self._is_list = is_list
        self._has_begun = False

    def watched(self, prompts: Iterable[str | Pending]) -> Iterable[str | Pending]:
        """A record brings its prompt."""
        return prompts

    def show(self, piece: Piece) -> None:
        """A record is written whole."""

    def finish(self, record: Record) -> None:
        """Write the record, as an element where there is a list."""
        if self._is_list:
            lead = ",\n" if self._has_begun else "[\n"
            self._sink.write(lead + to_json(record.to_dict()))
        else:
            self._sink.write(to_json(record.to_dict(), indent=2) + "\n")
        self._has_begun = True

    def end(self, *, is_complete: bool) -> None:
        """Close the list, also after an early end."""
        if self._is_list and (self._has_begun or is_complete):
            self._sink.write("\n]\n" if self._has_begun else "[]\n")


class Results:
    """Pieces of many texts in; one format's output in input order out."""

    def __init__(self, form: Format, sink: Sink, *, samples: int) -> None:
        """`samples` is the number of texts of each prompt."""
        self._format = form
        self._sink = sink
        self._samples = samples
        self._next = 0
        self._waiting: dict[int, list[Piece]] = {}
        self.finished = 0
        """Texts that were written whole."""

    def add(self, piece: Piece) -> None:
        """Write a piece, or keep it until the texts before it are done."""
        place = piece.index * self._samples + piece.sample
        if place != self._next:
            self._waiting.setdefault(place, []).append(piece)
            return
        self._write(piece)
        while self._next in self._waiting:
            place = self._next
            for waiting in self._waiting.pop(place):
                self._write(waiting)
            if self._next == place:
                return

    def close(self, *, is_complete: bool) -> None:
        """End the output; after an early end the finished texts that still wait are written."""
        if not self._format.is_streaming:
            for _, pieces in sorted(self._waiting.items()):
                if (record := pieces[-1].record) is not None:
                    self._finish(record)
        self._format.end(is_complete=is_complete)
        self._sink.close(is_kept=is_complete or self.finished > 0)

    def _write(self, piece: Piece) -> None:
        self._format.show(piece)
        if piece.record is not None:
            self._finish(piece.record)

    def _finish(self, record: Record) -> None:
        self._format.finish(record)
        self.finished += 1
        self._next += 1


def to_json(row: dict[str, Any], *, indent: int | None = None) -> str:
    """Write JSON in UTF-8, readable, with line separators and controls escaped."""
    return json.dumps(row, ensure_ascii=False, indent=indent).translate(_ESCAPED)
