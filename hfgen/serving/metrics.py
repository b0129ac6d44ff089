"""`GET /metrics`: how the server is doing, in Prometheus' text format.

The names are those of llama-server with `hfgen_` for `llamacpp:`, and two histograms of waiting
times.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Histogram
from prometheus_client import generate_latest as as_text
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector
from starlette.requests import Request
from starlette.responses import Response

if TYPE_CHECKING:
    from hfgen.serving.service import Service

_SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300)


class Metrics:
    """Counts of one server; `watch` gives what a worker reports to."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        names, registry = ["model"], self.registry
        self.prompt_tokens = Counter(
            "hfgen_prompt_tokens", "Tokens of prompts that got a slot.", names, registry=registry
        )
        self.predicted_tokens = Counter(
            "hfgen_tokens_predicted", "Tokens of texts that are complete.", names, registry=registry
        )
        self.texts = Counter("hfgen_texts", "Texts that are complete.", names, registry=registry)
        self.queue_s = Histogram(
            "hfgen_queue_seconds", "From a request to its first slot.", names,
            buckets=_SECONDS, registry=registry,
        )  # fmt: skip
        self.first_token_s = Histogram(
            "hfgen_time_to_first_token_seconds", "From a request to its first token.", names,
            buckets=_SECONDS, registry=registry,
        )  # fmt: skip
        self.answers = Counter(
            "hfgen_http_requests",
            "Answers by path and status.",
            ["path", "status"],
            registry=registry,
        )  # fmt: skip

    def watch(self, model: str) -> ModelWatch:
        """What the worker of a model reports to."""
        return ModelWatch(self, model)

    def observe(self, service: Service) -> None:
        """Show what the service is doing at the moment, too."""
        self.registry.register(_Now(service))


class ModelWatch:
    """See `hfgen.serving.events.Watch`."""

    def __init__(self, metrics: Metrics, model: str) -> None:
        self._prompt_tokens = metrics.prompt_tokens.labels(model)
        self._predicted_tokens = metrics.predicted_tokens.labels(model)
        self._texts = metrics.texts.labels(model)
        self._queue_s = metrics.queue_s.labels(model)
        self._first_token_s = metrics.first_token_s.labels(model)

    def entered(self, waited_s: float, prompt_tokens: int) -> None:
        """See `Watch`."""
        self._queue_s.observe(waited_s)
        self._prompt_tokens.inc(prompt_tokens)

    def first_token(self, after_s: float) -> None:
        """See `Watch`."""
        self._first_token_s.observe(after_s)

    def text_ended(self, completion_tokens: int) -> None:
        """See `Watch`."""
        self._texts.inc()
        self._predicted_tokens.inc(completion_tokens)


class _Now(Collector):
    """Gauges that are read when they are asked for."""

    def __init__(self, service: Service) -> None:
        self._service = service

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """The gauges, by model."""
        slots, busy, processing, deferred = (
            GaugeMetricFamily(name, text, labels=["model"])
            for name, text in (
                ("hfgen_slots", "Most texts at once."),
                ("hfgen_busy_slots", "Texts that have a slot."),
                ("hfgen_requests_processing", "Requests that have begun."),
                ("hfgen_requests_deferred", "Requests that wait for a slot."),
            )
        )
        for name, worker in self._service.workers.items():
            waiting = worker.waiting
            slots.add_metric([name], worker.slots)
            busy.add_metric([name], worker.running)
            processing.add_metric([name], len(self._service.tickets[worker]) - waiting)
            deferred.add_metric([name], waiting)
        yield from (slots, busy, processing, deferred)


async def show_metrics(request: Request) -> Response:
    """Answer with all figures."""
    text = as_text(request.app.state.metrics.registry)
    return Response(text, headers={"content-type": CONTENT_TYPE_LATEST})
