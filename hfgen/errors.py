"""The exception tree: every failure that hfgen explains to its user, with exit codes and hints.

Owns the classes and nothing else; it imports only the standard library, so that any module may
use it without cost. A message says what is wrong, a hint what to type next; options stand in them
as `hfgen.mentions` marks them. They are spelled as Python's keyword arguments, and the hint stands
in the traceback as a note; the boundary in `hfgen.cli` has them spelled as flags, in the two lines
`error: …` and `hint: …`.
"""

from __future__ import annotations

from enum import IntEnum

from hfgen.mentions import PYTHON, Spelling, mentioned, spelled


class ExitCode(IntEnum):
    """Exit status of the `hfgen` program."""

    OK = 0
    FAILED = 1
    USAGE = 2
    ROWS_FAILED = 3
    INTERRUPTED = 130
    TERMINATED = 143


class HfgenError(Exception):
    """Root of every error that hfgen raises on purpose."""

    exit_code: ExitCode = ExitCode.FAILED

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__()
        self._message = message
        self._hint = hint
        self.spelling: Spelling | None = None
        """How its reader writes options; None is as in Python."""
        self.prompt_index: int | None = None
        """Which prompt of a run it is about, from 0, where it is about one."""
        self._update()

    @property
    def message(self) -> str:
        """What is wrong."""
        return spelled(self._message, self.spelling or PYTHON)

    @property
    def hint(self) -> str | None:
        """What to do next; None when there is nothing to add."""
        return None if self._hint is None else spelled(self._hint, self.spelling or PYTHON)

    @hint.setter
    def hint(self, text: str | None) -> None:
        self._hint = text
        self._update()

    @property
    def options(self) -> tuple[str, ...]:
        """The options that the message names, in order."""
        return mentioned(self._message)

    def spell(self, spelling: Spelling) -> None:
        """Speak to a reader who writes options so."""
        self.spelling = spelling
        self._update()

    def add_context(self, before: str = "", after: str = "") -> None:
        """Put words before and behind the message."""
        self._message = f"{before}{self._message}{after}"
        self._update()

    def _update(self) -> None:
        """Have tracebacks show message and hint."""
        self.args = (self.message,)
        notes = [note for note in getattr(self, "__notes__", ()) if not note.startswith(_HINT)]
        self.__notes__ = notes if self.hint is None else [f"{_HINT}{self.hint}", *notes]


_HINT = "hint: "


class UsageError(HfgenError):
    """The command line or the call is wrong; nothing was loaded or computed."""

    exit_code = ExitCode.USAGE


class InvalidOption(UsageError):
    """An option has a value outside its range, or contradicts another option."""

    def __init__(self, name: str, value: object, allowed: str, *, hint: str | None = None) -> None:
        shown = repr(value)
        if len(shown) > 60:
            shown = shown[:57] + "…" + shown[-1]
        self.name = name
        self.value = shown
        self.allowed = allowed
        super().__init__(f": must be {allowed}", hint=hint)

    @property
    def message(self) -> str:
        """The option as it was given, and what is allowed."""
        return (self.spelling or PYTHON).given(self.name, self.value) + super().message

    @property
    def options(self) -> tuple[str, ...]:
        """The option."""
        return (self.name,)


class UnknownOption(UsageError):
    """No option has that name, or hfgen refuses the Transformers field of that name."""


class OptionConflict(UsageError):
    """Two options that are valid alone contradict each other."""


class ConfigError(UsageError):
    """A setting in the config file or the environment is wrong; the message says where."""


class DataError(HfgenError):
    """Input data cannot be used; the message begins with `file:line:` where there is one."""


class RowsFailed(HfgenError):
    """A batch is done, but some of its rows have an error in the place of a text."""

    exit_code = ExitCode.ROWS_FAILED


class OutputExists(HfgenError):
    """The output file already exists and may not be overwritten."""


class OutputError(HfgenError):
    """Results could not be written (disk full, no permission, …)."""


class ModelError(HfgenError):
    """Something is wrong with the model that was asked for."""


class ModelNotFound(ModelError):
    """No model of that name on this machine, nor on the Hub as far as could be found out."""


class ModelDamaged(ModelError):
    """The model's files are there but incomplete or corrupt."""


class ModelUnsupported(ModelError):
    """The model is intact, but hfgen cannot run it (wrong architecture, remote code, …)."""


class TokenizerMissing(ModelError):
    """The model has no tokenizer files."""


class HubUnreachable(ModelError):
    """The Hugging Face Hub did not answer, and the model is not on this machine."""


class HubRefused(ModelError):
    """The Hub answered, but refused (gated, unauthorised, rate limit, server error)."""


class DeviceUnavailable(HfgenError):
    """The device that was asked for is not there."""


class OutOfMemory(HfgenError):
    """Not enough memory for the model or for the batch."""


class ContextOverflow(HfgenError):
    """Prompt plus requested length do not fit into the model's window."""


class GenerationFailed(HfgenError):
    """The model produced something from which no token can be chosen (NaN, all options banned)."""


class MissingExtra(HfgenError):
    """An optional dependency is not installed."""

    def __init__(self, feature: str, extra: str) -> None:
        super().__init__(
            f"{feature} needs packages that are not installed",
            hint=f"pip install 'hfgen[{extra}]'",
        )


def is_out_of_memory(error: BaseException) -> bool:
    """Whether any library's exception tells of a lack of memory."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    words = ("out of memory", "can't allocate memory")
    return isinstance(error, RuntimeError) and any(word in str(error) for word in words)
