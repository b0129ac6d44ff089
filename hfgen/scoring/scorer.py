"""`Scorer`: log-probabilities and ranks of given tokens, many requests in few passes.

How it is computed
    Requests with the same context share it: the context goes through the model once, and its keys
    are used by all of them. The others are sorted by length and computed side by side, padded on
    the right, where a causal model cannot see it; requests that read the same tokens share a row,
    as labels of one token do, and where all of a pass begin alike, as after the same examples, that
    goes through the model once. Logits are made only where they are needed, and
    never more at once than `_PASS_LOGITS`. Log-probabilities are float32, as the model's logits
    are; sums are float64.

What a score depends on
    Context and target alone. Order, neighbours, padding and shared contexts change only the shapes
    of matrix products, hence the last bits: below 1e-5 in float32.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from transformers.cache_utils import DynamicCache

from hfgen.errors import ContextOverflow, UsageError
from hfgen.generation.capabilities import forward_parameters
from hfgen.generation.prefix import LEAST_TOKENS, Prefix

# Most tokens of one pass, padding included, and most logits that it makes (float32).
_PASS_TOKENS = 8192
_PASS_LOGITS = 2**26
# To repeat so many tokens of a context is cheaper than a pass for it alone.
_REPEATED_TOKENS = 64

Progress = Callable[[int, int], None]
"""Is told how many tokens of the requests are computed, and how many there are."""
Alternatives = tuple[tuple[int, float], ...]
"""(token id, log-probability) of the most likely tokens, the most likely first."""


@dataclass(frozen=True)
class Request:
    """Tokens to score, after others."""

    context_ids: tuple[int, ...]
    """At least one token (the one that begins texts, if nothing else)."""
    target_ids: tuple[int, ...]
    """At least one token."""

    def __post_init__(self) -> None:
        if not self.context_ids or not self.target_ids:
            raise UsageError("context and target need at least one token each")

    @property
    def input_ids(self) -> tuple[int, ...]:
        """What the model reads: the last target is only predicted."""
        return self.context_ids + self.target_ids[:-1]


@dataclass(frozen=True)
class Scores:
    """What the model says of the target tokens of one request."""

    logprobs: tuple[float, ...]
    """Natural logarithm of each target token's probability, in order."""
    ranks: tuple[int, ...]
    """How many tokens are more likely; 0 for the most likely one."""
    top: tuple[Alternatives, ...] = ()
    """The most likely tokens in each target token's place, where they were asked for."""
    masses: tuple[float, ...] = ()
    """Log-probability in each place that any token of a set stands there, where one was given."""

    def __add__(self, other: Scores) -> Scores:
        return Scores(
            self.logprobs + other.logprobs,
            self.ranks + other.ranks,
            self.top + other.top,
            self.masses + other.masses,
        )

    @property
    def total(self) -> float:
        """Log-probability of the whole target."""
        return math.fsum(self.logprobs)

    @property
    def is_greedy(self) -> bool:
        """Whether greedy decoding would write the target."""
        return not any(self.ranks)


