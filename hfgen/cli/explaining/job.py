"""What the commands of `hfgen explain` have in common: options, checks, and what is written."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from hfgen.atomic import write_whole
from hfgen.cli.explaining.text import Piece
from hfgen.cli.flags import common as flags
from hfgen.cli.io.inputs import InputChoice, Prompts
from hfgen.cli.io.unread import noticing_unread_input
from hfgen.cli.program.console import Console
from hfgen.cli.program.loading import loaded
from hfgen.errors import OutputError, OutputExists, UsageError
from hfgen.models.checkpoint.load_options import LoadOptions

Text = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="TEXT",
        help="The text; several are joined by a space, - is standard input.",
        show_default=False,
    ),
]
File = Annotated[
    str | None, typer.Option("-f", "--file", metavar="FILE", help="Read the text from a file.")
]
Output = Annotated[
    str | None,
    typer.Option(
        "-o",
        "--output",
        metavar="FILE",
        help="Write a page (.html, nothing else needed to open it) or a picture (.png, .svg).",
    ),
]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Let --output replace a file.")]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON document, its axes named.")]
Layers = Annotated[
    str | None, typer.Option(metavar="N,…", help="These layers only, as 0,3 or 2-5.")
]
Heads = Annotated[str | None, typer.Option(metavar="N,…", help="These heads only.")]
_ENDINGS = (".html", ".png", ".svg")


@dataclass(frozen=True)
class Explaining:
    """A checked command line."""

    console: Console
    which: LoadOptions
    output: str | None = None
    overwrite: bool = False
    is_json: bool = False

    def check(self) -> None:
        """Refuse what is misspelt or cannot be written."""
        if self.output is not None:
            path = Path(self.output)
            if path.suffix not in _ENDINGS:
                raise UsageError(
                    f"--output {flags.shortened(self.output)}: must end with .html, .png or .svg",
                    hint="name a file such as attention.html",
                )
            if path.exists() and not self.overwrite:
                raise OutputExists(f"{path} already exists", hint="add --overwrite to replace it")
        self.console.require_output()

    def run(
        self,
        kind: str,
        compute: Callable[[Any], Any],
        as_text: Callable[[Any], list[Piece]],
        read: InputChoice | None = None,
    ) -> None:
        """Load the model, compute, and write in the form that is asked for."""
        self.check()
        console, which = self.console, self.which
        is_read = read is None or read.reads_standard_input
        instead = "" if read is None else read.how_to_read_standard_input
        with noticing_unread_input(console, is_read=is_read, instead=instead), console.isolated():
            lm = loaded(console, which)
            console.status("computing …")
            found = compute(lm)
            if left_out := getattr(found, "left_out", 0):
                console.notice(
                    f"the text is cut to the context window: {left_out:,} tokens left out"
                )
            document = _document(kind, lm.name, found)
            if self.output is not None:
                self._write(document)
                console.detail(f"wrote {self.output}")
        if self.is_json:
            console.write(json.dumps(document, ensure_ascii=False) + "\n")
        elif self.output is None:
            for piece, style in as_text(found):
                console.write(piece, style=style)

    def _write(self, document: dict[str, Any]) -> None:
        assert self.output is not None
        path = Path(self.output)
        if path.suffix == ".html":
            from hfgen.cli.explaining.page import page

            data = page(document).encode()
        else:
            from hfgen.cli.explaining.picture import picture

            data = picture(document, path.suffix[1:])
        try:
            write_whole(path, data)
        except OSError as error:
            raise OutputError(
                f"cannot write {path}: {error.strerror}", hint="check the folder"
            ) from error


def _document(kind: str, model: str, found: Any) -> dict[str, Any]:
    if isinstance(found, list):
        name = "tokens" if kind == "tokens" else kind
        return {"kind": kind, "model": model, name: [one.to_dict() for one in found]}
    return {"kind": kind, "model": model, **found.to_dict()}


def read_text(text: list[str] | None, file: str | None) -> tuple[str, InputChoice]:
    """The text that the command line names, and how it does."""
    source = InputChoice(text or (), file, command="explain tokens")
    (prompt,) = [one for one in Prompts(source) if isinstance(one, str)]
    return prompt, source


def numbers(flag: str, given: str | None) -> list[int] | None:
    """Read `0,3` or `2-5`. Raises `UsageError` with the flag's name."""
    if given is None:
        return None
    found: list[int] = []
    for part in given.split(","):
        first, dash, last = part.strip().partition("-")
        if not first.isdigit() or (dash and not last.isdigit()):
            raise UsageError(
                f"{flag} {flags.shortened(given)}: must be numbers as 0,3 or 2-5",
                hint=f"leave {flag} out for all",
            )
        found += range(int(first), int(last or first) + 1)
    return found
