"""The decoding engine: everything that is generated greedily or by sampling goes through it.

Contract
    A fixed number of *slots*, each empty or holding a `Row`: a prompt with its own options, seed,
    positions, stops and text decoder. Rows enter and leave on their own, so one prompt, a batch,
    a stream and a server are this loop at different widths. `submit` queues a request, `step`
    admits what waits or else advances every row by one token, and returns events; `free_slots`
    tells a caller with endless input when to submit more.

A step is 1 and 3, or 2 and 3
    1. Admit. Waiting requests take free slots, several at once. Their prompts are computed
       without padding into plain `DynamicCache`s (`hfgen.generation.prefill`); the keys are copied
       into the `SlotCache` (which see for the layout), and the last logits choose the row's first
       token.
    2. Decode. One forward pass over the active rows only: ids (B, 1), explicit positions (B, 1),
       a 2D mask when rows differ in length. Idle slots cost nothing.
    3. Choose (`hfgen.generation.sampling.choose`).
    4. Finish. A row ends by EOS, stop id, stop string, length or time, in this order of
       precedence, and its slot is free in the same step.

What a row's text depends on
    Its prompt, options and seed. Neighbours, slot number and entry order change only the shapes
    of matrix products, hence the last bits of float32 sums: a token can differ where two scores
    tie to about 1e-6. Processors are built per row, and noise is stateless.

Sliding window
    A row that may outgrow the model's window is cut back when it reaches it: the newest half of
    the window is computed again from position 0, as a fresh prompt of these tokens would be.

Failure of one row
    A row whose scores hold NaN or leave no token ends with an event that carries the error; its
    storage is zeroed, since masked attention multiplies it by 0.

Failure of a step
    An exception of `step` (out of memory, an interruption) makes the engine unusable: how far each
    row came is unknown, and events may be lost. Its cache is freed, and every later call raises
    `RuntimeError`. Whoever wants to go on makes another engine and submits the unfinished requests
    again (`renewed`); from their seeds they give the same texts.

Sources: continuous batching after Yu et al. 2022 (Orca), section 4; the oracle of every path
without noise is `GenerationMixin.generate`.
"""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass, field
from typing import Any

import torch

from hfgen.generation.cache import SlotCache
from hfgen.generation.prefill import Forward, Prefill, Progress
from hfgen.generation.sampling.choose import choose
from hfgen.generation.sequences import Request, Row
from hfgen.generation.sequences import RowEvent as Event
from hfgen.generation.text import Vocabulary

__all__ = ["Engine", "Event", "Request", "Statistics"]

# The part of the slots, one in so many, that may be idle while others could come.
_IDLE_PART = 10
# New tokens that the cache makes room for at once.
_RESERVED_TOKENS = 256


@dataclass
class Statistics:
    """Counts and times of an engine's life, in seconds and tokens."""

    prefill_tokens: int = 0
    prefill_s: float = 0.0
    decode_tokens: int = 0
    decode_s: float = 0.0
    first_token_s: float | None = None
    """From the first `step` to the first token."""
    started: float | None = field(default=None, repr=False)


