"""Fitting a prompt and a length into a model's window."""

from __future__ import annotations

from collections.abc import Sequence

from hfgen.errors import ContextOverflow
from hfgen.generation.options.options import Overflow
from hfgen.mentions import mention


def fit(
    prompt_ids: Sequence[int],
    max_new_tokens: int,
    *,
    is_explicit: bool,
    window: int | None,
    overflow: Overflow,
    what: str = "prompt",
) -> tuple[tuple[int, ...], int]:
    """Return (prompt ids, new tokens) that fit `window` together.

    A length that nobody asked for (`is_explicit` False) shrinks to the room there is. Otherwise
    `overflow` decides: "error" raises `ContextOverflow` with the counts, "truncate" drops the
    prompt's beginning, "slide" leaves the length alone, since the window will move, and drops
    the beginning of a prompt that alone is too long. At most half the window is taken from a
    prompt for a length that nobody asked for. `what` names the prompt in the error.
    """
    ids = tuple(prompt_ids)
    if window is None or len(ids) + max_new_tokens <= window:
        return ids, max_new_tokens
    room = window - len(ids)
    if overflow == "slide":
        return (ids if room > 0 else ids[-(window - min(max_new_tokens, max(1, window // 2))) :]), (
            max_new_tokens
        )
    if not is_explicit:
        if room > 0:
            return ids, room
        max_new_tokens = min(max_new_tokens, max(1, window // 2))
    if overflow == "truncate" and max_new_tokens < window:
        return ids[-(window - max_new_tokens) :], max_new_tokens
    truncate, slide = mention("overflow", "truncate"), mention("overflow", "slide")
    wanted = f" plus {max_new_tokens} new" if is_explicit else ""
    if max_new_tokens >= window:
        hint = f"ask for fewer ({mention('max_new_tokens', max(1, room))}), or use {slide}"
    elif room > 0:
        hint = f"use {mention('max_new_tokens', room)}, {truncate} or {slide}"
    else:
        hint = f"shorten the {what}, or use {truncate} or {slide}"
    raise ContextOverflow(
        f"the {what} has {len(ids)} tokens{wanted}, the model's window is {window}", hint=hint
    )
