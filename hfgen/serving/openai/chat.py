"""`POST /v1/chat/completions`: answer a conversation."""

from __future__ import annotations

from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from hfgen.generation.options.specs import MAX_COUNT
from hfgen.serving.http import read_json
from hfgen.serving.job import PendingJob
from hfgen.serving.openai.chat_answers import ChatAnswers
from hfgen.serving.openai.choices import Choices
from hfgen.serving.openai.endpoint import endpoint, respond, service_of
from hfgen.serving.openai.errors import invalid
from hfgen.serving.openai.fields import Fields
from hfgen.serving.openai.messages import read_conversation
from hfgen.serving.openai.options import (
    IGNORED,
    MOST_CHOICES,
    finish_options,
    read_sampling,
    read_seed,
    read_stream,
    with_count,
)

_MOST_LOGPROBS = 1000
_NO_TOOLS = "this server calls no tools"
REFUSED: dict[str, tuple[tuple[Any, ...], str]] = {
    "tools": (([],), _NO_TOOLS),
    "tool_choice": (("none", "auto"), _NO_TOOLS),
    "functions": (([],), _NO_TOOLS),
    "function_call": (("none", "auto"), _NO_TOOLS),
    "modalities": ((["text"],), "answers are text"),
    "audio": ((), "answers are text"),
    "prediction": ((), "answers are generated from the conversation alone"),
    "web_search_options": ((), "this server does not search the web"),
    "moderation": ((), "this server does not moderate"),
    "reasoning_effort": (("medium",), "the model decides how long it thinks"),
    "verbosity": (("medium",), "ask for it in the conversation"),
}
"""Fields that would change the answer: what they may say nevertheless, and why no more."""


@endpoint
async def chat_completions(request: Request) -> Response:
    """Answer a request."""
    service = service_of(request)
    fields = Fields(await read_json(request))
    model, worker = service.worker(fields.text("model"))
    prompt = read_conversation(fields)
    count = fields.integer("n", 1, MOST_CHOICES) or 1
    is_stream, has_usage = read_stream(fields)
    max_tokens = fields.integer("max_completion_tokens", 1, MAX_COUNT)
    older = fields.integer("max_tokens", 1, MAX_COUNT)
    logprobs = _read_logprobs(fields)
    form = _read_format(fields.take("response_format"))
    fields.refuse(REFUSED)
    fields.ignore("parallel_tool_calls", *IGNORED)
    seed = read_seed(fields)
    values = read_sampling(fields)
    values |= {"max_new_tokens": max_tokens or older, "logprobs": logprobs, "json_schema": form}
    options, reading = finish_options(fields, values, raw=False)
    prompts, options, is_repeated = with_count([prompt], options, seed, count)
    choices = Choices(1, count, is_repeated=is_repeated)
    tokens = None if logprobs is None else await service.token_bytes(worker)
    answers = ChatAnswers(model, choices, tokens, has_usage=has_usage)
    job = PendingJob(prompts, options, reading)
    return await respond(request, worker, job, answers, is_stream=is_stream)


def _read_logprobs(fields: Fields) -> int | None:
    is_wanted = fields.switch("logprobs")
    top = fields.integer("top_logprobs", 0, _MOST_LOGPROBS)
    if top is not None and not is_wanted:
        raise invalid('top_logprobs needs "logprobs": true', "top_logprobs")
    return (top or 0) if is_wanted else None


def _read_format(value: object) -> dict[str, Any] | None:
    """The schema that answers have to satisfy, if any."""
    if value is None or value == {"type": "text"}:
        return None
    kind = value.get("type") if isinstance(value, dict) else None
    if kind == "json_object":
        return {"type": "object"}
    inner = value.get("json_schema") if isinstance(value, dict) else None
    if kind == "json_schema" and isinstance(inner, dict) and isinstance(inner.get("schema"), dict):
        schema: dict[str, Any] = inner["schema"]
        return schema
    raise invalid(
        'response_format must be {"type": "text"}, {"type": "json_object"} or '
        '{"type": "json_schema", "json_schema": {"name": …, "schema": {…}}}',
        "response_format",
    )
