"""`POST /v1/responses`: answer a conversation that the request holds whole; nothing is stored."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from hfgen.generation.options.specs import MAX_COUNT
from hfgen.generation.records import Prompt
from hfgen.serving.http import read_json
from hfgen.serving.job import PendingJob
from hfgen.serving.openai.choices import Choices
from hfgen.serving.openai.endpoint import endpoint, respond, service_of
from hfgen.serving.openai.errors import invalid
from hfgen.serving.openai.fields import Fields, shown
from hfgen.serving.openai.messages import read_conversation
from hfgen.serving.openai.options import (
    IGNORED,
    finish_options,
    read_sampling,
    read_seed,
    with_count,
)
from hfgen.serving.openai.response_answers import ResponseAnswers

_MOST_LOGPROBS = 1000
_NO_TOOLS = "this server calls no tools"
_STATELESS = "this server keeps no conversations; send the whole of it as input"
REFUSED: dict[str, tuple[tuple[Any, ...], str]] = {
    "tools": (([],), _NO_TOOLS),
    "tool_choice": (("none", "auto"), _NO_TOOLS),
    "max_tool_calls": ((), _NO_TOOLS),
    "previous_response_id": ((), _STATELESS),
    "conversation": ((), _STATELESS),
    "context_management": (([],), _STATELESS),
    "background": ((False,), "answers come at once"),
    "prompt": ((), "this server keeps no prompts"),
    "reasoning": (({},), "the model decides how long it thinks"),
    "moderation": ((), "this server does not moderate"),
}
"""Fields that would change the answer: what they may say nevertheless, and why no more."""
_LOGPROBS = "message.output_text.logprobs"
_ITEM_FIELDS = ("type", "id", "status", "phase")


@endpoint
async def responses(request: Request) -> Response:
    """Answer a request."""
    service = service_of(request)
    fields = Fields(await read_json(request))
    model, worker = service.worker(fields.text("model"))
    instructions = fields.text("instructions")
    prompt = _read_input(fields, instructions)
    is_stream = fields.switch("stream") or False
    fields.ignore("stream_options", "parallel_tool_calls")
    _check_text(fields.take("text"))
    fields.refuse(REFUSED)
    told = {
        "instructions": instructions,
        "metadata": fields.take("metadata") or {},
        "max_output_tokens": fields.integer("max_output_tokens", 1, MAX_COUNT),
        "truncation": fields.text("truncation") or "disabled",
    }
    fields.ignore(*IGNORED)
    logprobs = _read_logprobs(fields)
    seed = read_seed(fields)
    values = read_sampling(fields)
    told |= {"temperature": values.get("temperature"), "top_p": values.get("top_p")}
    values |= {"max_new_tokens": told["max_output_tokens"], "logprobs": logprobs}
    if told["truncation"] == "auto":
        values["overflow"] = "truncate"
    elif told["truncation"] != "disabled":
        raise invalid('truncation must be "auto" or "disabled"', "truncation")
    options, reading = finish_options(fields, values, raw=False)
    prompts, options, _ = with_count([prompt], options, seed, 1)
    tokens = None if logprobs is None else await service.token_bytes(worker)
    answers = ResponseAnswers(model, Choices(1, 1, is_repeated=False), tokens, told)
    job = PendingJob(prompts, options, reading)
    return await respond(request, worker, job, answers, is_stream=is_stream)


def _read_input(fields: Fields, instructions: str | None) -> Prompt:
    """The conversation: a text, or items that are messages."""
    value = fields.take("input")
    if isinstance(value, str):
        value = [{"role": "user", "content": value}]
    if not isinstance(value, list) or not value:
        raise invalid("input must be a text or an array of at least one message", "input")
    messages = []
    for position, item in enumerate(value):
        kind = item.get("type", "message") if isinstance(item, dict) else None
        if kind != "message":
            where = f"input[{position}]"
            raise invalid(f"{where}: items of type {shown(kind)} are not supported", where)
        messages.append({name: v for name, v in item.items() if name not in _ITEM_FIELDS})
    prompt = read_conversation(Fields({"input": messages}), "input")
    if instructions:
        system = {"role": "system", "content": instructions}
        prompt = replace(prompt, messages=(system, *prompt.messages))
    return prompt


def _read_logprobs(fields: Fields) -> int | None:
    included = fields.take("include")
    top = fields.integer("top_logprobs", 0, _MOST_LOGPROBS)
    if included is not None and not isinstance(included, list):
        raise invalid("include must be an array", "include")
    for name in included or ():
        if name != _LOGPROBS:
            raise invalid(f"include: {shown(name)} is not supported", "include")
    return (top or 0) if included or top else None


def _check_text(value: object) -> None:
    """Refuse answers in a format of their own."""
    if value is None:
        return
    if not isinstance(value, dict):
        raise invalid("text must be an object", "text")
    inner = Fields(value)
    form = inner.take("format")
    inner.refuse({"verbosity": (("medium",), "ask for it in the conversation")})
    inner.rest({})
    if form is not None and form != {"type": "text"}:
        kind = form.get("type") if isinstance(form, dict) else form
        raise invalid(
            f"text.format {shown(kind)} is not supported yet: answers are free text",
            "text.format", code="unsupported_value",
        )  # fmt: skip
