"""`/tokenize`, `/detokenize` and `/apply-template`: the model's tokenizer, as llama-server and vLLM
offer it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from starlette.requests import Request
from starlette.responses import Response

from hfgen.generation.options.specs import MAX_COUNT
from hfgen.generation.prompts.encode import Reading
from hfgen.generation.records import Prompt
from hfgen.serving.http import answer, read_json
from hfgen.serving.openai.endpoint import endpoint, service_of
from hfgen.serving.openai.errors import invalid
from hfgen.serving.openai.fields import Fields
from hfgen.serving.openai.messages import read_conversation

if TYPE_CHECKING:
    from hfgen.language_model import LanguageModel


@endpoint
async def tokenize(request: Request) -> Response:
    """Answer with the token ids of `content`, `prompt` or `messages`.

    Those of a prompt and of messages are what the model would read; those of `content` are of the
    text alone, unless `add_special` is true.
    """
    service = service_of(request)
    fields = Fields(await read_json(request))
    _, worker = service.worker(fields.text("model"))
    content, text = fields.text("content"), fields.text("prompt")
    prompt = None
    if content is None and text is None:
        prompt = read_conversation(fields)
    elif text is not None and content is not None:
        raise invalid("prompt says what content says too", "content")
    has_special = _either(fields, "add_special", "add_special_tokens")
    has_pieces = _either(fields, "with_pieces", "return_token_strs")
    reading = Reading(allow_special=fields.switch("allow_special") or False)
    fields.rest({})

    def encode(lm: LanguageModel) -> tuple[list[int], int | None]:
        if prompt is not None:
            return lm.encode(prompt, reading).ids, lm.window
        given = str(text if content is None else content)
        is_whole = content is None if has_special is None else has_special
        ids = lm.tokenizer.encode(
            given, add_special_tokens=is_whole, split_special_tokens=not reading.allow_special,
            verbose=False,
        )  # fmt: skip
        return ids, lm.window

    ids, window = await service.call(worker, encode)
    found: dict[str, Any] = {"tokens": ids, "count": len(ids), "max_model_len": window}
    if has_pieces:
        names = await service.token_bytes(worker)
        found["tokens"] = [{"id": token_id, "piece": names.name(token_id)} for token_id in ids]
        found["token_strs"] = [names.name(token_id) for token_id in ids]
    return answer(found)


@endpoint
async def detokenize(request: Request) -> Response:
    """Answer with the text of token ids."""
    service = service_of(request)
    fields = Fields(await read_json(request))
    _, worker = service.worker(fields.text("model"))
    ids = fields.take("tokens")
    fields.rest({})
    if not isinstance(ids, list) or not all(
        type(one) is int and 0 <= one <= MAX_COUNT for one in ids
    ):
        raise invalid("tokens must be an array of token ids", "tokens")
    names = await service.token_bytes(worker)
    if any(token_id >= names.size for token_id in ids):
        raise invalid(f"tokens must be ids below {names.size:,}", "tokens")
    text = await service.call(worker, lambda lm: str(lm.tokenizer.decode(ids)))
    return answer({"content": text, "prompt": text})


@endpoint
async def apply_template(request: Request) -> Response:
    """Answer with the prompt that a conversation becomes."""
    service = service_of(request)
    fields = Fields(await read_json(request))
    _, worker = service.worker(fields.text("model"))
    prompt = read_conversation(fields)
    reading = Reading(chat_template=fields.text("chat_template"))
    fields.rest({})

    def render(lm: LanguageModel) -> str:
        return _rendered(lm, prompt, reading)

    return answer({"prompt": await service.call(worker, render)})


def _rendered(lm: LanguageModel, prompt: Prompt, reading: Reading) -> str:
    encoded = lm.encode(prompt, reading)
    return encoded.rendered or str(lm.tokenizer.decode(encoded.ids, skip_special_tokens=True))


def _either(fields: Fields, one: str, other: str) -> bool | None:
    """A switch that goes by two names."""
    first, second = fields.switch(one), fields.switch(other)
    return second if first is None else first
