"""Lines that answer OpenAI's batch rows, in the shape of OpenAI's batch output.

    {"id", "custom_id", "response": {"status_code", "request_id", "body"}, "error"}

The body is a `chat.completion` or a `text_completion`; that of a row that failed holds `error`,
with status 400, or 500 where the machine was at fault. Beyond OpenAI's fields a choice holds its
`seed`, and a message a reasoning model's thinking as `reasoning_content`. `id` holds the row's
index and the fingerprint of what it said, by which a resumed run knows it again.
"""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from typing import Any

from hfgen.batch.input.openai import COMPLETIONS
from hfgen.errors import GenerationFailed, HfgenError, OutOfMemory
from hfgen.generation.records import Record, TokenLogprob

_ID = re.compile(r"batch_req_([0-9]{1,10})_([0-9a-f]{8})", re.ASCII)
_FINISHED = {"eos": "stop", "stop": "stop", "length": "length", "time": "length"}


def answer(url: str, index: int, mark: int, custom_id: Any, records: Sequence[Record]) -> Any:
    """The line of a row that has its texts."""
    is_text = url == COMPLETIONS
    first = records[0]
    written = sum(record.completion_tokens for record in records)
    body = {
        "id": f"{'cmpl' if is_text else 'chatcmpl'}-{index}-{mark:08x}",
        "object": "text_completion" if is_text else "chat.completion",
        "created": int(time.time()),
        "model": first.model,
        "choices": [
            (_text_choice if is_text else _chat_choice)(number, record)
            | {"finish_reason": _FINISHED[record.finish_reason], "seed": record.seed}
            for number, record in enumerate(records)
        ],
        "usage": {
            "prompt_tokens": first.prompt_tokens,
            "completion_tokens": written,
            "total_tokens": first.prompt_tokens + written,
        },
    }
    return _line(index, mark, custom_id, 200, body)


def failure(index: int, mark: int, custom_id: Any, error: HfgenError) -> Any:
    """The line of a row without a text."""
    is_ours = isinstance(error, OutOfMemory | GenerationFailed)
    reason = {
        "message": error.message,
        "type": "server_error" if is_ours else "invalid_request_error",
        "param": None,
        "code": type(error).__name__,
    }
    return _line(index, mark, custom_id, 500 if is_ours else 400, {"error": reason})


def read_answer(line: dict[str, Any]) -> tuple[int, int, bool] | None:
    """(index, fingerprint, whether it failed) of a line that was written here; None for others."""
    found = _ID.fullmatch(str(line.get("id")))
    response = line.get("response")
    if found is None or "index" in line or not isinstance(response, dict):
        return None
    return int(found[1]), int(found[2], 16), response.get("status_code") != 200


def _line(index: int, mark: int, custom_id: Any, status: int, body: dict[str, Any]) -> Any:
    name = f"{index}_{mark:08x}"
    return {
        "id": f"batch_req_{name}",
        "custom_id": custom_id,
        "response": {"status_code": status, "request_id": f"req_{name}", "body": body},
        "error": None,
    }


def _chat_choice(number: int, record: Record) -> dict[str, Any]:
    message: dict[str, Any] = {"role": "assistant", "content": record.completion, "refusal": None}
    if record.thinking is not None:
        message["reasoning_content"] = record.thinking
    tokens = record.logprobs
    logprobs = None if tokens is None else {"content": list(map(_token, tokens)), "refusal": None}
    return {"index": number, "message": message, "logprobs": logprobs}


def _token(one: TokenLogprob) -> dict[str, Any]:
    top = [_named(token, logprob) for _, token, logprob in one.top]
    return _named(one.token, one.logprob) | {"top_logprobs": top}


def _named(token: str, logprob: float) -> dict[str, Any]:
    data = list(token.encode("utf-8", "surrogatepass"))
    return {"token": token, "logprob": logprob, "bytes": data}


def _text_choice(number: int, record: Record) -> dict[str, Any]:
    return {"index": number, "text": record.completion, "logprobs": _text_logprobs(record)}


def _text_logprobs(record: Record) -> dict[str, Any] | None:
    if record.logprobs is None:
        return None
    offsets, place = [], len(record.prompt)
    for one in record.logprobs:
        offsets.append(place)
        place += len(one.token)
    return {
        "tokens": [one.token for one in record.logprobs],
        "token_logprobs": [one.logprob for one in record.logprobs],
        "top_logprobs": [
            {token: logprob for _, token, logprob in one.top} or None for one in record.logprobs
        ],
        "text_offset": offsets,
    }
