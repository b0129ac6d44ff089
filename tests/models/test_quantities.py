from __future__ import annotations

import pytest

from hfgen.models.sizing.quantities import in_bytes, in_short, in_time


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (3_554_304, "3.6M"), (124_439_808, "124M"), (1_557_611_200, "1.6B"),
        (20_914_757_184, "21B"), (9_960_000, "10M"), (999, "999"), (1500, "1.5K"),
        (999_400_000, "999M"), (999_999_999, "1.0B"), (0, "0"),
    ],
)  # fmt: skip
def test_parameters(count: int, text: str) -> None:
    assert in_short(count) == text


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 B"), (961_000, "961 kB"), (999_999, "1.0 MB"), (41 * 10**9, "41 GB")],
)  # fmt: skip
def test_bytes(count: int, text: str) -> None:
    assert in_bytes(count) == text


@pytest.mark.parametrize(
    ("seconds", "text"), [(6.6, "7 s"), (89, "89 s"), (600, "10 minutes"), (5400, "1.5 hours")]
)
def test_time(seconds: float, text: str) -> None:
    assert in_time(seconds) == text
