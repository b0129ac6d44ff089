"""Errors as OpenAI's API has them: a status and `{"error": {message, type, param, code}}`."""

from __future__ import annotations

import json
from typing import Any

from hfgen.errors import (
    ContextOverflow,
    DataError,
    GenerationFailed,
    HfgenError,
    ModelUnsupported,
    OutOfMemory,
    UsageError,
    is_out_of_memory,
)
from hfgen.mentions import PythonSpelling

_TYPES = {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error"}

FIELD_NAMES = {
    "max_new_tokens": "max_tokens",
    "stop_strings": "stop",
    "num_return_sequences": "n",
    "sequence_bias": "logit_bias",
    "json_schema": "response_format",
}
"""hfgen's options that OpenAI's API has by another name."""


class ApiError(Exception):
    """An answer that is an error."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        param: str | None = None,
        code: str | None = None,
        headers: dict[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.param = param
        self.code = code
        self.headers = headers or {}

    @property
    def body(self) -> dict[str, Any]:
        """The answer's JSON."""
        default = "server_error" if self.status >= 500 else "invalid_request_error"
        kind = _TYPES.get(self.status, default)
        error = {"message": self.message, "type": kind, "param": self.param, "code": self.code}
        return {"error": error}


class FieldSpelling(PythonSpelling):
    """Options as fields of a request."""

    def option(self, name: str) -> str:
        """The field."""
        return FIELD_NAMES.get(name, name)

    def setting(self, name: str, value: str | float | bool) -> str:
        """The field with a value."""
        return f'"{self.option(name)}": {json.dumps(value, ensure_ascii=False)}'

    def given(self, name: str, value: str) -> str:
        """The field as the client gave it."""
        return f"{self.option(name)} = {value}"


def invalid(message: str, param: str | None, *, code: str | None = None) -> ApiError:
    """A request that asks for what cannot be."""
    return ApiError(400, message, param=param, code=code)


def from_exception(error: Exception) -> ApiError:
    """The answer to a request that ran into an exception."""
    if isinstance(error, ApiError):
        return error
    if isinstance(error, OutOfMemory) or is_out_of_memory(error):
        headers = {"retry-after": "10"}
        return ApiError(503, "not enough memory for this request", headers=headers)
    if not isinstance(error, HfgenError):
        # The client would try again, with the same result.
        headers = {"x-should-retry": "false"}
        return ApiError(500, f"unexpected {type(error).__name__}", headers=headers)
    error.spell(FieldSpelling())
    message = error.message if error.hint is None else f"{error.message} ({error.hint})"
    if isinstance(error, ContextOverflow):
        return invalid(message, None, code="context_length_exceeded")
    if isinstance(error, UsageError | DataError | GenerationFailed | ModelUnsupported):
        named = [FIELD_NAMES.get(name, name) for name in error.options]
        return invalid(message, named[0] if named else None)
    return ApiError(500, message, headers={"x-should-retry": "false"})