class Scorer:
    """Scores requests on one causal language model."""

    def __init__(self, model: Any, window: int | None) -> None:
        """`window` is the most tokens that the model reads at once, None for no limit."""
        self.window = window
        self.tokens = 0
        """Computed so far, padding included."""
        self._model = model
        self._device = model.get_input_embeddings().weight.device
        self._vocabulary = int(model.get_input_embeddings().weight.shape[0])
        self._accepts = forward_parameters(model)
        self._begun = Prefix()

    @torch.inference_mode()
    def score(
        self,
        requests: Sequence[Request],
        *,
        top: int = 0,
        mass_of: Sequence[int] = (),
        progress: Progress | None = None,
    ) -> list[Scores]:
        """Score requests; results are in their order.

        `top` is how many alternatives to report in each place, `mass_of` the ids of a set of tokens
        whose probability together is reported. Raises `ContextOverflow` for a
        request that the model cannot read at once (cut it by `hfgen.scoring.windows`).
        """
        known = [token_id for token_id in mass_of if token_id < self._vocabulary]
        wanted = _Wanted(top, torch.tensor(known, dtype=torch.long, device=self._device))
        report = progress or (lambda done, total: None)
        found: dict[int, Scores] = {}
        total = sum(len(request.input_ids) for request in requests)
        for request in requests:
            self._check(request)
        done = 0
        for indices, shared in self._passes(requests):
            batch = [requests[index] for index in indices]
            scores = self._sharing(batch, wanted) if shared else self._side_by_side(batch, wanted)
            found.update(zip(indices, scores, strict=True))
            done += sum(len(request.input_ids) for request in batch)
            report(done, total)
        return [found[index] for index in range(len(requests))]

    @torch.inference_mode()
    def tables(self, request: Request) -> torch.Tensor:
        """Log-probabilities (T, V) of every token in the place of each of T target tokens."""
        self._check(request)
        first = len(request.context_ids) - 1
        logits = self._forward([request.input_ids], DynamicCache(), first)[0]
        return torch.log_softmax(logits.float(), dim=-1)

    def _check(self, request: Request) -> None:
        length = len(request.input_ids)
        if self.window is not None and length > self.window:
            raise ContextOverflow(
                f"context and target have {length:,} tokens to read, the model's window has "
                f"{self.window:,}"
            )

    def _passes(self, requests: Sequence[Request]) -> Iterator[tuple[list[int], bool]]:
        """Which requests to compute together, and whether by a context that they share."""
        alike: dict[tuple[int, ...], list[int]] = {}
        for index, request in enumerate(requests):
            alike.setdefault(request.context_ids, []).append(index)
        alone: dict[tuple[int, ...], list[int]] = {}
        for context, indices in alike.items():
            inputs = {requests[index].input_ids for index in indices}
            repeated = (len(inputs) - 1) * len(context)
            if repeated <= _REPEATED_TOKENS or len(context) < LEAST_TOKENS:
                for index in indices:
                    alone.setdefault(requests[index].input_ids, []).append(index)
                continue
            indices.sort(key=lambda index: len(requests[index].target_ids))
            for batch in self._batches(indices, [requests[i].target_ids for i in indices]):
                yield batch, True
        rows = sorted(alone, key=lambda ids: -len(ids))
        for batch in self._batches(list(range(len(rows))), rows):
            yield [index for row in batch for index in alone[rows[row]]], False

    def _batches(self, indices: list[int], sequences: list[tuple[int, ...]]) -> Iterator[list[int]]:
        """Neighbours, as many as one pass takes."""
        most = min(_PASS_TOKENS, max(1, _PASS_LOGITS // self._vocabulary))
        batch: list[int] = []
        longest = 0
        for index, ids in zip(indices, sequences, strict=True):
            longest = max(longest, len(ids))
            if batch and longest * (len(batch) + 1) > most:
                yield batch
                batch, longest = [], len(ids)
            batch.append(index)
        if batch:
            yield batch

    def _side_by_side(self, requests: list[Request], wanted: _Wanted) -> list[Scores]:
        rows: dict[tuple[int, ...], int] = {}
        row_of = [rows.setdefault(request.input_ids, len(rows)) for request in requests]
        first = [len(request.context_ids) - 1 for request in requests]
        targets = [request.target_ids for request in requests]
        prefix = self._common(list(rows), min(first))
        inputs = [ids[len(prefix.ids) :] for ids in rows]
        first = [place - len(prefix.ids) for place in first]
        return self._scored(inputs, row_of, first, targets, prefix, wanted)

    def _common(self, inputs: list[tuple[int, ...]], most: int) -> Prefix:
        """What all inputs begin with, up to `most` tokens, computed; the newest is kept."""
        low, high = min(inputs), max(inputs)
        length = next((at for at in range(most) if low[at] != high[at]), most)
        known = self._begun.ids
        is_alike = bool(known) and known == low[: len(known)]
        if is_alike and len(known) <= length < len(known) + _REPEATED_TOKENS:
            return self._begun
        if length <= _REPEATED_TOKENS or len(inputs) == 1:
            return Prefix()
        self._begun = Prefix(low[:length], DynamicCache())
        self._forward([low[:length]], self._begun.cache, length - 1)
        return self._begun

    def _sharing(self, requests: list[Request], wanted: _Wanted) -> list[Scores]:
        """Score targets after one context, which is computed once."""
        context = requests[0].context_ids
        prefix = Prefix(context, DynamicCache())
        logits = self._forward([context], prefix.cache, len(context) - 1)[0]
        first = [_scores(logits, request.target_ids[:1], wanted) for request in requests]
        targets = [request.target_ids[1:] for request in requests]
        if not any(targets):
            return first
        inputs = [request.target_ids[:-1] for request in requests]
        rows = list(range(len(inputs)))
        rest = self._scored(inputs, rows, [0] * len(rows), targets, prefix, wanted)
        return [one + other for one, other in zip(first, rest, strict=True)]

    def _scored(
        self,
        inputs: list[tuple[int, ...]],
        row_of: list[int],
        first: list[int],
        targets: list[tuple[int, ...]],
        prefix: Prefix,
        wanted: _Wanted,
    ) -> list[Scores]:
        """Score targets: the i-th stands in row `row_of[i]`, behind position `first[i]`."""
        found = [Scores((), ()) for _ in targets]
        length = max(map(len, inputs))
        cache = prefix.copies(len(inputs)) if prefix.ids else prefix.cache
        part = max(1, _PASS_LOGITS // (self._vocabulary * len(inputs)))
        low = min(first)
        for end in range(min(length, low + part), length + part, part):
            start, end = cache.get_seq_length() - len(prefix.ids), min(end, length)
            ids = [tuple(row[start:end]) + (0,) * (end - max(start, len(row))) for row in inputs]
            keep_from = max(low, start) - start
            logits = self._forward(ids, cache, keep_from)
            for index, (row, begin, tokens) in enumerate(zip(row_of, first, targets, strict=True)):
                here = tokens[max(0, start + keep_from - begin) : max(0, end - begin)]
                at = max(0, begin - start - keep_from)
                found[index] += _scores(logits[row, at : at + len(here)], here, wanted)
        return found

    def _forward(
        self, sequences: list[tuple[int, ...]], cache: DynamicCache, keep_from: int
    ) -> torch.Tensor:
        """Logits (B, K, V) of sequences (B, T) behind what the cache holds, from `keep_from` on."""
        start = cache.get_seq_length()
        self.tokens += sum(map(len, sequences))
        ids = torch.tensor(sequences, dtype=torch.long, device=self._device)
        count, length = ids.shape
        mask = torch.ones((count, start + length), dtype=torch.long, device=self._device)
        inputs: dict[str, Any] = {
            "input_ids": ids,
            "past_key_values": cache,
            "attention_mask": mask,
            "use_cache": True,
        }
        if "position_ids" in self._accepts:
            positions = torch.arange(start, start + length, device=self._device).expand_as(ids)
            inputs["position_ids"] = positions.clamp(max=(self.window or 2**31) - 1)
        if "logits_to_keep" in self._accepts:
            inputs["logits_to_keep"] = length - keep_from
        logits: torch.Tensor = self._model(**inputs).logits
        return logits[:, keep_from - length :]


@dataclass(frozen=True)
class _Wanted:
    """What to report of each place besides the target."""

    top: int
    mass_of: torch.Tensor


def _scores(logits: torch.Tensor, target_ids: tuple[int, ...], wanted: _Wanted) -> Scores:
    """Read the targets' scores off their logits (T, V)."""
    table = torch.log_softmax(logits.float(), dim=-1)
    targets = torch.tensor(target_ids, dtype=torch.long, device=logits.device)[:, None]
    chosen = table.gather(1, targets)
    ranks = (table > chosen).sum(dim=-1)
    best: tuple[Alternatives, ...] = ()
    if wanted.top:
        values, ids = table.topk(min(wanted.top, table.shape[-1]), dim=-1)
        best = tuple(
            tuple(zip(one_ids, one_values, strict=True))
            for one_ids, one_values in zip(ids.tolist(), values.tolist(), strict=True)
        )
    masses: tuple[float, ...] = ()
    if len(wanted.mass_of):
        masses = tuple(table[:, wanted.mass_of].logsumexp(dim=-1).tolist())
    return Scores(tuple(chosen[:, 0].tolist()), tuple(ranks.tolist()), best, masses)
