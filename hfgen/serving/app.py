"""The server's routes, and the layers around them."""

from __future__ import annotations

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from hfgen.serving.guard import BodyLimit, Guard, Log
from hfgen.serving.http import answer, error_answer
from hfgen.serving.metrics import Metrics, show_metrics
from hfgen.serving.openai.chat import chat_completions
from hfgen.serving.openai.completions import completions
from hfgen.serving.openai.errors import ApiError
from hfgen.serving.openai.models import list_models, show_model
from hfgen.serving.openai.responses import responses
from hfgen.serving.playground import playground
from hfgen.serving.service import Service
from hfgen.serving.tokens import apply_template, detokenize, tokenize

_WRONG = {404: "there is nothing at {path}", 405: "{path} does not take {method}"}


def create_app(service: Service, metrics: Metrics, log: Log | None = None) -> Starlette:
    """The application; `log` is told of every answer."""
    routes = [
        Route("/", playground),
        Route("/health", health),
        Route("/v1/health", health),
        Route("/v1/models", list_models),
        Route("/v1/models/{name:path}", show_model),
        Route("/v1/completions", completions, methods=["POST"]),
        Route("/v1/chat/completions", chat_completions, methods=["POST"]),
        Route("/v1/responses", responses, methods=["POST"]),
        Route("/tokenize", tokenize, methods=["POST"]),
        Route("/detokenize", detokenize, methods=["POST"]),
        Route("/apply-template", apply_template, methods=["POST"]),
        Route("/metrics", show_metrics),
    ]
    settings = service.settings

    def told(method: str, path: str, status: int, seconds: float) -> None:
        known = path if path in paths else "other"
        metrics.answers.labels(known, status).inc()
        if log is not None:
            log(method, path, status, seconds)

    paths = {route.path for route in routes}
    layers = [Middleware(Guard, settings=settings, log=told)]
    if settings.cors:
        layers.append(
            Middleware(
                CORSMiddleware,
                allow_origins=list(settings.cors),
                allow_methods=["GET", "POST"],
                allow_headers=["*"],
                expose_headers=["x-request-id", "retry-after"],
            )
        )
    layers.append(Middleware(BodyLimit, limit=settings.body_limit))
    app = Starlette(routes=routes, middleware=layers)
    app.add_exception_handler(HTTPException, _wrong_address)
    app.router.redirect_slashes = False
    app.state.service = service
    app.state.metrics = metrics
    metrics.observe(service)
    return app


async def health(request: Request) -> Response:
    """Say that the server is up; needs no API key."""
    return answer({"status": "ok"})


async def _wrong_address(request: Request, error: Exception) -> Response:
    """A wrong path or method, in the shape of all errors."""
    assert isinstance(error, HTTPException)
    text = _WRONG.get(error.status_code, error.detail)
    message = text.format(path=request.url.path[:200], method=request.method[:20])
    return error_answer(
        ApiError(error.status_code, message, headers=dict(error.headers or {}))
    )  # fmt: skip
