"""Long texts in overlapping windows, in which every token is scored exactly once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from hfgen.errors import UsageError
from hfgen.scoring.scorer import Request


def strided(
    context_ids: Sequence[int], target_ids: Sequence[int], window: int, stride: int | None = None
) -> Iterator[Request]:
    """Requests that score `target_ids` after `context_ids`, in order, each token once.

    The first scores as many tokens as the window holds, each later one up to `stride` more, with
    as much before them as fits: a small stride gives tokens more context and costs more. Without a
    stride it is the window, so that windows do not overlap but for the token before them. Of a long
    context the end is used. Raises `UsageError` for a stride that is not 1 to `window`.

    Source: the strided evaluation of Transformers' documentation ("Perplexity of fixed-length
    models"), whose windows score their last `stride` tokens.
    """
    step = window if stride is None else stride
    if not 1 <= step <= window:
        raise UsageError(f"stride is {step}, must be 1 to {window} (the context window)")
    ids = [*context_ids, *target_ids]
    start = len(context_ids)
    end = min(len(ids), max(window + 1, start + step))
    while start < len(ids):
        # The last target is predicted, and is no input itself.
        first = max(0, end - window - 1)
        first = min(first, start - 1)
        yield Request(tuple(ids[first:start]), tuple(ids[start:end]))
        start, end = end, min(len(ids), end + step)
