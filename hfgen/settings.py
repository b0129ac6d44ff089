"""Settings that outlive a command line, and which of them counts.

    flag > --preset > HFGEN_… variable > config file > the model's generation_config.json > defaults

Each level is checked as a whole: a wrong value or a contradiction within one level is an error
that says where it stands. Between levels the stronger one decides (`GenerationOptions.over`), so
that a flag never has to argue with a file. The last two levels are those of
`GenerationOptions.resolve`. A preset is a set of generation options under a name; it stands just
below the flags, because it is named on the command line.

Only the command line reads these. `hfgen.load` and `LanguageModel` take what their caller passes
and nothing else, so that a script means the same on every machine. No torch, no Typer.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from hfgen.config_file import FILE_VARIABLE, FOLDER_VARIABLE, Document, read_document
from hfgen.errors import ConfigError, InvalidOption, OptionConflict, UsageError
from hfgen.generation.options.options import SPECS, GenerationOptions
from hfgen.generation.options.presets import PRESETS as PRESETS
from hfgen.generation.options.specs import unescaped
from hfgen.setting_names import (
    OPTIONS,
    REFUSED_SETTINGS,
    SETTINGS,
    VARIABLE_PREFIX,
    FileSpelling,
    VariableSpelling,
    explain_unknown,
    shortened,
)
from hfgen.toml_text import Key

Source = Literal["preset", "environment", "file", "default"]


@dataclass(frozen=True)
class Origin:
    """Where a value stands."""

    source: Source
    find: Callable[[], str]
    """Finds the place's name; a line of a file takes a moment."""

    @property
    def place(self) -> str:
        """The variable, `file:line`, or the preset's name."""
        return self.find()

    def typed(self, name: str, value: Any) -> str:
        """The setting as it is written there."""
        if self.source == "environment":
            return f"{self.place}={shortened(str(value))}"
        return f"{self.place}: {name} = {shortened(repr(value))}"


@dataclass(frozen=True)
class Level:
    """What one level sets, checked."""

    options: GenerationOptions = field(default_factory=GenerationOptions)
    others: Mapping[str, Any] = field(default_factory=dict)
    """Settings that are no generation options."""
    origins: Mapping[str, Origin] = field(default_factory=dict)


@dataclass(frozen=True)
class Merged:
    """What counts, of all levels."""

    options: GenerationOptions
    others: Mapping[str, Any]
    origins: Mapping[str, Origin]
    """Of every value that is no flag's."""


def merge(flags: GenerationOptions, levels: Sequence[Level]) -> Merged:
    """Merge the levels, strongest first, under the flags."""
    options = flags
    others: dict[str, Any] = {}
    origins: dict[str, Origin] = {}
    for level in levels:
        known = options.given()
        options = options.over(level.options)
        origins |= {n: level.origins[n] for n in options.given() if n not in known}
        for name in level.others.keys() - others.keys():
            others[name], origins[name] = level.others[name], level.origins[name]
    return Merged(options, others, origins)


def read_levels(preset: str | None = None) -> list[Level]:
    """Read the preset of that name, the environment and the config file, strongest first.

    Raises `ConfigError` naming variable or `file:line`, and `UsageError` for an unknown preset.
    """
    document = read_document()
    levels = [read_environment(), check_document(document)]
    return levels if preset is None else [read_preset(preset, document), *levels]


def read_environment() -> Level:
    """Read the `HFGEN_…` variables; an empty one is not set."""
    _check_variable_names()
    texts = {
        setting.name: text
        for setting in SETTINGS.values()
        if setting.variable and (text := os.environ.get(setting.variable))
    }
    return _level("environment", texts, lambda name: str(SETTINGS[name].variable))


def check_document(document: Document) -> Level:
    """Check all of a config file, its presets included; return what it sets.

    Raises `ConfigError` with `file:line`.
    """
    values = dict(document.values)
    presets = values.pop("presets", {})
    if not isinstance(presets, dict):
        raise _no_table(document, ("presets",), "NAME")
    for name in presets:
        _own_preset(name, document)
    values = _typed(document, (), values)
    return _level("file", values, lambda name: document.place((name,)))


def preset_names(document: Document) -> list[str]:
    """The names of all presets, the user's own first."""
    own = document.values.get("presets")
    return [*dict.fromkeys([*(own if isinstance(own, dict) else ()), *PRESETS])]


