"""A request on its way through a worker, as a coroutine waits for it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence

from hfgen.generation.options.options import GenerationOptions
from hfgen.generation.prompts.encode import Reading
from hfgen.generation.records import Prompt
from hfgen.serving.events import Event


class PendingJob:
    """A `Job` whose events are awaited; to be made on the event loop that waits for them."""

    def __init__(
        self, prompts: Sequence[Prompt], options: GenerationOptions, reading: Reading
    ) -> None:
        self.prompts = prompts
        self.options = options
        self.reading = reading
        self._loop = asyncio.get_running_loop()
        self._events: asyncio.Queue[Event] = asyncio.Queue()

    def deliver(self, events: Sequence[Event]) -> None:
        """Take events from the worker's thread."""
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
            self._loop.call_soon_threadsafe(self._put, events)

    async def next(self, patience_s: float | None = None) -> Event | None:
        """The next event; None when there is none for so long."""
        try:
            async with asyncio.timeout(patience_s):
                return await self._events.get()
        except TimeoutError:
            return None

    def _put(self, events: Sequence[Event]) -> None:
        for event in events:
            self._events.put_nowait(event)
