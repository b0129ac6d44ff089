"""Prompts from the command line, standard input or a file.

Without `--lines` there is one prompt: the arguments joined by one space, where `-` stands for
standard input; or all of standard input; or a file. One line end at the end of standard input or of
a file is not part of the prompt, so that `echo Once | hfgen generate` is `hfgen generate Once`.
With `--lines` every line is a prompt, with `-0` every part between NUL bytes; empty ones are
skipped and counted. Rows are read as they are needed, and neither endless nor slow input is a
problem.

Text is UTF-8 (a byte order mark at the beginning is dropped); anything else is refused with file
and line. Standard input is read when nothing else gives a prompt or where `-` is written, and
never otherwise.
"""

from __future__ import annotations

import itertools
import os
import queue
import shlex
import stat
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, TypeVar

from hfgen.cli.program.console import is_interactive_input, standard_input
from hfgen.errors import DataError, HfgenError, OptionConflict, UsageError
from hfgen.generation.records import NOT_YET, Pending
from hfgen.setting_names import shortened
from hfgen.text_io import BYTE_ORDER_MARK, STANDARD_INPUT, decoded, unreadable

Row = TypeVar("Row")
_CHUNK_BYTES = 1 << 16
_ROWS_AHEAD = 64
# How long to wait for a row that is on its way.
_PATIENCE_S = 0.001
_DATA_FILES = (".jsonl", ".ndjson", ".json", ".csv", ".tsv", ".parquet", ".arrow")


@dataclass(frozen=True)
class InputChoice:
    """What the command line says about prompts."""

    arguments: Sequence[str] = ()
    file: str | None = None
    has_rows: bool = False
    """Whether each line is a prompt (`--lines`)."""
    is_null_separated: bool = False
    """Whether rows end with a NUL byte (`-0`)."""
    command: str = "generate"
    """Whose command line it is, for hints."""

    @property
    def noun(self) -> str:
        """What the command calls its input."""
        return "prompt" if self.command == "generate" else "text"

    @property
    def reads_standard_input(self) -> bool:
        """Whether standard input is the prompt, or part of it."""
        is_named = self.file == "-" or "-" in self.arguments
        return is_named or (self.file is None and not self.arguments)

    @property
    def how_to_read_standard_input(self) -> str:
        """What to write for standard input, which is not read, to be read."""
        if self.file is not None:
            return f"the {self.noun} comes from {shortened(self.file)}; -f - reads it"
        text = shlex.join(self.arguments)
        if len(text) > 60:
            return "write - where it belongs in the prompt"
        return f"write - where it belongs in the prompt, as in: {text} -"

    def check(self) -> None:
        """Refuse what contradicts itself; nothing is read."""
        if self.file is not None and self.arguments:
            raise OptionConflict(
                f"a {self.noun} is given twice: as argument and with --file",
                hint="drop one of the two",
            )
        if self.has_rows and list(self.arguments) not in ([], ["-"]):
            flag = "-0" if self.is_null_separated else "--lines"
            raise OptionConflict(
                f"{flag} reads prompts from standard input or --file, not from arguments",
                hint=f"printf '%s\\n' TEXT TEXT | hfgen {self.command} {flag}",
            )
        if list(self.arguments).count("-") > 1:
            raise OptionConflict(
                "standard input (-) can be read once only", hint="write - in one place"
            )
        if not self.arguments and self.file is None and is_interactive_input():
            raise UsageError(
                f"no {self.noun}",
                hint=f'hfgen {self.command} "Once upon a time", or pipe a text into it',
            )


class Prompts:
    """The prompts of one run, in order.

    The first one is read at once, so that bad or empty input is refused before a model loads. A
    row that cannot be read ends the iteration; `finish` raises its error when the rows before it
    are done.
    """

    def __init__(self, choice: InputChoice) -> None:
        choice.check()
        self.is_single = not choice.has_rows
        self.skipped = 0
        self._failure: DataError | None = None
        if not choice.has_rows:
            self._rows: Iterator[str | Pending] = iter([_whole_text(choice)])
            return
        name, stream = _open(choice.file)
        separator = b"\0" if choice.is_null_separated else b"\n"
        rows = self._read_rows(stream, name, separator)
        first = next(rows, None)
        if self._failure is not None:
            raise self._failure
        if first is None:
            raise UsageError(f"{name} holds no {choice.noun}s", hint="write one on each line")
        waits = name == STANDARD_INPUT and not _is_regular(stream)
        self._rows = itertools.chain([first], arriving(rows) if waits else rows)

    def __iter__(self) -> Iterator[str | Pending]:
        return self._rows

    def name_row(self, error: HfgenError) -> None:
        """Say in an error's message which prompt it is about."""
        if error.prompt_index is not None:
            error.add_context(f"prompt {error.prompt_index + 1}: ")

    def finish(self) -> None:
        """Raise the error of the row that could not be read, if there is one."""
        if self._failure is not None:
            raise self._failure

    def _read_rows(self, stream: BinaryIO, name: str, separator: bytes) -> Iterator[str]:
        line = 1
        try:
            for number, row in enumerate(_split(stream, separator)):
                text = decoded(row if number else row.removeprefix(BYTE_ORDER_MARK), name, line)
                line += row.count(b"\n") if separator == b"\0" else 1
                if separator == b"\n":
                    text = text.removesuffix("\r")
                if text:
                    yield text
                else:
                    self.skipped += 1
        except OSError as error:
            self._failure = unreadable(name, error)
        except DataError as error:
            self._failure = error
        finally:
            if name != STANDARD_INPUT:
                stream.close()