def read_preset(name: str, document: Document) -> Level:
    """Return what a preset sets; the user's own overrides a built-in one of its name."""
    if name in document.values.get("presets", {}):
        return _own_preset(name, document)
    if name in PRESETS:
        return _level("preset", PRESETS[name].values, lambda _: f"preset {name}")
    names = preset_names(document)
    near = difflib.get_close_matches(name, names, n=1)
    hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(names)}"
    raise UsageError(f"--preset {shortened(name)}: there is no preset of that name", hint=hint)


def _own_preset(name: str, document: Document) -> Level:
    values = document.values["presets"][name]
    if not isinstance(values, dict):
        raise _no_table(document, ("presets", name), name)
    values = _typed(document, ("presets", name), values)
    return _level("preset", values, lambda option: document.place(("presets", name, option)))


def _typed(document: Document, table: Key, values: Mapping[str, Any]) -> dict[str, Any]:
    """The values of a table, escapes read where TOML leaves them alone."""
    return {
        name: document.typed((*table, name), unescaped)
        if name in OPTIONS and OPTIONS[name].spec.has_escapes
        else value
        for name, value in values.items()
    }


def _no_table(document: Document, key: tuple[str, ...], name: str) -> ConfigError:
    return ConfigError(
        f"{document.place(key)}: {'.'.join(key)} is no table",
        hint=f"write [presets.{name}], and its options below",
    )


def _level(source: Source, values: Mapping[str, Any], place_of: Callable[[str], str]) -> Level:
    """Check the settings of one level, each alone and all together."""
    names = OPTIONS if source == "preset" else SETTINGS
    found: dict[str, Any] = {}
    for name, value in values.items():
        if name not in names:
            message, hint = explain_unknown(name, names)
            raise ConfigError(f"{place_of(name)}: {message}", hint=hint)
        setting = names[name]
        try:
            is_text = source == "environment"
            found[name] = setting.read_word(value) if is_text else setting.read_typed(value)
        except InvalidOption as error:
            raise _wrong(source, place_of(name), value, error) from error
    try:
        options = GenerationOptions(**{n: v for n, v in found.items() if n in SPECS})
    except OptionConflict as error:
        raise _conflict(source, list(found), place_of, error) from error
    origins = {name: _origin(source, place_of, name) for name in found}
    return Level(options, {n: v for n, v in found.items() if n not in SPECS}, origins)


def _origin(source: Source, place_of: Callable[[str], str], name: str) -> Origin:
    return Origin(source, lambda: place_of(name))


def _wrong(source: Source, place: str, value: Any, error: InvalidOption) -> ConfigError:
    if source == "environment":
        return ConfigError(
            f"{place}={shortened(str(value))}: must be {error.allowed}",
            hint=error.hint or f"give {place} another value, or unset it",
        )
    return ConfigError(f"{place}: {error.message}", hint=error.hint or "hfgen config edit")


def _conflict(
    source: Source, names: list[str], place_of: Callable[[str], str], error: OptionConflict
) -> ConfigError:
    """The contradiction in the words of its level: variables, or a line and names."""
    if source == "environment":
        error.spell(VariableSpelling())
        return ConfigError(error.message, hint=error.hint)
    error.spell(FileSpelling())
    named = [name for name in error.options if name in names]
    return ConfigError(
        f"{place_of(named[0] if named else names[0])}: {error.message}", hint=error.hint
    )


def _check_variable_names() -> None:
    """Refuse a variable that is meant for a setting and sets none; others may be anyone's."""
    known = {setting.variable for setting in SETTINGS.values()} | {FILE_VARIABLE, FOLDER_VARIABLE}
    for variable in sorted(os.environ):
        name = variable.removeprefix(VARIABLE_PREFIX).lower()
        if not variable.startswith(VARIABLE_PREFIX) or variable in known:
            continue
        if name in SETTINGS:
            raise ConfigError(f"{variable} is not read: {name} is no single word or number",
                              hint=f"hfgen config set {name} VALUE")  # fmt: skip
        if name in REFUSED_SETTINGS:
            raise ConfigError(f"{variable} is not read", hint=REFUSED_SETTINGS[name])
        near = difflib.get_close_matches(name, SETTINGS, n=1, cutoff=0.85)
        if near and (right := SETTINGS[near[0]].variable):
            raise ConfigError(f"{variable} is no setting", hint=f"did you mean {right}?")
