"""`POST /v1/completions`: continue texts as they are, without a chat template."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

from starlette.requests import Request
from starlette.responses import Response

from hfgen.errors import ModelUnsupported
from hfgen.generation.options.options import GenerationOptions
from hfgen.generation.options.specs import MAX_COUNT
from hfgen.generation.prompts.encode import Reading
from hfgen.generation.prompts.infill import encode_infill
from hfgen.generation.records import Prompt
from hfgen.serving.http import read_json
from hfgen.serving.job import PendingJob
from hfgen.serving.openai.choices import Choices
from hfgen.serving.openai.completion_answers import CompletionAnswers, Shape
from hfgen.serving.openai.echo import Echo
from hfgen.serving.openai.endpoint import endpoint, respond, service_of
from hfgen.serving.openai.errors import invalid
from hfgen.serving.openai.fields import Fields
from hfgen.serving.openai.options import (
    IGNORED,
    MOST_CHOICES,
    finish_options,
    read_sampling,
    read_seed,
    read_stream,
    with_count,
)

if TYPE_CHECKING:
    from hfgen.language_model import LanguageModel

DEFAULT_MAX_TOKENS = 16
"""OpenAI's; `hfgen generate` has another one."""
_MOST_PROMPTS = 2048
_MOST_LOGPROBS = 1000
_MOST_BEST_OF = 20


@dataclass(frozen=True)
class _Wanted:
    """A request that was read."""

    model: str | None
    prompts: list[Prompt]
    suffix: str | None
    options: GenerationOptions
    reading: Reading
    seed: int
    max_tokens: int
    shape: Shape
    is_stream: bool


@endpoint
async def completions(request: Request) -> Response:
    """Answer a request."""
    wanted = _read(Fields(await read_json(request)))
    service = service_of(request)
    model, worker = service.worker(wanted.model)
    shape = wanted.shape
    if wanted.suffix is not None:
        wanted = await service.call(worker, partial(_filling_in, wanted))
    prompts, options, is_repeated = with_count(
        wanted.prompts, wanted.options, wanted.seed, shape.best_of
    )
    choices = Choices(len(wanted.prompts), shape.best_of, is_repeated=is_repeated)
    tokens = None if shape.logprobs is None else await service.token_bytes(worker)
    echo = Echo(wanted.prompts, wanted.reading) if shape.has_echo or not wanted.max_tokens else None
    answers = CompletionAnswers(model, choices, shape, tokens, echo)
    job = PendingJob(prompts, options, wanted.reading) if wanted.max_tokens else None
    before: Callable[[], Awaitable[None]] | None = None
    if echo is not None:

        async def before() -> None:
            await echo.compute(service, worker, shape.logprobs if shape.has_echo else None)

    return await respond(
        request, worker, job, answers, is_stream=wanted.is_stream, before=before
    )  # fmt: skip


def _read(fields: Fields) -> _Wanted:
    model = fields.text("model")
    prompts = _read_prompts(fields)
    count = fields.integer("n", 1, MOST_CHOICES) or 1
    best_of = fields.integer("best_of", 0, _MOST_BEST_OF) or count
    is_stream, has_usage = read_stream(fields)
    if best_of < count:
        raise invalid(f"best_of is {best_of}, must be at least n ({count})", "best_of")
    if is_stream and best_of > count:
        raise invalid("best_of ranks whole texts, and does not go with stream", "best_of")
    suffix = _read_suffix(fields, prompts)
    max_tokens = fields.integer("max_tokens", 0, MAX_COUNT)
    logprobs = _read_logprobs(fields)
    has_echo = fields.switch("echo") or False
    fields.ignore(*IGNORED)
    seed = read_seed(fields)
    values = read_sampling(fields)
    # The ranking needs the probabilities of all tokens.
    values["logprobs"] = 0 if logprobs is None and best_of > count else logprobs
    # Nothing is generated for 0, which is no length for hfgen.
    values["max_new_tokens"] = None if max_tokens is None else max(1, max_tokens)
    options, reading = finish_options(fields, values, raw=True)
    if options.max_new_tokens is None:
        length = max(DEFAULT_MAX_TOKENS, options.min_new_tokens or 0)
        options = replace(options, max_new_tokens=length)
    if max_tokens is None:
        max_tokens = options.max_new_tokens or 0
    shape = Shape(count, best_of, logprobs, has_echo, has_usage)
    return _Wanted(model, prompts, suffix, options, reading, seed, max_tokens, shape, is_stream)


def _read_suffix(fields: Fields, prompts: list[Prompt]) -> str | None:
    suffix = fields.text("suffix")
    if not suffix:
        return None
    if any(prompt.token_ids for prompt in prompts):
        raise invalid("suffix needs prompts that are texts, not token ids", "suffix")
    return suffix


def _filling_in(wanted: _Wanted, lm: LanguageModel) -> _Wanted:
    """The request with prompts in the form in which the model fills in."""
    limit = None if lm.window is None else lm.window - wanted.max_tokens
    try:
        filled = [
            encode_infill(lm.tokenizer, prompt.text, wanted.suffix or "", limit=limit)
            for prompt in wanted.prompts
        ]
    except ModelUnsupported as error:
        raise invalid(f"suffix: {error.message}", "suffix") from error
    stops = {*(wanted.options.stop_token_ids or ()), *filled[0].end_ids}
    options = replace(wanted.options, stop_token_ids=tuple(sorted(stops)))
    prompts = [
        replace(prompt, token_ids=one.ids)
        for prompt, one in zip(wanted.prompts, filled, strict=True)
    ]
    return replace(wanted, prompts=prompts, options=options)


def _read_logprobs(fields: Fields) -> int | None:
    return fields.integer("logprobs", 0, _MOST_LOGPROBS)


def _read_prompts(fields: Fields) -> list[Prompt]:
    """A text, texts, token ids, or lists of them; absent, the text that is empty."""
    value = fields.take("prompt")
    if value is None:
        return [Prompt("")]
    if isinstance(value, str):
        return [Prompt(value)]
    if isinstance(value, list) and value:
        if len(value) <= _MOST_PROMPTS and all(isinstance(one, str) for one in value):
            return [Prompt(one) for one in value]
        if _are_ids(value):
            return [Prompt("", token_ids=tuple(value))]
        if len(value) <= _MOST_PROMPTS and all(map(_are_ids, value)):
            return [Prompt("", token_ids=tuple(one)) for one in value]
    raise invalid(
        "prompt must be a text, token ids, or an array of texts or of token ids "
        f"(at most {_MOST_PROMPTS:,})", "prompt",
    )  # fmt: skip


def _are_ids(value: object) -> bool:
    return (
        isinstance(value, list)
        and bool(value)
        and all(type(one) is int and 0 <= one <= MAX_COUNT for one in value)
    )
