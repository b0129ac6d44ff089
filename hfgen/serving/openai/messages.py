"""The messages of a chat request, in the shape that hfgen's conversations have."""

from __future__ import annotations

from typing import Any

from hfgen.generation.prompts.conversation import read_messages
from hfgen.generation.records import Prompt
from hfgen.serving.openai.errors import invalid
from hfgen.serving.openai.fields import Fields, shown, unknown_field

_ROLES = ("developer", "system", "user", "assistant", "tool", "function")
_TOOL_FIELDS = ("tool_calls", "function_call", "tool_call_id")
_KNOWN = ("role", "content", "name", "refusal", "audio", *_TOOL_FIELDS, "reasoning_content")


def read_conversation(fields: Fields, name: str = "messages") -> Prompt:
    """The conversation to answer; raises `ApiError` naming the message that is wrong."""
    value = fields.take(name)
    if not isinstance(value, list) or not value:
        raise invalid(f"{name} must be an array of at least one message", name)
    messages = [_read(one, f"{name}[{position}]") for position, one in enumerate(value)]
    try:
        conversation = read_messages(messages)
    except ValueError as error:
        raise invalid(str(error), name) from None
    return Prompt(conversation[-1]["content"], messages=conversation)


def _read(message: object, where: str) -> dict[str, str]:
    if not isinstance(message, dict):
        raise invalid(f"{where} is {shown(message)}, must be an object", where)
    for field in message:
        if field not in _KNOWN:
            raise unknown_field(f"{where}.{field}", [f"{where}.{known}" for known in _KNOWN])
    role = message.get("role")
    if role not in _ROLES:
        allowed = ", ".join(_ROLES[:5])
        raise invalid(f"{where}.role is {shown(role)}, must be one of {allowed}", f"{where}.role")
    for field in (*_TOOL_FIELDS, "audio"):
        if message.get(field):
            raise invalid(f"{where}.{field} is not supported", f"{where}.{field}")
    if role in ("tool", "function"):
        raise invalid(f"{where}: tools are not supported", f"{where}.role")
    content = message.get("content")
    if content is None and role == "assistant":
        content = ""
    return {
        "role": "system" if role == "developer" else str(role),
        "content": _read_content(content, f"{where}.content"),
    }


def _read_content(content: Any, where: str) -> str:
    if isinstance(content, str):
        return content
    if not isinstance(content, list) or not content:
        raise invalid(f"{where} must be a text or an array of parts", where)
    texts = []
    for position, part in enumerate(content):
        kind = part.get("type") if isinstance(part, dict) else None
        text = part.get("text") if kind in ("text", "input_text", "output_text") else None
        if not isinstance(text, str):
            raise invalid(
                f"{where}[{position}] is no text: parts of type {shown(kind)} are not supported",
                f"{where}[{position}]",
            )
        texts.append(text)
    return "".join(texts)
