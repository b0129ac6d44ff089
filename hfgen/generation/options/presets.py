"""The built-in presets: sets of generation options under a name."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from hfgen.errors import UsageError
from hfgen.generation.options.options import GenerationOptions
from hfgen.mentions import mention


@dataclass(frozen=True)
class Preset:
    """A set of generation options under a name."""

    values: Mapping[str, Any]
    reason: str


PRESETS = {
    "precise": Preset(
        {"temperature": 0.3, "top_p": 0.9},
        "the most likely words, little variety: answers, summaries",
    ),
    "balanced": Preset(
        {"temperature": 0.8, "top_p": 0.95, "top_k": 0},
        "hfgen's own defaults, also for a model that brings others",
    ),
    "creative": Preset(
        {"temperature": 1.2, "top_p": 1.0, "min_p": 0.05},
        "rarer words; min_p keeps a high temperature readable (Nguyen et al. 2024)",
    ),
    "code": Preset(
        {"temperature": 0.2, "top_p": 0.95},
        "one try at a program, as in the Codex paper (Chen et al. 2021)",
    ),
    "humaneval": Preset(
        {
            "temperature": 0.2,
            "top_p": 0.95,
            "max_new_tokens": 512,
            "stop_strings": ("\nclass ", "\ndef ", "\n@", "\n#", "\nif ", "\nprint("),
        },
        "the body of a Python function, as HumanEval asks for it: ends before the next statement "
        "of the file (Chen et al. 2021, section 2.4)",
    ),
}


def options_of(preset: str) -> GenerationOptions:
    """The options of a built-in preset. Raises `UsageError` with the nearest name."""
    if preset not in PRESETS:
        near = difflib.get_close_matches(str(preset), PRESETS, n=1)
        hint = f"use {mention('preset', near[0])}" if near else f"there are {', '.join(PRESETS)}"
        raise UsageError(f"there is no preset {preset!r}", hint=hint)
    return GenerationOptions(**PRESETS[preset].values)
