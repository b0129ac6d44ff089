"""A beginning that prompts have in common (instructions, examples), computed once.

The engine keeps one, which rows that begin with it start from; what they add is computed as usual.
Another one takes its place when it saves more: a stranger among the prompts changes nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from transformers.cache_utils import DynamicCache

# Fewer common tokens are computed again sooner than copied.
LEAST_TOKENS = 16


@dataclass
class Prefix:
    """Ids, and the keys and values of one row of them."""

    ids: tuple[int, ...] = ()
    cache: DynamicCache = field(default_factory=DynamicCache)
    _saved: float = 0.0
    """Tokens that need not be computed, lately: each admission makes earlier ones count half."""

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
        """Ids of another prefix that saves more, to be computed; none if there is none.

        To be called once for each admission, with its contexts.
        """
        unlike = sorted(set(contexts))
        self._saved = self._saved / 2 + len(self.ids) * sum(map(self.begins, unlike))
        ids, count = most_shared(unlike)
        gain = len(ids) * (count - 1)
        return ids if len(ids) >= LEAST_TOKENS and gain >= self._saved else ()


def most_shared(contexts: Sequence[tuple[int, ...]]) -> tuple[tuple[int, ...], int]:
    """The beginning that saves most when it is computed once, and how many begin with it.

    `contexts` are sorted and differ; each that begins with it goes on by a token at least.
    """
    common = [_common(one, other) for one, other in pairwise(contexts)]
    best: tuple[tuple[int, ...], int] = ((), 0)
    shared = 0
    for at, length in enumerate(common):
        # Contexts with a common beginning are neighbours.
        low, high = at, at
        while low > 0 and common[low - 1] >= length:
            low -= 1
        while high < len(common) and common[high] >= length:
            high += 1
        count = high - low + 1
        if length * (count - 1) > shared:
            best = contexts[at][:length], count
            shared = length * (count - 1)
    return best


def _common(one: tuple[int, ...], other: tuple[int, ...]) -> int:
    """How many ids both begin with; of each at least one is left over."""
    length = 0
    for mine, yours in zip(one[:-1], other[:-1], strict=False):
        if mine != yours:
            break
        length += 1
    return length
