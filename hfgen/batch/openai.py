"""Rows of OpenAI's batch files: `{"custom_id", "method", "url", "body": {…}}`.

Fields of a body that have no effect here are carried through; those that ask for what hfgen does
not do are refused, unless they ask for nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hfgen.errors import UsageError
from hfgen.generation.options import SPECS

_URLS = ("/v1/chat/completions", "/v1/completions")
_SAME = ("messages", "prompt", "model", "temperature", "top_p", "seed")
_RENAMED = {
    "max_tokens": "max_new_tokens",
    "max_completion_tokens": "max_new_tokens",
    "n": "num_return_sequences",
    "stop": "stop_strings",
}
_WITHOUT_EFFECT = (
    "user", "metadata", "store", "service_tier", "safety_identifier", "prompt_cache_key",
)  # fmt: skip
_NOTHING: dict[str, tuple[Any, ...]] = {
    "frequency_penalty": (0,), "presence_penalty": (0,), "logit_bias": ({},), "stream": (False,),
    "stream_options": (), "tools": ([],), "tool_choice": ("none",), "echo": (False,),
    "suffix": ("",), "best_of": (1,), "response_format": ({"type": "text"},),
}  # fmt: skip


def is_openai(row: Mapping[str, Any]) -> bool:
    """Whether a row has the form of OpenAI's batch files."""
    return "body" in row and ("custom_id" in row or "url" in row)


def translate(row: Mapping[str, Any]) -> dict[str, Any]:
    """The same as a row of hfgen's; raises `UsageError` for what hfgen cannot do."""
    body, url = row["body"], row.get("url", _URLS[0])
    if not isinstance(body, dict):
        raise UsageError("body must be an object")
    if url not in _URLS or row.get("method", "POST") != "POST":
        raise UsageError(f"hfgen answers POST {' and '.join(_URLS)}")
    found = {name: value for name, value in row.items() if name not in ("custom_id", "body")}
    found["id"] = row.get("custom_id")
    logprobs = _logprobs(body)
    if logprobs is not None:
        found["logprobs"] = logprobs
    for name, value in body.items():
        if value is None or name in ("logprobs", "top_logprobs"):
            continue
        if name in _RENAMED:
            found[_RENAMED[name]] = value
        elif name in _SAME or name in _WITHOUT_EFFECT or name in SPECS:
            found[name] = value
        elif value not in _NOTHING.get(name, ()):
            raise UsageError(f"hfgen has nothing for {name} in the body")
    prompt = found.get("prompt")
    if isinstance(prompt, list) and len(prompt) == 1 and isinstance(prompt[0], str):
        found["prompt"] = prompt[0]
    return found


def _logprobs(body: Mapping[str, Any]) -> Any:
    asked, top = body.get("logprobs"), body.get("top_logprobs")
    if asked is False or asked is None:
        return None
    return (top or 0) if asked is True else asked
