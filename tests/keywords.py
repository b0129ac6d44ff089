"""Writes `options/keywords.py` of `hfgen.generation` and `hfgen.training` from the specs."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Mapping
from pathlib import Path

import hfgen
from hfgen.generation.options.options import FLAG_NAMES, SPECS
from hfgen.generation.options.presets import PRESETS
from hfgen.generation.options.specs import Spec
from hfgen.training.options.finetune import TrainingOptions
from hfgen.training.options.pretrain import PretrainOptions
from hfgen.training.options.trainer_fields import PASSED_ON

_PACKAGE = Path(hfgen.__file__).parent
_TYPES = {
    "int": "int",
    "float": "float",
    "bool": "bool",
    "str": "str",
    "strs": "str | Sequence[str]",
    "ints": "int | Sequence[int]",
    "biases": "Mapping[str, float] | Sequence[tuple[str, float]]",
    "pair": "tuple[int, float]",
    "schema": "str | Mapping[str, Any]",
}
_JSON = {
    "watermarking_config": "Mapping[str, Any]",
    "bad_words_ids": "Sequence[Sequence[int]]",
    "sequence_bias": "Sequence[tuple[Sequence[int], float]]",
}
_HEAD = '''"""Keyword arguments of {of}, for type checkers and editors.

Written by tests/keywords.py from the options' specs, which are the only home of names, types,
ranges and defaults; a test fails when it is stale, and says how to write it again.
"""

# fmt: off

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypedDict
'''


def generation_keywords() -> str:
    """The text of `hfgen/generation/options/keywords.py`."""
    flags = {name: _type(option, SPECS[option]) for name, (option, _) in FLAG_NAMES.items()}
    return _HEAD.format(of="`generate` and `stream`") + _class(
        "GenerationKeywords",
        "TypedDict",
        "Options of generation, flags that are no option's name, and the name of a preset.",
        _types(SPECS) | flags | {"preset": _literal(PRESETS)},
    )


def training_keywords() -> str:
    """The text of `hfgen/training/options/keywords.py`."""
    trainer = dict.fromkeys(sorted(PASSED_ON), "Any") | {"arguments": "Mapping[str, Any]"}
    parts = [
        _class("TrainerKeywords", "TypedDict", "Fields of `TrainingArguments`, by name.", trainer)
    ]
    for kind, name in ((TrainingOptions, "Finetune"), (PretrainOptions, "Pretrain")):
        parts.append(
            _class(
                f"{name}Keywords",
                "TrainerKeywords",
                f"Options of `{kind.COMMAND}`.",
                _types(kind.specs()),
            )
        )
    return _HEAD.format(of="`finetune` and `pretrain`") + "".join(parts)


WRITTEN = {
    _PACKAGE / "generation" / "options" / "keywords.py": generation_keywords,
    _PACKAGE / "training" / "options" / "keywords.py": training_keywords,
}


def _class(name: str, base: str, doc: str, fields: Mapping[str, str]) -> str:
    lines = "".join(_field(name, type) for name, type in fields.items())
    return f'\n\nclass {name}({base}, total=False):\n    """{doc}"""\n\n{lines}'


def _field(name: str, type: str) -> str:
    line = f"    {name}: {type}" if type == "Any" else f"    {name}: {type} | None"
    if len(line) > 100:
        words = type.removeprefix("Literal[").removesuffix("]")
        wrapped = textwrap.indent(textwrap.fill(words, 90), " " * 8)
        line = f"    {name}: Literal[\n{wrapped}\n    ] | None"
    return f"{line}\n"


def _types(specs: Mapping[str, Spec]) -> dict[str, str]:
    return {name: _type(name, spec) for name, spec in specs.items()}


def _type(name: str, spec: Spec) -> str:
    """The type of what a caller may give."""
    if name == "early_stopping" and spec.kind == "choice":
        return 'bool | Literal["never"]'
    if spec.kind == "json":
        return _JSON[name]
    if spec.kind == "choice":
        return _literal(spec.choices)
    known = _TYPES[spec.kind]
    return f"{known} | {_literal(spec.words)}" if spec.words else known


def _literal(words: Iterable[str]) -> str:
    return "Literal[" + ", ".join(f'"{word}"' for word in words) + "]"
