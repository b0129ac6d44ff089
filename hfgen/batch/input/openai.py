"""Rows of OpenAI's batch files: `{"custom_id", "method", "url", "body": {…}}`.

Fields of a body that have no effect here are left alone; those that ask for what hfgen does not do
are refused, unless they ask for nothing. `openai_answers` writes the lines that answer them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hfgen.batch.input.names import check_asked, is_of_openai, take_options
from hfgen.errors import UsageError

CHAT, COMPLETIONS = "/v1/chat/completions", "/v1/completions"
_URLS = (CHAT, COMPLETIONS)
_ASKED = ("messages", "prompt", "model")
_WITHOUT_EFFECT = (
    "user", "metadata", "store", "service_tier", "safety_identifier", "prompt_cache_key",
)  # fmt: skip


def is_openai(row: Mapping[str, Any]) -> bool:
    """Whether a row has the form of OpenAI's batch files."""
    return "body" in row and ("custom_id" in row or "url" in row)


def url_of(row: Mapping[str, Any]) -> str:
    """Which of OpenAI's two services the row asks, by the shape of its body where it is silent."""
    body = row.get("body")
    is_text = isinstance(body, dict) and "prompt" in body
    return str(row.get("url") or (COMPLETIONS if is_text else CHAT))


def translate(row: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The row as one of hfgen's, and its options; raises `UsageError` for what hfgen cannot do."""
    body = row["body"]
    if not isinstance(body, dict):
        raise UsageError("body must be an object")
    if url_of(row) not in _URLS or row.get("method", "POST") != "POST":
        raise UsageError(f"hfgen answers POST {' and '.join(_URLS)}")
    found = {name: value for name, value in row.items() if name not in ("custom_id", "body")}
    found["id"] = row.get("custom_id")
    rest = {name: value for name, value in body.items() if value is not None}
    biases = rest.pop("logit_bias", None)
    options = take_options(rest)
    if biases:
        options["sequence_bias"] = _of_token_ids(biases)
    check_asked(rest)
    for name, value in rest.items():
        if name in _ASKED or name in _WITHOUT_EFFECT:
            found[name] = value
        elif not is_of_openai(name):
            raise UsageError(f"hfgen has nothing for {name} in the body")
    return found, options


def _of_token_ids(biases: object) -> list[list[Any]]:
    """OpenAI's biases are of token ids, `{"50256": -100}`; hfgen's are of texts."""
    if not isinstance(biases, dict) or not all(str(name).isdecimal() for name in biases):
        raise UsageError('logit_bias must be an object of token ids, as {"50256": -100}')
    return [[[int(name)], bias] for name, bias in biases.items()]
