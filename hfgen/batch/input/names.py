"""What a row may call an option: its own name, its flags', and OpenAI's.

`max_new_tokens`, `max-new-tokens` and OpenAI's `max_tokens` are one option, and `greedy` is
`do_sample` turned round. `n` is OpenAI's, the number of texts.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Any

from hfgen.errors import UsageError
from hfgen.generation.options.config_fields import REFUSED
from hfgen.generation.options.options import FLAG_NAMES, SPECS
from hfgen.generation.options.specs import checked

_OTHERS = {
    "temp": "temperature",
    "max_tokens": "max_new_tokens",
    "max_completion_tokens": "max_new_tokens",
    "n": "num_return_sequences",
}
_NOTHING: dict[str, tuple[Any, ...]] = {
    "stream": (False,), "stream_options": (),
    "tools": ([],), "tool_choice": ("none",), "echo": (False,), "suffix": ("",), "best_of": (1,),
    "response_format": ({"type": "text"},),
}  # fmt: skip
"""OpenAI's names of what hfgen does not do, and the values that ask for nothing."""
_INSTEAD = {
    "preset": "a preset is for the whole run: --preset",
    **dict.fromkeys(("num_samples", "n_samples"), "n is the number of texts"),
    **dict.fromkeys(("n_predict", "num_predict", "num_tokens"), "max_new_tokens is the length"),
    **dict.fromkeys(("stop_sequence", "stop_sequences", "stop_words"), "stop is what ends a text"),
    **dict.fromkeys(("system_prompt", "system_message"), "system is the system message"),
}
"""Names of other programs' options, and what is right here."""
_NEAR = 0.8


def _plain(name: str) -> str:
    return name.replace("-", "_")


_OPTIONS = (
    {name: name for name in SPECS}
    | {flag: f"not {name}" if is_no else name for flag, (name, is_no) in FLAG_NAMES.items()}
    | _OTHERS
)


def take_options(fields: dict[str, Any]) -> dict[str, Any]:
    """Take the options out of a row's fields; returns them under hfgen's names.

    Names that hfgen refuses are taken, too. Raises `UsageError` for an option that is given twice
    and `InvalidOption` for a switch that is neither true nor false; all are taken then.
    """
    found: dict[str, Any] = {}
    typed: dict[str, str] = {}
    problem: UsageError | None = None
    for field in [name for name in fields if _plain(name) in _OPTIONS or name in REFUSED]:
        value = fields.pop(field)
        name = _OPTIONS.get(_plain(field), field)
        if name == "logprobs":
            value = _logprobs(value, fields.pop("top_logprobs", None))
        if value is None:
            continue
        if name.startswith("not "):
            name = name.removeprefix("not ")
            try:
                value = not checked(name, SPECS[name], value)
            except UsageError as error:
                problem = problem or error
        if name in found and found[name] != value:
            problem = problem or UsageError(f"{name} is given twice: {typed[name]} and {field}")
        found[name], typed[name] = value, field
    if problem is not None:
        raise problem
    return found


def check_asked(fields: Mapping[str, Any]) -> None:
    """Raise `UsageError` for a field that asks, in OpenAI's words, for what hfgen does not do."""
    for name, value in fields.items():
        if name in _NOTHING and value is not None and value not in _NOTHING[name]:
            raise UsageError(f"hfgen has nothing for {name}")


def means_something(field: str) -> bool:
    """Whether hfgen looks at a field of that name, the prompt aside."""
    name = _plain(field)
    return name in _OPTIONS or name in ("id", "model", "system", "messages")


def is_of_openai(name: str) -> bool:
    """Whether OpenAI's API has a field of that name that asks for what hfgen does not do."""
    return name in _NOTHING


def without_effect(field: str) -> str | None:
    """Why a field that is only carried along may have been meant as an option; None if not."""
    if _plain(field) in _INSTEAD:
        return _INSTEAD[_plain(field)]
    names = (*_OPTIONS, "system", "messages")
    near = difflib.get_close_matches(_plain(field), names, n=1, cutoff=_NEAR)
    return f"did you mean {near[0]}?" if near else None


def _logprobs(asked: Any, top: Any) -> Any:
    """OpenAI's chat asks by true or false, and apart from that for how many alternatives."""
    if asked is False:
        return None
    return (top or 0) if asked is True else asked
