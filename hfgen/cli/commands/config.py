"""`hfgen config`: look at the settings and change the config file.

Each change is checked before it is written; a file that would be wrong is not put in place.
"""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer

from hfgen.claims import changing
from hfgen.cli.io.config_editor import edit_file
from hfgen.cli.program import completion
from hfgen.cli.program.commands import command_group
from hfgen.cli.program.console import Console
from hfgen.config_file import config_path, read_document
from hfgen.errors import HfgenError
from hfgen.generation.options.options import GenerationOptions
from hfgen.setting_names import OPTIONS, SETTINGS, key_of, read_arguments
from hfgen.settings import (
    PRESETS,
    Level,
    check_document,
    merge,
    preset_names,
    read_environment,
    read_levels,
    read_preset,
)
from hfgen.toml_text import Key, dotted, to_toml

_Name = Annotated[
    str,
    typer.Argument(
        metavar="NAME",
        help="As in top_p, or presets.mine.top_p.",
        show_default=False,
        autocompletion=completion.settings,
    ),
]
_Json = Annotated[bool, typer.Option("--json", help="As JSON.")]

Row = dict[str, Any]
"""name, value, source (environment, file, preset, default), place (None for a default)."""


def list_settings(
    console: Console,
    everything: Annotated[
        bool, typer.Option("--all", help="Also settings that have no value.")
    ] = False,
    as_json: _Json = False,
) -> None:
    """Show the settings that count, and where each comes from.

    Flags override them all; a model's generation_config.json overrides hfgen's defaults.
    """
    rows = [*_settings(), *_presets()]
    if everything:
        given = {row["name"] for row in rows}
        rows += [_row(name, None, None, None) for name in SETTINGS if name not in given]
    if as_json:
        console.write(json.dumps(rows, ensure_ascii=False, indent=2) + "\n")
        return
    cells = [
        (row["name"], _text(row["value"]), row["place"] or row["source"] or "") for row in rows
    ]
    name_width = max(len(name) for name, _, _ in cells)
    value_width = min(24, max(len(value) for _, value, _ in cells))
    for name, value, place in cells:
        line = f"{name:<{name_width}}  {value:<{value_width}}  {place}"
        console.write(line.rstrip() + "\n")


def get(
    console: Console,
    name: _Name,
    as_json: _Json = False,
) -> None:
    """Print one setting's value; on a terminal, or with -v, also where it comes from.

    hfgen generate --temperature "$(hfgen config get temperature)" …
    """
    wanted = dotted(key_of(name))
    rows = _presets() if wanted.startswith("presets.") else _settings()
    row = next((row for row in rows if row["name"] == wanted), None)
    if row is None:
        raise HfgenError(f"{wanted} is not set", hint=f"hfgen config set {wanted} VALUE")
    if as_json:
        console.write(json.dumps(row, ensure_ascii=False) + "\n")
        return
    value = row["value"]
    console.write((value if isinstance(value, str) else _text(value)) + "\n")
    console.detail(f"{wanted} comes from {row['place'] or 'the defaults'}")


def set_setting(
    console: Console,
    name: _Name,
    values: Annotated[
        list[str],
        typer.Argument(
            metavar="VALUE",
            help="Several make a list.",
            show_default=False,
            autocompletion=completion.setting_values,
        ),
    ],
) -> None:
    """Set a value in the config file.

    hfgen config set model distilgpt2
    hfgen config set stop_strings END STOP
    hfgen config set presets.poem.temperature 1.1
    """
    key = key_of(name)
    value = read_arguments(key[-1], values)
    with changing(config_path()):
        changed = read_document(is_new=True).replaced(key, value)
        check_document(changed)
        changed.write()
    console.detail(f"{dotted(key)} = {to_toml(value)} in {changed.path}")
    _tell_of_variable(console, key)


def unset(
    console: Console,
    name: Annotated[
        str,
        typer.Argument(
            metavar="NAME",
            help="As in top_p, or presets.mine for a whole preset.",
            autocompletion=completion.settings,
        ),
    ],
) -> None:
    """Remove a value, or a preset, from the config file."""
    with changing(config_path()):
        document = read_document(is_new=True)
        key = tuple(name.split("."))
        changed = document.removed(key)
        if changed is None and not (len(key) == 2 and key[0] == "presets"):
            # A wrong name in the file can be removed as it stands there; any other has to be right.
            key = key_of(name)
            changed = document.removed(key)
        if changed is None:
            raise HfgenError(f"{name} is not in {document.path}", hint="hfgen config list")
        changed.write()
    console.detail(f"{dotted(key)} removed from {changed.path}")
    _tell_of_variable(console, key)


def path(console: Console) -> None:
    """Print the config file's path, whether it is there or not."""
    console.write(f"{config_path()}\n")


def edit(console: Console) -> None:
    """Open the config file in $VISUAL or $EDITOR, and check it before it counts."""
    edit_file(console, config_path())


_HELP = (
    "Show and change the settings.\n\n"
    "Order of precedence: a flag, --preset, an HFGEN_… variable (HFGEN_MODEL, HFGEN_TOP_P "
    "and so on), the config file, the model's generation_config.json, hfgen's default. "
    "HFGEN_CONFIG names another file, and HFGEN_CONFIG=/dev/null none.\n\n"
    "Built-in presets: {presets}. Your own are tables of the file that begin with presets."
)

app = command_group(
    _HELP.format(presets="; ".join(f"{n} ({p.reason})" for n, p in PRESETS.items())),
    {
        "list": list_settings,
        "get": get,
        "set": set_setting,
        "unset": unset,
        "path": path,
        "edit": edit,
    },
)


def _settings() -> list[Row]:
    """The settings in force when no flag is given, in the order of the table."""
    merged = merge(GenerationOptions(), read_levels())
    defaults = {name: setting.spec.default for name, setting in SETTINGS.items()
                if name not in OPTIONS}  # fmt: skip
    values = (
        defaults | merged.options.resolve().given() | merged.options.given() | dict(merged.others)
    )
    rows = []
    for name in SETTINGS:
        if name in values:
            origin = merged.origins.get(name)
            source, place = (origin.source, origin.place) if origin else ("default", None)
            rows.append(_row(name, values[name], source, place))
    return rows


def _presets() -> list[Row]:
    document = read_document()
    rows = []
    for preset in preset_names(document):
        level = read_preset(preset, document)
        rows += [
            _row(f"presets.{preset}.{name}", value, "preset", _preset_place(level, name, preset))
            for name, value in level.options.given().items()
        ]
    return rows


def _preset_place(level: Level, name: str, preset: str) -> str:
    place = level.origins[name].place
    return "built in" if preset in PRESETS and place == f"preset {preset}" else place


def _row(name: str, value: Any, source: str | None, place: str | None) -> Row:
    return {"name": name, "value": value, "source": source, "place": place}


def _text(value: Any) -> str:
    return "" if value is None else to_toml(value)


def _tell_of_variable(console: Console, key: Key) -> None:
    if len(key) == 1 and (origin := read_environment().origins.get(key[0])):
        console.notice(f"{origin.place} is set in the environment and overrides the file")
