"""What a run was begun with, as its folder keeps it, and whether a resumed run is still that run.

A run is resumed only with the settings, the model and the data that it was begun with; anything
else would be another run.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from hfgen.errors import OptionConflict
from hfgen.mentions import mention

_FREE_TO_CHANGE = frozenset({"report_to"})


@dataclass(frozen=True)
class RunStart:
    """What a run was begun with."""

    model: str
    options: Mapping[str, Any]
    plan: Mapping[str, Any]
    fingerprint: str
    started: str
    """ISO 8601, UTC."""
    before: Mapping[str, Any] = field(default_factory=dict)
    """The evaluation before the first step."""
    resumed_from: tuple[int, ...] = ()
    """The steps that it was resumed from, so far."""
    seconds: float = 0.0
    """Time that earlier processes trained."""


def check_same_options(before: RunStart, model: str, options: Mapping[str, Any]) -> None:
    """Raise `OptionConflict` where the model or an option is not what the run was begun with."""
    now = replace(before, model=model, options=options)
    check_same_run(before, now)


def check_same_run(before: RunStart, now: RunStart) -> None:
    """Raise `OptionConflict` where a resumed run would not be the one that was begun."""
    for name, old, new in _differences(before, now):
        raise OptionConflict(
            f"the run was begun with {name} {_shown(old)}, now it is {_shown(new)}",
            hint="resume with the same settings and data, or start over: "
            f"{mention('overwrite', True)}",
        )


def _differences(before: RunStart, now: RunStart) -> list[tuple[str, Any, Any]]:
    found: list[tuple[str, Any, Any]] = []
    if before.model != now.model:
        found.append(("the model", before.model, now.model))
    if before.fingerprint != now.fingerprint:
        found.append(("other data:", before.fingerprint[:12], now.fingerprint[:12]))
    options = _flat(before.options), _flat(_plain(now.options))
    for old, new in (options, (before.plan, _plain(now.plan))):
        names = [*old, *(name for name in new if name not in old)]
        found += [
            (name, old.get(name), new.get(name))
            for name in names
            if name not in _FREE_TO_CHANGE and old.get(name) != new.get(name)
        ]
    return found


def _flat(options: Mapping[str, Any]) -> dict[str, Any]:
    """The options, arguments of Transformers each by itself, as `-O name`."""
    arguments = dict(options.get("arguments") or {})
    rest = {name: value for name, value in options.items() if name != "arguments"}
    return rest | {f"-O {name}": value for name, value in arguments.items()}


def _plain(values: Mapping[str, Any]) -> dict[str, Any]:
    """Values as JSON gives them back."""
    return dict(json.loads(json.dumps(values, default=list)))


def _shown(value: Any) -> str:
    return "left out" if value is None else str(value)
