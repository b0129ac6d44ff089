"""The table of settings: what config file and environment may hold, and how values are read.

Every generation option is a setting, and so is what chooses and runs the model. A setting that is
one word or number also has a variable: `HFGEN_` and its name in capitals. Nothing here reads a
file or the environment; no torch.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hfgen.errors import InvalidOption, UsageError
from hfgen.generation.options.config_fields import REFUSED
from hfgen.generation.options.options import SPECS, parse_text
from hfgen.generation.options.specs import Spec, checked
from hfgen.mentions import PythonSpelling
from hfgen.models.checkpoint.devices import check_device_name, check_dtype_name
from hfgen.models.naming.catalogue import DEFAULT_ALIAS
from hfgen.toml_text import Key

VARIABLE_PREFIX = "HFGEN_"


@dataclass(frozen=True)
class Setting:
    """One setting."""

    name: str
    spec: Spec
    check: Callable[[str], Any] | None = None
    """A check of its own, besides the one of its spec."""

    @property
    def variable(self) -> str | None:
        """The environment variable that sets it, if one does."""
        is_word = self.spec.kind in ("int", "float", "bool", "choice", "str")
        return VARIABLE_PREFIX + self.name.upper() if is_word and self.spec.has_flag else None

    @property
    def is_list(self) -> bool:
        """Whether it takes several texts."""
        return self.spec.kind in ("strs", "ints", "biases")

    def read(self, value: Any) -> Any:
        """Return the value in its own type; raises `InvalidOption`."""
        value = checked(self.name, self.spec, value)
        return value if self.check is None else self.check(value)

    def read_word(self, text: str) -> Any:
        """Read the text of a variable or of one argument; raises `InvalidOption`."""
        if self.spec.kind == "bool" and text in ("0", "1"):
            return text == "1"
        return self.read(self.spec.typed(text))

    def read_typed(self, value: Any) -> Any:
        """Read a value that has a type; a number in quotes is refused, as `InvalidOption`."""
        is_number = self.spec.kind in ("int", "float", "bool")
        if is_number and isinstance(value, str) and value not in self.spec.words:
            raise InvalidOption(self.name, value, self.spec.allowed, hint="write it without quotes")
        return self.read(value)


# Names that are no settings, and why.
REFUSED_SETTINGS = {
    "trust_remote_code": "ask for it each time: --trust-remote-code",
    "preset": "name it each time, --preset NAME, or put its values into the config file",
    "logprobs": "ask for it each time: --logprobs N",
}

OPTIONS: dict[str, Setting] = {
    name: Setting(name, spec) for name, spec in SPECS.items() if name not in REFUSED_SETTINGS
}
"""The generation options; a preset holds these and nothing else."""

SETTINGS: dict[str, Setting] = {
    setting.name: setting
    for setting in (
        Setting("model", Spec("str", "The model.", default=DEFAULT_ALIAS)),
        Setting("device", Spec("str", "Where it runs.", default="auto"), check_device_name),
        Setting("dtype", Spec("str", "Its numbers.", default="auto"), check_dtype_name),
        Setting("offline", Spec("bool", "Never ask the Hub.", default=False)),
        Setting("slots", Spec("int", "Texts side by side.", default=16, low=1, high=1024)),
        *OPTIONS.values(),
    )
}

RUN_SETTINGS = SETTINGS.keys() - OPTIONS.keys()
"""What chooses and runs the model: parameters of commands, not options of generation."""


class FileSpelling(PythonSpelling):
    """Options as a config file has them."""

    def setting(self, name: str, value: str | float | bool) -> str:
        """A line of the file."""
        return f"{name} = {json.dumps(value, ensure_ascii=False)}"


class VariableSpelling(PythonSpelling):
    """Options as the environment has them; those without a variable by name."""

    def option(self, name: str) -> str:
        """The variable."""
        return (OPTIONS[name].variable if name in OPTIONS else None) or name

    def setting(self, name: str, value: str | float | bool) -> str:
        """The variable and its value."""
        shown = str(value).lower() if isinstance(value, bool) else value
        return f"{self.option(name)}={shown}"


def key_of(name: str) -> Key:
    """Return the key that a user means by a name: `top-p`, `presets.mine.top_p`.

    Raises `UsageError` for what is no setting, with the nearest name.
    """
    *tables, last = name.split(".")
    last = last.replace("-", "_")
    if tables and (len(tables) != 2 or tables[0] != "presets" or not tables[1]):
        raise UsageError(
            f"there is no setting {name!r}", hint="name one as in top_p, or presets.NAME.top_p"
        )
    names = OPTIONS if tables else SETTINGS
    if last not in names:
        message, hint = explain_unknown(last, names)
        raise UsageError(message, hint=hint)
    return (*tables, last)


def explain_unknown(name: str, names: Mapping[str, Setting]) -> tuple[str, str]:
    """Say why a name is none of the settings `names`, and what to do."""
    if name in REFUSED_SETTINGS:
        return f"{name} is no setting", REFUSED_SETTINGS[name]
    if name in REFUSED:
        return f"{name} cannot be set: {REFUSED[name]}", f"drop {name}"
    if name in SETTINGS:
        return f"{name} is no part of a preset", "a preset holds generation options only"
    near = difflib.get_close_matches(name.replace("-", "_"), names, n=1)
    hint = f"did you mean {near[0]}?" if near else "hfgen config list --all shows the names"
    return f"there is no setting {name!r}", hint


def read_arguments(name: str, texts: Sequence[str]) -> Any:
    """Read a setting's value from arguments of a command line; several make a list.

    Raises `UsageError` with name, value and allowed range.
    """
    setting = SETTINGS[name]
    if len(texts) != 1 and not setting.is_list:
        raise UsageError(f"{name} takes one value, not {len(texts)}", hint="quote it")
    try:
        if not setting.is_list:
            return setting.read_word(texts[0])
        if len(texts) == 1 and texts[0].startswith("["):
            return setting.read(json.loads(texts[0]))
        return setting.read(parse_text(name, setting.spec.typed(list(texts))))
    except (InvalidOption, ValueError, RecursionError) as error:
        allowed = error.allowed if isinstance(error, InvalidOption) else setting.spec.allowed
        raise UsageError(
            f"{name} {shortened(' '.join(texts))}: must be {allowed}",
            hint=getattr(error, "hint", None) or f"hfgen config get {name} shows what it is now",
        ) from error


def shortened(text: str) -> str:
    """The text as an error shows it: not endless, and visible when it is empty."""
    if not text:
        return '""'
    return text if len(text) <= 60 else text[:59] + "…"
