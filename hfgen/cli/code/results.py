"""What `hfgen code` writes: the completion, the whole text, a diff, records, or the file."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hfgen.cli.flags.common import choice
from hfgen.cli.io.colours import Style
from hfgen.cli.io.outputs import to_json
from hfgen.cli.program.console import Console
from hfgen.coding.edit import diff, write_in_place
from hfgen.coding.languages import Language
from hfgen.coding.source import Gap
from hfgen.errors import HfgenError, OptionConflict

if TYPE_CHECKING:
    from hfgen.coding.complete import Completion

FORMATS = ("text", "json", "jsonl")


@dataclass(frozen=True)
class CodeOutput:
    """What the command line says about results."""

    format: str
    is_diff: bool
    is_in_place: bool
    has_echo: bool
    has_backup: bool
    has_logprobs: bool

    @property
    def streams(self) -> bool:
        """Whether the completion is written as it comes."""
        return self.format == "text" and not self.is_diff and not self.is_in_place

    def check(self, *, is_file: bool) -> None:
        """Refuse what contradicts itself."""
        choice("--format", self.format, FORMATS)
        if self.is_in_place and not is_file:
            raise OptionConflict(
                "--in-place needs a file, standard input is none", hint="hfgen code -i FILE"
            )
        if not self.has_backup and not self.is_in_place:
            raise OptionConflict("--no-backup has no effect without --in-place", hint="add -i")
        for flag, is_given in (("--diff", self.is_diff), ("--echo", self.has_echo)):
            if is_given and self.format != "text":
                raise OptionConflict(f"{flag} has no effect on records", hint=f"drop {flag}")
        if self.has_echo and (self.is_diff or self.is_in_place):
            other = "--diff" if self.is_diff else "--in-place"
            raise OptionConflict(f"--echo does not go with {other}", hint="drop one of the two")
        if self.has_logprobs and self.format == "text":
            raise OptionConflict(
                "--logprobs has no place in code", hint="add --format json or --format jsonl"
            )


class Writer:
    """Writes completions of one gap."""

    def __init__(
        self, console: Console, gap: Gap, language: Language, output: CodeOutput, model: str
    ) -> None:
        self._console = console
        self._gap = gap
        self._language = language
        self._output = output
        self._model = model
        self._has_begun = False
        self._last = ""

    def watch(self, text: str) -> None:
        """Stream a piece of the only completion."""
        if text and self._output.streams:
            self._begin()
            self._write(self._gap.inserted(text))

    def end_line(self) -> None:
        """End a line that was left open."""
        if self._last and self._last != "\n":
            self._write("\n")

    def finish(self, found: list[Completion]) -> None:
        """Write what has not been written yet; alternatives come with the likeliest first."""
        output = self._output
        if output.is_in_place:
            self._put_in(found[0])
        if output.format == "json":
            self._write(to_json_rows([self._record(n, one) for n, one in enumerate(found)]))
        elif output.format == "jsonl":
            for number, one in enumerate(found):
                self._write(to_json(self._record(number, one)) + "\n")
        elif output.is_diff:
            self._show_diff(found[0].text)
        elif output.streams:
            self._write_texts(found)

    def _write_texts(self, found: list[Completion]) -> None:
        if len(found) == 1:
            if not self._has_begun:
                self.watch(found[0].text)
            if self._output.has_echo:
                self._begin()
                whole = self._gap.completed(found[0].text)
                self._write(whole[len(self._gap.before + self._gap.inserted(found[0].text)) :])
            self.end_line()
            return
        for number, one in enumerate(found, start=1):
            self._write(self._heading(number, len(found), one), style=Style.PROMPT)
            is_whole = self._output.has_echo
            self._write(self._gap.completed(one.text) if is_whole else self._gap.inserted(one.text))
            self.end_line()

    def _heading(self, number: int, count: int, one: Completion) -> str:
        likelihood = "" if one.logprob is None else f", log-probability {one.logprob:.3f} a token"
        alike = f", {one.samples} samples" if one.samples > 1 else ""
        return f"--- {number} of {count}{likelihood}{alike}, seed {one.seed}\n"

    def _begin(self) -> None:
        if self._output.has_echo and not self._has_begun:
            self._write(self._gap.source.byte_order_mark + self._gap.before)
        self._has_begun = True

    def _write(self, text: str, *, style: Style = Style.PLAIN) -> None:
        self._console.write(text, style=style)
        self._last = text[-1:] or self._last

    def _show_diff(self, text: str) -> None:
        for line in diff(self._gap, text):
            self._write(line, style=_style(line))

    def _put_in(self, best: Completion) -> None:
        """Write the file; where that fails, the completion is not lost."""
        name = self._gap.source.name
        try:
            backup = write_in_place(self._gap, best.text, has_backup=self._output.has_backup)
        except HfgenError:
            if self._output.format == "text":
                self._write(self._gap.inserted(best.text))
                self.end_line()
            raise
        kept = "" if backup is None else f"; {backup} is the file as it was"
        self._console.detail(f"wrote {name}{kept}")

    def _record(self, number: int, one: Completion) -> dict[str, Any]:
        gap = self._gap
        record: dict[str, Any] = {
            "index": number,
            "model": self._model,
            "file": gap.source.name,
            "language": self._language.name,
            "line": gap.line,
            "column": gap.column,
            "completion": gap.inserted(one.text),
            "finish_reason": one.finish_reason,
            "seed": one.seed,
            "prompt_tokens": one.prompt_tokens,
            "completion_tokens": one.completion_tokens,
            "mean_logprob": one.logprob,
            "samples": one.samples,
        }
        if self._output.has_logprobs:
            record["logprobs"] = [token.to_dict() for token in one.logprobs]
        return record


def _style(line: str) -> Style:
    if line.startswith(("+++", "---")):
        return Style.PROMPT
    return {"+": Style.LIKELY, "-": Style.SURPRISING, "@": Style.LEARNED}.get(line[0], Style.PLAIN)


def to_json_rows(rows: list[dict[str, Any]]) -> str:
    """One document: a list of records."""
    return "[\n" + ",\n".join(to_json(row) for row in rows) + "\n]\n"
