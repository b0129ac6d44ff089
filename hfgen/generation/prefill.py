"""Prompts through the model: `Forward`, one pass, and `Prefill`, the prompts of an admission.

Prompts are computed without padding: those of equal length together, or of any lengths where the
model can (`DecodingGPT2`); equal ones once, once what most begin with (`Prefix`), and not at all
what an earlier text began with (`KeptTexts`). A long prompt goes through the model in parts, which
bounds the memory and tells how far it is. Neither knows of slots, or of what is chosen.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from transformers.cache_utils import DynamicCache

from hfgen.generation.capabilities import check_cache, check_forward, forward_parameters
from hfgen.generation.kept import KeptTexts
from hfgen.generation.prefix import Prefix
from hfgen.generation.sequences import Row

Progress = Callable[[int, int], None]
"""Is told how many of an admission's prompt tokens are computed, and how many there are."""

# Most prompt tokens computed in one forward pass, and most of a single prompt.
_PASS_TOKENS = 8192
_PART_TOKENS = 512


class Forward:
    """The forward pass of a model, with a cache."""

    def __init__(self, model: Any) -> None:
        check_forward(model)
        self.model = model
        self.device = model.get_input_embeddings().weight.device
        self._accepts = forward_parameters(model)

    def __call__(
        self, ids: torch.Tensor, cache: Any, mask: torch.Tensor | None, positions: torch.Tensor
    ) -> torch.Tensor:
        """Logits (B, V), float32, after the last of ids (B, T)."""
        inputs: dict[str, Any] = {"input_ids": ids, "past_key_values": cache, "use_cache": True}
        if mask is not None:
            inputs["attention_mask"] = mask
        if "position_ids" in self._accepts:
            inputs["position_ids"] = positions
        if "logits_to_keep" in self._accepts:
            inputs["logits_to_keep"] = 1
        logits: torch.Tensor = self.model(**inputs).logits
        return logits[:, -1].float()


class Prefill:
    """Computes the prompts of one admission after the other, and keeps what they share."""

    def __init__(
        self, forward: Forward, progress: Progress | None = None, *, kept: int = 0
    ) -> None:
        self.takes_any_lengths = hasattr(forward.model, "prefill")
        """Whether prompts of unlike lengths are computed together (`DecodingGPT2`)."""
        self.prefix = Prefix()
        """What most prompts begin with."""
        self.kept = KeptTexts(kept)
        self.tokens = 0
        """Computed so far, in all."""
        self._forward = forward
        self._progress = progress or (lambda done, total: None)
        self._done = self._total = 0

    def begin(self, rows: list[Row]) -> Iterator[list[Row]]:
        """Begin an admission: compute what its rows share, and yield the groups to `compute`."""
        contexts = [row.context_ids for row in rows]
        if ids := self.prefix.better(contexts):
            prefix = Prefix(ids)
            rest = sum(len(c) - len(ids) * prefix.begins(c) for c in set(contexts))
            self._announce(len(ids) + rest)
            self._forward_prompts([ids], prefix.cache)
            self.prefix = prefix
        else:
            self._announce(sum(len(c) - len(self._prefix_of(c).ids) for c in set(contexts)))
        return self._groups(rows)

    def compute(
        self, contexts: list[tuple[int, ...]]
    ) -> tuple[torch.Tensor, list[tuple[DynamicCache, int]]]:
        """Logits (B, V) after each context of a group, and where its keys are: cache and row."""
        prefix = self._prefix_of(contexts[0])
        start = len(prefix.ids)
        if self.takes_any_lengths:
            logits, caches = self._forward.model.prefill(contexts, prefix)
            self._count(sum(len(context) - start for context in contexts))
            return logits.float(), [(cache, 0) for cache in caches]
        cache = prefix.copies(len(contexts))
        logits = self._forward_prompts([context[start:] for context in contexts], cache)
        return logits, [(cache, index) for index in range(len(contexts))]

    def _prefix_of(self, context: tuple[int, ...]) -> Prefix:
        """The longest beginning of a context that is computed already."""
        shared = self.prefix if self.prefix.begins(context) else Prefix()
        kept = self.kept.beginning(context)
        return kept if kept is not None and len(kept.ids) > len(shared.ids) else shared

    def _forward_prompts(self, prompts: list[tuple[int, ...]], cache: DynamicCache) -> torch.Tensor:
        """Logits (B, V) after prompts of one length, which are appended to the cache."""
        device = self._forward.device
        start = cache.get_seq_length()
        ids = torch.tensor(prompts, dtype=torch.long, device=device)
        for part in torch.split(ids, _PART_TOKENS, dim=1):
            end = start + part.shape[1]
            mask = torch.ones((len(prompts), end), dtype=torch.long, device=device)
            positions = torch.arange(start, end, device=device).expand_as(part)
            logits = self._forward(part, cache, mask, positions)
            check_cache(self._forward.model, cache, end)
            self._count(part.numel())
            start = end
        return logits

    def _announce(self, total: int) -> None:
        self._done, self._total = 0, total
        self._progress(0, total)

    def _count(self, tokens: int) -> None:
        self.tokens += tokens
        self._done += tokens
        # A window that slides is computed again beside any admission.
        if self._done <= self._total:
            self._progress(self._done, self._total)

    def _groups(self, rows: list[Row]) -> Iterator[list[Row]]:
        """Rows with one prefix that fit one pass; of one length where the model needs that."""
        alike: dict[tuple[tuple[int, ...], int], list[Row]] = {}
        for row in rows:
            length = 0 if self.takes_any_lengths else len(row.context_ids)
            prefix = self._prefix_of(row.context_ids)
            alike.setdefault((prefix.ids, length), []).append(row)
        for like in alike.values():
            group: list[Row] = []
            tokens = 0
            for row in like:
                tokens += len(row.context_ids)
                if group and tokens > _PASS_TOKENS:
                    yield group
                    group, tokens = [], len(row.context_ids)
                group.append(row)
            yield group
