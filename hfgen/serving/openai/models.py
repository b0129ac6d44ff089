"""`GET /v1/models` and `/v1/models/{id}`."""

from __future__ import annotations

from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from hfgen.serving.http import answer
from hfgen.serving.openai.endpoint import endpoint, service_of


@endpoint
async def list_models(request: Request) -> Response:
    """Answer with all models."""
    service = service_of(request)
    data = [_described(name, service.created) for name in service.workers]
    return answer({"object": "list", "data": data})


@endpoint
async def show_model(request: Request) -> Response:
    """Answer with one model, whose name may hold slashes."""
    service = service_of(request)
    name, _ = service.worker(request.path_params["name"])
    return answer(_described(name, service.created))


def _described(name: str, created: int) -> dict[str, Any]:
    return {"id": name, "object": "model", "created": created, "owned_by": "hfgen"}