class Engine:
    """Decodes rows on one model; see the module's docstring.

    `model` is a stock Transformers causal language model in evaluation mode, which the engine
    never changes. `slots` is how many rows are decoded at once; `progress` hears of long prompts.
    The keys and values of the newest `kept` texts stay, and prompts that begin as they do start
    from there.
    """

    def __init__(
        self,
        model: Any,
        tokenizer: Any,
        *,
        slots: int,
        window: int | None,
        progress: Progress | None = None,
        kept: int = 0,
    ) -> None:
        if slots < 1:
            raise ValueError("slots must be at least 1")
        self.slots = slots
        self.statistics = Statistics()
        self._model = model
        self._tokenizer = tokenizer
        self._window = window
        self._progress = progress
        self._kept = kept
        self._vocabulary = Vocabulary(tokenizer)
        self._forward = Forward(model)
        self._prompts = Prefill(self._forward, progress, kept=kept)
        self.computes_any_lengths = self._prompts.takes_any_lengths
        """Whether prompts of unlike lengths are computed together."""
        self._block_rows: int | None = getattr(model, "block_rows", None)
        self._waiting: deque[Request] = deque()
        self._rows: list[Row] = []
        self._cache = SlotCache()
        self._has_failed = False

    @property
    def has_work(self) -> bool:
        """Whether any request is waiting or being decoded."""
        self._check_usable()
        return bool(self._waiting or self._rows)

    @property
    def free_slots(self) -> int:
        """How many more requests would be admitted by the next step."""
        self._check_usable()
        return max(0, self._room() - len(self._waiting)) if self._is_roomy() else 0

    def _room(self) -> int:
        return self.slots - len(self._rows)

    def _is_roomy(self) -> bool:
        """Whether enough slots are idle; several prompts at once are computed faster."""
        return self._room() > self.slots // _IDLE_PART or not self._rows

    def submit(self, request: Request) -> None:
        """Queue a request; it is admitted when a slot is free."""
        self._check_usable()
        self._waiting.append(request)

    @torch.inference_mode()
    def cancel(self, key: tuple[int, int]) -> None:
        """Drop the requests and rows with this key; no further events come from them."""
        self._check_usable()
        self._waiting = deque(request for request in self._waiting if request.key != key)
        for row in [row for row in self._rows if row.request.key == key]:
            self._keep(row)
            self._release(row)

    def renewed(self, slots: int) -> Engine:
        """Another engine of the same model, with so many slots; it has no requests."""
        return Engine(
            self._model, self._tokenizer, slots=slots, window=self._window,
            progress=self._progress, kept=self._kept,
        )  # fmt: skip

    @torch.inference_mode()
    def step(self) -> list[Event]:
        """Admit waiting requests, or else advance every active row by one token.

        Whatever it raises, the engine cannot be used afterwards.
        """
        self._check_usable()
        try:
            return self._step()
        except BaseException:
            self._has_failed = True
            self._waiting.clear()
            self._rows.clear()
            self._cache, self._prompts = SlotCache(), Prefill(self._forward)
            raise

    def _check_usable(self) -> None:
        if self._has_failed:
            raise RuntimeError("a step of this engine has failed: make another engine")

    def _step(self) -> list[Event]:
        clock = self.statistics
        began = time.perf_counter()
        clock.started = clock.started or began
        if self._waiting and (self._is_roomy() or len(self._waiting) <= self._room()):
            events = self._admit()
            clock.prefill_s += time.perf_counter() - began
        else:
            events = self._decode()
            clock.decode_tokens += len(events)
            clock.decode_s += time.perf_counter() - began
        clock.prefill_tokens = self._prompts.tokens
        clock.first_token_s = clock.first_token_s or time.perf_counter() - clock.started
        return events

    # 1. Admit -----------------------------------------------------------------------------

    def _admit(self) -> list[Event]:
        count = min(len(self._waiting), self.slots - len(self._rows))
        requests = [self._waiting.popleft() for _ in range(count)]
        rows = [Row(request, self._vocabulary, self._model) for request in requests]
        events: list[Event] = []
        for group in self._prompts.begin(rows):
            events += self._prefill(group)
        return events

    def _prefill(self, rows: list[Row]) -> list[Event]:
        """Compute the contexts of a group; choose each row's next token and give it a slot.

        A row that has a slot (its window slides) leaves it once the computation is done.
        """
        contexts: dict[tuple[int, ...], int] = {}
        for row in rows:
            contexts.setdefault(row.context_ids, len(contexts))
        indices = [contexts[row.context_ids] for row in rows]
        logits, caches = self._prompts.compute(list(contexts))
        for row in [row for row in rows if row in self._rows]:
            self._release(row)
        events = choose(rows, logits[indices], self._vocabulary)
        for row, index, event in zip(rows, indices, events, strict=True):
            if not event.is_last:
                reserve = min(row.tokens_left, _RESERVED_TOKENS)
                self._cache.insert(*caches[index], reserve=reserve)
                self._rows.append(row)
        return events

    # 2. Decode ----------------------------------------------------------------------------

    def _decode(self) -> list[Event]:
        events: list[Event] = []
        for row in [row for slot, row in enumerate(self._rows) if self._is_full(slot)]:
            row.slide(keep=max(1, (self._window or 0) // 2))
            events += self._prefill([row])
        if events:
            return events
        if self._block_rows is not None and (order := self._cache.sort_rows(self._block_rows)):
            self._rows = [self._rows[slot] for slot in order]
        rows = list(self._rows)
        chosen = choose(rows, self._decode_logits(), self._vocabulary)
        for row, event in zip(rows, chosen, strict=True):
            if event.is_last:
                if event.error is None:
                    self._keep(row)
                self._release(row, is_broken=event.error is not None)
        return chosen

    def _decode_logits(self) -> torch.Tensor:
        """One forward pass over the active rows: logits (B, V), in slot order."""
        self._cache.prepare_step()
        device = self._forward.device
        ids = torch.tensor([[row.ids[-1]] for row in self._rows], device=device)
        mask = self._cache.step_mask()
        lengths = [[self._cache.length(slot)] for slot in range(len(self._rows))]
        positions = torch.tensor(lengths, device=device)
        logits = self._forward(ids, self._cache, mask, positions)
        self._cache.finish_step()
        return logits

    def _is_full(self, slot: int) -> bool:
        return self._window is not None and self._cache.length(slot) >= self._window

    def _keep(self, row: Row) -> None:
        """Keep what is computed of a row, for prompts that begin as its text does."""
        if self._kept:
            slot = self._rows.index(row)
            ids = row.context_ids[: self._cache.length(slot)]
            self._prompts.kept.add(ids, self._cache.copy(slot))

    def _release(self, row: Row, *, is_broken: bool = False) -> None:
        """Free a row's slot; the last row takes its place, in the cache as in the list."""
        slot = self._rows.index(row)
        if is_broken:
            self._cache.wipe(slot)
        self._cache.remove(slot)
        last = self._rows.pop()
        if last is not row:
            self._rows[slot] = last
