"""Keys and values of texts that ended, for prompts that begin as they do.

A conversation's next prompt repeats all that was said; an edited one repeats its beginning. Both
start from what the engine has kept, and only what differs is computed.
"""

from __future__ import annotations

from collections.abc import Sequence

from transformers.cache_utils import DynamicCache

from hfgen.generation.prefix import LEAST_TOKENS, Prefix


class KeptTexts:
    """The newest texts' ids and caches, so many of them."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._texts: list[tuple[tuple[int, ...], DynamicCache]] = []

    def add(self, ids: Sequence[int], cache: DynamicCache) -> None:
        """Keep a text; `cache` holds one row of the length of `ids`, and is not copied."""
        if self._most == 0 or len(ids) < LEAST_TOKENS:
            return
        new = tuple(ids)
        others = [(old, kept) for old, kept in self._texts if new[: len(old)] != old]
        self._texts = [*others, (new, cache)][-self._most :]

    def beginning(self, context: Sequence[int]) -> Prefix | None:
        """The longest beginning of a context that is kept, where it spares some computation.

        At least the last token of the context is left to be computed.
        """
        best, length = None, LEAST_TOKENS - 1
        for ids, cache in self._texts:
            if (shared := _shared(ids, context[:-1])) > length:
                best, length = cache, shared
        if best is None:
            return None
        return Prefix(tuple(context[:length]), _cropped(best, length))


def _shared(one: Sequence[int], other: Sequence[int]) -> int:
    """How many ids both begin with."""
    for length, (mine, yours) in enumerate(zip(one, other, strict=False)):
        if mine != yours:
            return length
    return min(len(one), len(other))


def _cropped(cache: DynamicCache, length: int) -> DynamicCache:
    """A cache of the first tokens alone, on the same storage."""
    cropped = DynamicCache()
    for index, layer in enumerate(cache.layers):
        cropped.update(layer.keys[:, :, :length], layer.values[:, :, :length], index)
    return cropped
