"""Prompts and lengths against the window."""

from __future__ import annotations

from typing import Any

import pytest

from hfgen.errors import ContextOverflow
from hfgen.generation.prompts.context import fit


@pytest.mark.parametrize(
    ("prompt", "new", "is_explicit", "overflow", "kept", "length"),
    [
        (10, 90, True, "error", 10, 90),
        (10, 200, False, "error", 10, 90),
        (99, 200, False, "error", 99, 1),
        (10, 95, True, "truncate", 5, 95),
        (150, 20, True, "truncate", 80, 20),
        (150, 200, False, "truncate", 50, 50),
        (10, 500, True, "slide", 10, 500),
        (150, 500, True, "slide", 50, 500),
        (150, 10, True, "slide", 90, 10),
    ],
)
def test_what_fits(
    prompt: int, new: int, is_explicit: bool, overflow: Any, kept: int, length: int
) -> None:
    ids, max_new_tokens = fit(
        range(prompt), new, is_explicit=is_explicit, window=100, overflow=overflow
    )
    assert ids == tuple(range(prompt))[-kept:]
    assert max_new_tokens == length


@pytest.mark.parametrize(
    ("prompt", "new", "is_explicit", "overflow"),
    [(10, 91, True, "error"), (100, 200, False, "error"), (150, 1, True, "error"),
     (10, 100, True, "truncate")],
)  # fmt: skip
def test_what_does_not_fit_is_refused_with_the_counts(
    prompt: int, new: int, is_explicit: bool, overflow: Any
) -> None:
    with pytest.raises(ContextOverflow) as caught:
        fit(range(prompt), new, is_explicit=is_explicit, window=100, overflow=overflow)
    assert f"{prompt} tokens" in caught.value.message
    assert "window is 100" in caught.value.message
    if is_explicit:
        assert f"{new} new" in caught.value.message
    assert caught.value.hint


def test_no_window_no_limit() -> None:
    ids, new = fit(range(9), 10**6, is_explicit=True, window=None, overflow="error")
    assert (len(ids), new) == (9, 10**6)


def test_the_suggested_length_fits() -> None:
    with pytest.raises(ContextOverflow) as caught:
        fit(range(30), 100, is_explicit=True, window=100, overflow="error")
    assert '(max_new_tokens=70), or use overflow="slide"' in str(caught.value.hint)
    assert fit(range(30), 70, is_explicit=True, window=100, overflow="error")[1] == 70
