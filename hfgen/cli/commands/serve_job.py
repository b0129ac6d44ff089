"""A `hfgen serve` that was found in order: bind, load, listen, and stop when asked to."""

from __future__ import annotations

import importlib.util
import signal
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from types import FrameType
from typing import TYPE_CHECKING

from hfgen.cli.flags import common as flags
from hfgen.cli.program.console import Console
from hfgen.cli.program.loading import loaded
from hfgen.cli.program.signals import interruption
from hfgen.errors import MissingExtra
from hfgen.models.checkpoint.load_options import LoadOptions
from hfgen.serving.settings import ServerSettings

if TYPE_CHECKING:
    from hfgen.serving.metrics import Metrics
    from hfgen.serving.server import ListeningServer
    from hfgen.serving.service import Service
    from hfgen.serving.worker import Worker

_PACKAGES = ("starlette", "uvicorn", "prometheus_client")


@dataclass(frozen=True)
class Job:
    """A checked command line, ready to run."""

    console: Console
    names: Mapping[str | None, str | None]
    """What clients call each model, and which it is."""
    which: LoadOptions
    settings: ServerSettings
    slots: int

    def run(self) -> None:
        """Serve until a signal comes."""
        if any(importlib.util.find_spec(package) is None for package in _PACKAGES):
            raise MissingExtra("hfgen serve", "serve")
        with flags.in_words_of_flags({}):
            from hfgen.serving.server import bind

            listener = bind(self.settings)
        with self.console.isolated(), flags.in_words_of_flags({}):
            from hfgen.serving.app import create_app
            from hfgen.serving.metrics import Metrics
            from hfgen.serving.server import ListeningServer, url_of
            from hfgen.serving.service import Service

            metrics = Metrics()
            service = Service(self._workers(metrics), self.settings, self._report)
            url = url_of(listener)

            def announce() -> None:
                names = ", ".join(service.workers)
                self.console.notice(f"serving {names} at {url} (Ctrl-C stops it)")

            app = create_app(service, metrics, self._log if self.console.is_verbose else None)
            server = ListeningServer(app, announce)
            with self._stopping_on_signals(server, service) as arrived:
                server.serve_on(listener)
        if server.force_exit:
            raise interruption(arrived[-1])

    def _workers(self, metrics: Metrics) -> dict[str, Worker]:
        from hfgen.serving.worker import Worker

        workers = {}
        for name, model in self.names.items():
            lm = loaded(self.console, replace(self.which, name=model))
            called = name or lm.name
            watch = metrics.watch(called)
            workers[called] = Worker(lm, slots=self.slots, watch=watch, notify=self.console.notice)
        return workers

    @contextmanager
    def _stopping_on_signals(
        self, server: ListeningServer, service: Service
    ) -> Iterator[list[int]]:
        """Have signals stop the server; yields those that came."""
        arrived: list[int] = []

        def handle(number: int, frame: FrameType | None) -> None:
            arrived.append(number)
            server.stop()
            count = sum(map(len, service.tickets.values()))
            if len(arrived) == 1 and count:
                what = "a request" if count == 1 else f"{count} requests"
                self.console.notice(f"finishing {what} (again to stop at once)")

        names = ("SIGINT", "SIGTERM", "SIGHUP")
        numbers = [getattr(signal, name) for name in names if hasattr(signal, name)]
        before = {number: signal.getsignal(number) for number in numbers}
        taken = [number for number, earlier in before.items() if callable(earlier)]
        for number in taken:
            signal.signal(number, handle)
        try:
            yield arrived
        finally:
            for number in taken:
                signal.signal(number, before[number])

    def _report(self, error: Exception) -> None:
        self.console.notice(f"warning: a request failed: {type(error).__name__}: {error}")
        if self.console.is_debug:
            self.console.report_traceback(error)

    def _log(self, method: str, path: str, status: int, seconds: float) -> None:
        self.console.notice(f"{method} {path} {status} {seconds:.3f} s")