def data_file(choice: InputChoice, *, has_rows: bool) -> str | None:
    """The file of rows that the texts come from, - for standard input; None for plain text.

    `has_rows` says so of standard input and of files whose name does not. Raises `OptionConflict`
    where arguments give texts besides.
    """
    name = choice.file or ""
    if not has_rows and not name.removesuffix(".gz").endswith(_DATA_FILES):
        return None
    if choice.arguments:
        raise OptionConflict("texts come from rows and from arguments", hint="drop one of the two")
    return choice.file or "-"


def each_text(choice: InputChoice) -> Iterator[str]:
    """The texts of a command that takes each argument as one; the first is read at once."""
    if len(choice.arguments) > 1 and "-" not in choice.arguments:
        choice.check()
        return iter(choice.arguments)
    prompts = Prompts(choice)

    def read() -> Iterator[str]:
        for prompt in prompts:
            if not isinstance(prompt, Pending):
                yield prompt
        prompts.finish()

    return read()


def arriving(rows: Iterator[Row]) -> Iterator[Row | Pending]:
    """Yield rows as they arrive, and `NOT_YET` when none is there: a slow producer delays nothing.

    A thread reads ahead by a bounded number of rows; it ends with the process.
    """
    arrived: queue.Queue[Row | None] = queue.Queue(maxsize=_ROWS_AHEAD)

    def read() -> None:
        for row in rows:
            arrived.put(row)
        arrived.put(None)

    threading.Thread(target=read, name="standard input", daemon=True).start()
    while True:
        try:
            row = arrived.get(timeout=_PATIENCE_S)
        except queue.Empty:
            yield NOT_YET
            continue
        if row is None:
            return
        yield row


def _is_regular(stream: BinaryIO) -> bool:
    try:
        return stat.S_ISREG(os.fstat(stream.fileno()).st_mode)
    except (OSError, ValueError):
        return False


def _whole_text(choice: InputChoice) -> str:
    if not choice.arguments:
        return _read_all(choice.file, choice.command)
    return " ".join(_read_all(None, choice.command) if a == "-" else a for a in choice.arguments)


def _read_all(file: str | None, command: str) -> str:
    name, stream = _open(file)
    try:
        data = stream.read()
    except OSError as error:
        raise unreadable(name, error) from error
    finally:
        if file is not None:
            stream.close()
    text = decoded(data.removeprefix(BYTE_ORDER_MARK), name, 1)
    text = text.removesuffix("\n").removesuffix("\r") if text.endswith("\n") else text
    if not text:
        hint = f'for text from nothing, write an empty prompt: hfgen {command} ""'
        if command != "generate":
            hint = f'give it a text: hfgen {command} "Once upon a time"'
        raise UsageError(f"{name} is empty", hint=hint)
    return text


def _open(file: str | None) -> tuple[str, BinaryIO]:
    if file is None or file == "-":
        return STANDARD_INPUT, standard_input()
    if not file:
        raise UsageError("--file needs a file name", hint="-f FILE, or -f - for standard input")
    try:
        return file, Path(file).open("rb")
    except (OSError, ValueError) as error:
        raise unreadable(file, error) from error


def _split(stream: BinaryIO, separator: bytes) -> Iterator[bytes]:
    """Yield the parts between separators as they arrive; the last one needs no separator."""
    if separator == b"\n":
        for line in stream:
            yield line.removesuffix(b"\n")
        return
    parts: list[bytes] = []
    # read1 returns what is there and does not wait for a full chunk.
    while chunk := stream.read1(_CHUNK_BYTES):  # type: ignore[attr-defined]
        head, *rest = chunk.split(separator)
        parts.append(head)
        for part in rest:
            yield b"".join(parts)
            parts = [part]
    if last := b"".join(parts):
        yield last
