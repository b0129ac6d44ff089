"""OpenAI's schemas of answers, as a judge of ours."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema

_FILE = Path(__file__).with_name("openai_schemas.json")
_WHOLE = {
    "/v1/completions": "CreateCompletionResponse",
    "/v1/chat/completions": "CreateChatCompletionResponse",
    "/v1/models": "ListModelsResponse",
}
_CHUNK = {
    "/v1/completions": "CreateCompletionResponse",
    "/v1/chat/completions": "CreateChatCompletionStreamResponse",
}


def check(path: str, status: int, data: Any) -> Any:
    """Return an answer that is as the schemas say; errors get `status`."""
    if status == 200:
        if path in _WHOLE:
            _validator(_WHOLE[path]).validate(data)
        return data
    _validator("ErrorResponse").validate(data)
    return data["error"] | {"status": status}


def check_chunk(path: str, data: Any) -> Any:
    """Return a chunk of a stream that is as the schemas say."""
    _validator(_CHUNK[path], is_chunk=True).validate(data)
    return data


@cache
def _validator(name: str, *, is_chunk: bool = False) -> Any:
    schemas = json.loads(_FILE.read_text(encoding="utf-8"))["schemas"]
    if is_chunk:
        # OpenAI streams completions as the whole answer's schema; reasons are null up to the end.
        choice = schemas["CreateCompletionResponse"]["properties"]["choices"]["items"]
        choice["properties"]["finish_reason"]["nullable"] = True
        schemas["CreateCompletionResponse"]["properties"]["usage"] = {}
    if name == "CreateCompletionResponse":
        # The first token of an echo has no probability; the description forgets that.
        (lists, _) = schemas[name]["properties"]["choices"]["items"]["properties"]["logprobs"][
            "anyOf"
        ]
        for field in ("token_logprobs", "top_logprobs"):
            lists["properties"][field]["items"]["nullable"] = True
    schema = {"$ref": f"#/components/schemas/{name}", "components": {"schemas": schemas}}
    return jsonschema.Draft202012Validator(_as_json_schema(schema))


def _as_json_schema(schema: Any) -> Any:
    """An OpenAPI 3.0 schema, in which `nullable` allows null, as JSON Schema."""
    if isinstance(schema, list):
        return [_as_json_schema(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    plain = {key: _as_json_schema(value) for key, value in schema.items() if key != "nullable"}
    return {"anyOf": [plain, {"type": "null"}]} if schema.get("nullable") is True else plain
