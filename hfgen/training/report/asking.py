"""`Asking`: how the result of a run is prompted, which is as its data were written."""

from __future__ import annotations

import shlex
import unicodedata
from dataclasses import dataclass, field

from hfgen.training.data.examples import Example
from hfgen.training.report.markdown import visible

_GOOD_LENGTH, _LONGEST = 100, 300


@dataclass(frozen=True)
class Asking:
    """How a model that was trained on these rows is prompted."""

    prompt: str | None = None
    """A prompt of the data, as a user types it; None for texts, and where all are too long."""
    system: str | None = None
    """The system message that comes with it."""
    form: str | None = None
    """A prompt's form where a template writes it, in its notation: `{text}\\nLabel:`."""
    is_chat: bool = False
    """Whether it goes through the model's chat template."""
    is_raw: bool = False
    """Whether the model has a chat template that its training left out."""
    is_label: bool = False
    """Whether answers are labels or as short: only the most likely one is of use."""

    def command(self, folder: str, *, otherwise: str = '"…"') -> str:
        """The command that generates from the model in this folder, quoted for a shell.

        `otherwise` stands for the prompt where there is none.
        """
        words = ["hfgen", "generate", "-m", folder]
        words += ["--raw"] * self.is_raw + ["--greedy"] * self.is_label
        if self.prompt is None:
            return f"{shlex.join(words)} {otherwise}"
        words += [] if self.system is None else ["--system", self.system]
        return shlex.join([*words, *["--"] * self.prompt.startswith("-"), self.prompt])

    @property
    def description(self) -> str | None:
        """What prompts must be like, in a line; None where any text will do."""
        parts = [f"'{self.form}'"] if self.form else []
        parts += ["through the model's chat template"] * self.is_chat
        return ", ".join(parts) or None


@dataclass
class Survey:
    """What is noticed about examples on their way into the training data."""

    prompt: str | None = None
    """The first short one, else the shortest."""
    system: str | None = None
    glued: int = 0
    """Completions that run into their prompts: no white space on either side."""
    glued_example: str = ""
    labels: set[str] = field(default_factory=set)
    """The different answers of a classification set."""

    def take(self, example: Example, *, is_joined: bool, is_label: bool) -> None:
        """Look at an example; `is_joined` says that no template stands between its two parts."""
        if (question := example.question) is not None:
            self._offer(*question)
        prompt, completion = example.prompt or "", example.completion or ""
        if is_label:
            self.labels.add(completion.strip())
        if is_joined and prompt and completion and _are_glued(prompt[-1], completion[0]):
            self.glued += 1
            self.glued_example = self.glued_example or _at_the_seam(prompt, completion)

    def _offer(self, system: str | None, prompt: str) -> None:
        is_good = self.prompt is not None and len(self.prompt) <= _GOOD_LENGTH
        is_usable = prompt.strip() not in ("", "-") and visible(prompt) == prompt
        if is_good or not is_usable or len(prompt) > _LONGEST or len(system or "") > _LONGEST:
            return
        if self.prompt is None or len(prompt) < len(self.prompt):
            self.prompt, self.system = prompt, system


def _are_glued(last: str, first: str) -> bool:
    """Whether nothing keeps the two apart; scripts without spaces need nothing."""
    wide = [unicodedata.east_asian_width(character) in "WF" for character in (last, first)]
    return not (last.isspace() or first.isspace() or any(wide))


def _at_the_seam(prompt: str, completion: str) -> str:
    head, tail = prompt.splitlines()[-1], completion.splitlines()[0]
    head = head if len(head) <= 20 else f"…{head[-19:]}"
    return f"{head}⟦{tail if len(tail) <= 20 else tail[:19] + '…'}⟧"
