"""The decoding engine: everything that is generated greedily or by sampling goes through it.

Contract
    A fixed number of *slots*, each empty or holding a `Row`: a prompt with its own options, seed,
    positions, stops and text decoder. Rows enter and leave on their own, so one prompt, a batch,
    a stream and a server are this loop at different widths. `submit` queues a request, `step`
    admits what waits or else advances every row by one token, and returns events; `free_slots`
    tells a caller with endless input when to submit more.

A step is 1 and 3, or 2 and 3
    1. Admit. Waiting requests take free slots, several at once. Their prompts are computed
       without padding, those of equal length together (GPT-2: of any length), equal prompts once,
       and once what all begin with, into plain `DynamicCache`s; the keys are copied into the
       `SlotCache` (which see for the layout), and the last logits choose the row's first token.
    2. Decode. One forward pass over the active rows only: ids (B, 1), explicit positions (B, 1),
       a 2D mask when rows differ in length. Idle slots cost nothing.
    3. Choose. Each row's processors see its own unpadded ids; warpers run on the matrix of rows
       that share settings (`hfgen.generation.processors`). Greedy rows take the argmax, others
       Gumbel-argmax with noise from (seed, step, token id) (`hfgen.generation.sampling`).
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
    storage is zeroed, since masked attention multiplies it by 0. An exception of the forward pass
    itself (out of memory) leaves `step` with nothing lost: rows keep their state, requests that
    were being admitted wait again; the caller decides.

Sources: continuous batching after Yu et al. 2022 (Orca), section 4; the oracle of every path
without noise is `GenerationMixin.generate`.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from transformers.cache_utils import DynamicCache

from hfgen.errors import GenerationFailed
from hfgen.generation.cache import SlotCache
from hfgen.generation.choosing import processed
from hfgen.generation.prefix import Prefix
from hfgen.generation.records import TokenLogprob
from hfgen.generation.rows import Request, Row
from hfgen.generation.rows import RowEvent as Event
from hfgen.generation.sampling import draw
from hfgen.generation.support import check_cache, check_forward, forward_parameters
from hfgen.generation.text import Vocabulary
from hfgen.mentions import mention

__all__ = ["Engine", "Event", "Request", "Statistics"]

# Most prompt tokens computed in one forward pass.
_PREFILL_TOKENS = 8192
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
    never changes. `slots` is how many rows are decoded at once.
    """

    def __init__(self, model: Any, tokenizer: Any, *, slots: int, window: int | None) -> None:
        if slots < 1:
            raise ValueError("slots must be at least 1")
        self.slots = slots
        self.statistics = Statistics()
        self._model = model
        self._window = window
        self._vocabulary = Vocabulary(tokenizer)
        self._device = model.get_input_embeddings().weight.device
        self._accepts = forward_parameters(model)
        self.computes_any_lengths = hasattr(model, "prefill")
        """Whether prompts of unlike lengths are computed together (`DecodingGPT2`)."""
        self._block_rows: int | None = getattr(model, "block_rows", None)
        check_forward(model)
        self._waiting: deque[Request] = deque()
        self._rows: list[Row] = []
        self._cache = SlotCache()
        self._prefix = Prefix()

    @property
    def has_work(self) -> bool:
        """Whether any request is waiting or being decoded."""
        return bool(self._waiting or self._rows)

    @property
    def free_slots(self) -> int:
        """How many more requests would be admitted by the next step."""
        return max(0, self._room() - len(self._waiting)) if self._is_roomy() else 0

    def _room(self) -> int:
        return self.slots - len(self._rows)

    def _is_roomy(self) -> bool:
        """Whether enough slots are idle; several prompts at once are computed faster."""
        return self._room() > self.slots // _IDLE_PART or not self._rows

    def submit(self, request: Request) -> None:
        """Queue a request; it is admitted when a slot is free."""
        self._waiting.append(request)

    @torch.inference_mode()
    def cancel(self, key: tuple[int, int]) -> None:
        """Drop the requests and rows with this key; no further events come from them."""
        self._waiting = deque(request for request in self._waiting if request.key != key)
        for row in [row for row in self._rows if row.request.key == key]:
            self._release(row)

    @torch.inference_mode()
    def step(self) -> list[Event]:
        """Admit waiting requests, or else advance every active row by one token."""
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
        clock.first_token_s = clock.first_token_s or time.perf_counter() - clock.started
        return events

    # 1. Admit -----------------------------------------------------------------------------

    def _admit(self) -> list[Event]:
        count = min(len(self._waiting), self.slots - len(self._rows))
        requests = [self._waiting.popleft() for _ in range(count)]
        rows = [Row(request, self._vocabulary, self._model) for request in requests]
        events: list[Event] = []
        groups = deque([rows])
        try:
            self._share([row.context_ids for row in rows])
            groups = deque(self._prefill_groups(rows))
            while groups:
                events += self._prefill(groups[0])
                groups.popleft()
        except Exception:
            waiting = [row.request for group in groups for row in group]
            self._waiting.extendleft(reversed(waiting))
            if not events:
                raise
            # What was chosen is told first; the failure comes again with the next step.
        return events

    def _prefill(self, rows: list[Row]) -> list[Event]:
        """Compute the contexts of a group; choose each row's next token and give it a slot.

        A row that has a slot (its window slides) leaves it once the computation is done.
        """
        contexts: dict[tuple[int, ...], int] = {}
        for row in rows:
            contexts.setdefault(row.context_ids, len(contexts))
        indices = [contexts[row.context_ids] for row in rows]
        logits, caches = self._compute(list(contexts))
        for row in [row for row in rows if row in self._rows]:
            self._release(row)
        events = self._choose(rows, logits[indices])
        for row, index, event in zip(rows, indices, events, strict=True):
            if not event.is_last:
                reserve = min(row.tokens_left, _RESERVED_TOKENS)
                self._cache.insert(*caches[index], reserve=reserve)
                self._rows.append(row)
        return events

    def _compute(
        self, contexts: list[tuple[int, ...]]
    ) -> tuple[torch.Tensor, list[tuple[DynamicCache, int]]]:
        """Logits (B, V) after each context of a group, and where its keys are: cache and row."""
        prefix = self._prefix if self._prefix.begins(contexts[0]) else Prefix()
        start = len(prefix.ids)
        self.statistics.prefill_tokens += sum(len(context) - start for context in contexts)
        if self.computes_any_lengths:
            logits, caches = self._model.prefill(contexts, prefix)
            return logits.float(), [(cache, 0) for cache in caches]
        cache = prefix.copies(len(contexts))
        logits = self._forward_prompts([context[start:] for context in contexts], cache)
        return logits, [(cache, index) for index in range(len(contexts))]

    def _share(self, contexts: list[tuple[int, ...]]) -> None:
        """Compute what the contexts have in common, if that pays."""
        if ids := self._prefix.better(contexts):
            cache = DynamicCache()
            self._forward_prompts([ids], cache)
            self.statistics.prefill_tokens += len(ids)
            self._prefix = Prefix(ids, cache)

    def _forward_prompts(self, prompts: list[tuple[int, ...]], cache: DynamicCache) -> torch.Tensor:
        """Logits (B, V) after prompts of one length, which are appended to the cache."""
        ids = torch.tensor(prompts, dtype=torch.long, device=self._device)
        start = cache.get_seq_length()
        end = start + ids.shape[1]
        mask = torch.ones((len(prompts), end), dtype=torch.long, device=self._device)
        positions = torch.arange(start, end, device=self._device).expand_as(ids)
        logits = self._forward(ids, cache, mask, positions)
        check_cache(self._model, cache, end)
        return logits

    def _prefill_groups(self, rows: list[Row]) -> Iterator[list[Row]]:
        """Rows that fit one forward pass; of one length where the model needs that."""
        alike: dict[tuple[bool, int], list[Row]] = {}
        for row in rows:
            length = 0 if self.computes_any_lengths else len(row.context_ids)
            alike.setdefault((self._prefix.begins(row.context_ids), length), []).append(row)
        for like in alike.values():
            group: list[Row] = []
            tokens = 0
            for row in like:
                tokens += len(row.context_ids)
                if group and tokens > _PREFILL_TOKENS:
                    yield group
                    group, tokens = [], len(row.context_ids)
                group.append(row)
            yield group

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
        chosen = self._choose(rows, self._decode_logits())
        for row, event in zip(rows, chosen, strict=True):
            if event.is_last:
                self._release(row, is_broken=event.error is not None)
        return chosen

    def _decode_logits(self) -> torch.Tensor:
        """One forward pass over the active rows: logits (B, V), in slot order."""
        self._cache.prepare_step()
        ids = torch.tensor([[row.ids[-1]] for row in self._rows], device=self._device)
        mask = self._cache.step_mask()
        lengths = [[self._cache.length(slot)] for slot in range(len(self._rows))]
        positions = torch.tensor(lengths, device=self._device)
        logits = self._forward(ids, self._cache, mask, positions)
        self._cache.finish_step()
        return logits

    def _forward(
        self,
        ids: torch.Tensor,
        cache: Any,
        mask: torch.Tensor | None,
        positions: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Logits (B, V), float32, after the last of ids (B, T)."""
        inputs: dict[str, Any] = {"input_ids": ids, "past_key_values": cache, "use_cache": True}
        if mask is not None:
            inputs["attention_mask"] = mask
        if positions is not None and "position_ids" in self._accepts:
            inputs["position_ids"] = positions
        if "logits_to_keep" in self._accepts:
            inputs["logits_to_keep"] = 1
        logits: torch.Tensor = self._model(**inputs).logits
        return logits[:, -1].float()

    def _is_full(self, slot: int) -> bool:
        return self._window is not None and self._cache.length(slot) >= self._window

    def _release(self, row: Row, *, is_broken: bool = False) -> None:
        """Free a row's slot; the last row takes its place, in the cache as in the list."""
        slot = self._rows.index(row)
        if is_broken:
            self._cache.wipe(slot)
        self._cache.remove(slot)
        last = self._rows.pop()
        if last is not row:
            self._rows[slot] = last

    # 3. Choose ----------------------------------------------------------------------------

    def _choose(self, rows: list[Row], logits: torch.Tensor) -> list[Event]:
        """Choose each row's next token from its logits (B, V) and tell the rows."""
        tables = [
            None if row.request.logprobs is None else torch.log_softmax(logits[i], dim=-1)
            for i, row in enumerate(rows)
        ]
        may_be_nan = [bool(row.request.config.remove_invalid_values) for row in rows]
        is_invalid = logits.sum(dim=-1).isnan() & ~torch.tensor(may_be_nan, device=logits.device)
        scores = processed(rows, logits)
        tokens = scores.argmax(dim=-1)
        sampled = [i for i, row in enumerate(rows) if row.request.config.do_sample]
        if sampled:
            seeds = [rows[i].request.seed for i in sampled]
            tokens[sampled] = draw(scores[sampled], seeds, [rows[i].generated for i in sampled])
        is_invalid |= ~(scores.gather(1, tokens[:, None])[:, 0] > -torch.inf)
        events = []
        for row, token_id, broken, table in zip(
            rows, tokens.tolist(), is_invalid.tolist(), tables, strict=True
        ):
            if broken:
                events.append(row.fail(_failure(row)))
            else:
                events.append(row.accept(token_id, self._describe(row, table, token_id)))
        return events

    def _describe(self, row: Row, table: torch.Tensor | None, token_id: int) -> TokenLogprob | None:
        """The token's log-probability and its alternatives, from log-probabilities (V,)."""
        if table is None:
            return None
        text = self._vocabulary.token_text
        top = torch.topk(table, min(row.request.logprobs or 0, table.numel()))
        return TokenLogprob(
            token_id,
            text(token_id),
            float(table[token_id]),
            tuple(
                (other, text(other), logprob)
                for other, logprob in zip(top.indices.tolist(), top.values.tolist(), strict=True)
            ),
        )


def _failure(row: Row) -> GenerationFailed:
    float32 = mention("dtype", "float32")
    if row.processors.by_ids or row.processors.warpers or row.processors.last:
        hint = f"loosen suppress_tokens, bad_words and the like, or try {float32}"
    else:
        hint = f"try {float32}"
    return GenerationFailed(
        f"the model's scores for token {row.generated + 1} leave nothing to choose", hint=hint
    )
