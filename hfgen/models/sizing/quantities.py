"""Numbers as people write them: parameters, bytes, spans of time."""

from __future__ import annotations

_UNREADABLE = 10**12


def in_short(count: int) -> str:
    """Return a number of parameters: 3.6M, 124M, 1.6B, 21B."""
    return _scaled(count, ((10**9, "B"), (10**6, "M"), (10**3, "K")), "")


def in_bytes(count: int) -> str:
    """Return a number of bytes, in powers of ten: 961 kB, 3.7 MB, 41 GB."""
    return _scaled(count, ((10**9, " GB"), (10**6, " MB"), (10**3, " kB")), " B")


def in_time(seconds: float) -> str:
    """Return a span of time: 7 s, 10 minutes, 1.5 hours."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} minutes" if seconds < 5400 else f"{seconds / 3600:.1f} hours"


def in_digits(value: float) -> str:
    """Return four significant digits of a number from 0, never an exponent: 1.02, 29,100.

    What is beyond a million millions is only said to be so.
    """
    if value != value or value < 1000:
        return f"{value:.4g}"
    if value >= _UNREADABLE:
        return f"over {_UNREADABLE:,}"
    return f"{float(f'{value:.4g}'):,.0f}"


def _scaled(count: int, units: tuple[tuple[int, str], ...], rest: str) -> str:
    for size, unit in units:
        # What rounds to 1000 of a unit is 1.0 of the next.
        if count >= 0.9995 * size:
            value = count / size
            return f"{value:.1f}{unit}" if value < 9.95 else f"{value:.0f}{unit}"
    return f"{count}{rest}"
