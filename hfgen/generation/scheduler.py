"""The loop over the engine: texts wait, enter, grow and end.

Every command that generates drives a `Scheduler`: a stream, a batch, the samples of a training, a
chat and the server submit texts and call `step` until there is no work. It knows nothing of rows,
files or connections.

Who enters
    Texts enter in the order of submission whenever an eighth of the slots is free; where the engine
    computes prompts of one length only in one pass, those of the oldest one's length enter with it.
    When no more texts will come, the longest enter first, so that the last ones end at about one
    time.

A lack of memory
    halves the slots if the caller allows it (`on_fewer_slots`): texts under way begin again from
    their seeds, which gives the same texts, and what they had handed out is not handed out twice.
    A text that needs too much alone fails.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hfgen.errors import HfgenError, OutOfMemory, is_out_of_memory
from hfgen.generation.records import Piece, Record
from hfgen.mentions import mention

if TYPE_CHECKING:
    from hfgen.generation.engine import Engine, Statistics
    from hfgen.generation.results import TextInProgress

_ENTERING_PART = 8


@dataclass(frozen=True)
class Failed:
    """The end of a text that has no record."""

    index: int
    sample: int
    error: HfgenError


class Scheduler:
    """Runs texts on an engine; see the module's docstring.

    Not safe for use by several threads at once.
    """

    def __init__(
        self,
        engine: Engine,
        *,
        lm: Any = None,
        on_fewer_slots: Callable[[int], None] | None = None,
    ) -> None:
        """`lm` is the language model that runs what no engine can (`delegate`).

        `on_fewer_slots` hears of the new number of slots; without it, `step` raises.
        """
        self.slots = engine.slots
        """Most texts at once, fewer after a lack of memory."""
        self.more_will_come = True
        """Whether texts may still be submitted; the caller says when none will."""
        self._lm = lm
        self._engine = engine
        self._on_fewer_slots = on_fewer_slots
        self._waiting: list[TextInProgress] = []
        self._running: dict[tuple[int, int], TextInProgress] = {}

    @property
    def has_work(self) -> bool:
        """Whether any text waits or is generated."""
        return bool(self._waiting or self._running)

    @property
    def waiting(self) -> int:
        """How many texts wait for a slot."""
        return len(self._waiting)

    @property
    def running(self) -> int:
        """How many texts are generated."""
        return len(self._running)

    @property
    def free_slots(self) -> int:
        """How many more texts would enter with the next step."""
        free = self.slots - len(self._running) - len(self._waiting)
        return free if free > 0 and self._is_roomy() else 0

    @property
    def statistics(self) -> Statistics:
        """Counts and times of the engine."""
        return self._engine.statistics

    def submit(self, texts: Iterable[TextInProgress]) -> None:
        """Take texts, whose keys differ from those of all others here."""
        self._waiting += texts

    def cancel(self, index: int) -> None:
        """Drop all texts of a prompt; nothing more comes of them."""
        self._waiting = [text for text in self._waiting if text.request.key[0] != index]
        for key in [key for key in self._running if key[0] == index]:
            del self._running[key]
            self._engine.cancel(key)

    def step(self) -> list[Piece | Failed]:
        """Let texts enter, and advance all; return what became certain, in any order of texts.

        A prompt's texts that are given up with it have to be cancelled by the caller. Whatever it
        raises, the scheduler cannot be used afterwards.
        """
        if self._waiting and self._waiting[0].request.is_delegated:
            return self._delegate(self._waiting.pop(0))
        self._admit()
        if not self._running:
            return []
        try:
            events = self._engine.step()
        except Exception as error:
            if self._on_fewer_slots is None or not is_out_of_memory(error):
                raise
            events = None
        if events is None:  # the exception is gone, and with it what its frames held
            return self._shrink()
        found: list[Piece | Failed] = []
        for event in events:
            text = self._running.pop(event.key) if event.is_last else self._running[event.key]
            if event.error is not None:
                found.append(Failed(*event.key, event.error))
            elif (piece := text.add(event)) is not None:
                found.append(piece)
        return found

    def finish(self) -> list[Record]:
        """Run everything to its end; return the records by prompt and sample, or raise."""
        self.more_will_come = False
        records: dict[tuple[int, int], Record] = {}
        while self.has_work:
            for found in self.step():
                if isinstance(found, Failed):
                    raise found.error
                if found.record is not None:
                    records[found.index, found.sample] = found.record
        return [records[key] for key in sorted(records)]

    def _is_roomy(self) -> bool:
        """Whether enough slots are free; several prompts at once are computed faster."""
        free = self.slots - len(self._running)
        return not self._running or free >= max(1, self.slots // _ENTERING_PART)

    def _admit(self) -> None:
        if not self._is_roomy():
            return
        while chosen := self._next_ones()[: self.slots - len(self._running)]:
            keys = {text.request.key for text in chosen}
            self._waiting = [text for text in self._waiting if text.request.key not in keys]
            for text in chosen:
                self._running[text.request.key] = text
                self._engine.submit(text.request)

    def _next_ones(self) -> list[TextInProgress]:
        """Those of the waiting that should enter together, the first ones first."""
        waiting = [text for text in self._waiting if not text.request.is_delegated]
        if not waiting:
            return []
        if not self._engine.computes_any_lengths:
            ids = waiting[0].request.prompt_ids
            alike = [text for text in waiting if len(text.request.prompt_ids) == len(ids)]
            return sorted(alike, key=lambda text: text.request.prompt_ids != ids)
        if self.more_will_come:
            return waiting
        return sorted(waiting, key=lambda text: -(text.request.config.max_new_tokens or 0))

    def _delegate(self, text: TextInProgress) -> list[Piece | Failed]:
        try:
            return list(self._lm.delegate(text))
        except HfgenError as error:
            return [Failed(*text.request.key, error)]
        except Exception as error:
            if self._on_fewer_slots is None or not is_out_of_memory(error):
                raise
        return [Failed(*text.request.key, _too_big())]

    def _shrink(self) -> list[Piece | Failed]:
        """Go on with half the slots; a text that alone needs too much fails."""
        running = [self._running[key] for key in sorted(self._running)]
        self._running.clear()
        _free_memory()
        if self.slots > 1:
            self.slots //= 2
            if self._on_fewer_slots is not None:
                self._on_fewer_slots(self.slots)
        self._engine = self._engine.renewed(self.slots)
        if len(running) == 1:
            return [Failed(*running[0].request.key, _too_big())]
        self._waiting[:0] = [text.again() for text in running]
        return []


def _too_big() -> OutOfMemory:
    smaller = f"use a smaller model, shorter texts, or {mention('dtype', 'bfloat16')}"
    return OutOfMemory("not enough memory for this text", hint=smaller)


def _free_memory() -> None:
    import torch

    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
