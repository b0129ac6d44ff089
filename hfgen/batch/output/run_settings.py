"""`OUT.run.json`: the settings that an output file was begun with."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hfgen.atomic import write_whole
from hfgen.batch.output.record_file import explained
from hfgen.errors import OptionConflict, UsageError

_AGAIN = "give the settings that it was begun with, or begin again with --overwrite"


def sidecar_of(output: Path) -> Path:
    """Where the settings of an output file are kept."""
    return output.with_name(output.name + ".run.json")


def write_settings(output: Path, settings: Mapping[str, Any]) -> None:
    """Keep the settings."""
    path = sidecar_of(output)
    with explained(path):
        write_whole(path, (json.dumps(settings, indent=2, ensure_ascii=False) + "\n").encode())


def read_settings(output: Path) -> dict[str, Any]:
    """The settings of an output file; raises `UsageError` where they are not known."""
    path = sidecar_of(output)
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UsageError(
            f"{output} cannot be resumed: {path.name} beside it is missing or damaged",
            hint="begin again with --overwrite, or write to another file",
        ) from error
    return dict(found)


def check_settings(output: Path, kept: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Raise `OptionConflict` naming the settings of `now` that differ; JSON decides equality.

    What a file of an earlier version did not keep is not compared.
    """
    other = [
        f"{name} ({_shown(kept.get(name))}, now {_shown(value)})"
        for name, value in now.items()
        if name in kept and _shown(kept.get(name)) != _shown(value)
    ]
    if other:
        raise OptionConflict(f"{output} has other settings: {', '.join(other)}", hint=_AGAIN)


def _shown(value: object) -> str:
    if isinstance(value, Mapping):
        value = {name: one for name, one in sorted(value.items()) if one is not None}
    return json.dumps(value, sort_keys=True, ensure_ascii=False)
