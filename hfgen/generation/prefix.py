"""A beginning that prompts have in common (instructions, examples), computed once.

The engine keeps one, which rows that begin with it start from; what they add is computed as usual.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from transformers.cache_utils import DynamicCache

# Fewer common tokens are computed again sooner than copied.
_LEAST_TOKENS = 16


@dataclass(frozen=True)
class Prefix:
    """Ids, and the keys and values of one row of them."""

    ids: tuple[int, ...] = ()
    cache: DynamicCache = field(default_factory=DynamicCache)

    def begins(self, context: tuple[int, ...]) -> bool:
        """Whether a context begins with it and goes on."""
        length = len(self.ids)
        return 0 < length < len(context) and context[:length] == self.ids

    def copies(self, rows: int) -> DynamicCache:
        """A cache of so many rows that hold it."""
        cache = DynamicCache()
        for index, layer in enumerate(self.cache.layers):
            keys, values = (
                stored.expand(rows, -1, -1, -1) for stored in (layer.keys, layer.values)
            )
            cache.update(keys, values, index)
        return cache

    def better(self, contexts: Sequence[tuple[int, ...]]) -> tuple[int, ...]:
        """Ids of another prefix that these contexts would gain by; none if there is none."""
        if len(set(contexts)) < 2:
            return ()
        common = common_beginning(contexts)
        is_used = all(self.begins(context) for context in contexts)
        is_longer = len(common) >= max(_LEAST_TOKENS, 2 * len(self.ids) if is_used else 0)
        return common if is_longer else ()


def common_beginning(contexts: Sequence[tuple[int, ...]]) -> tuple[int, ...]:
    """The ids that all begin with; at least one of each context is left over."""
    # In lexicographic order the first and the last have least in common.
    first, last = min(contexts), max(contexts)
    length = 0
    for one, other in zip(first, last, strict=False):
        if one != other:
            break
        length += 1
    return first[: min(length, min(map(len, contexts)) - 1)]
