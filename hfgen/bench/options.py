"""What is measured: the one home of the benchmark's defaults and ranges. Imports no torch."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from hfgen.errors import InvalidOption
from hfgen.training.model.new_gpt2 import find_size

_RANGES = {"prompt_tokens": (1, 100_000), "new_tokens": (2, 100_000), "repetitions": (1, 1000)}
_PRECISIONS: dict[str, str | None] = {"none": None, "int8": "int8"}


@dataclass(frozen=True)
class BenchOptions:
    """What is measured; values are checked when it is made (`InvalidOption`)."""

    batch_sizes: tuple[int, ...] = (1, 16, 64)
    prompt_tokens: int = 16
    new_tokens: int = 64
    repetitions: int = 5
    shape: str | None = None
    """A size of GPT-2 with random weights, instead of a model."""
    quantize: tuple[str | None, ...] = (None,)
    """Precisions to measure in turn: None is the model's own."""

    def __post_init__(self) -> None:
        for name, (low, high) in _RANGES.items():
            _check_number(name, getattr(self, name), low, high)
        if not self.batch_sizes or len(set(self.batch_sizes)) < len(self.batch_sizes):
            raise InvalidOption("batch_size", self.batch_sizes, "different numbers, as in 1,16,64")
        for size in self.batch_sizes:
            _check_number("batch_size", size, 1, 1024)
        names = tuple(map(precision_name, self.quantize))
        if not names or len(set(names)) < len(names) or not set(names) <= set(_PRECISIONS):
            raise InvalidOption("quantize", ",".join(names), "none, int8 or none,int8")
        if self.shape is not None:
            try:
                find_size(self.shape)
            except InvalidOption as error:
                raise InvalidOption("shape", self.shape, error.allowed) from error


def parse_batch_sizes(text: str) -> tuple[int, ...]:
    """Read `1,16,64`."""
    parts: Iterable[str] = text.split(",")
    try:
        return tuple(int(part) for part in parts)
    except ValueError:
        raise InvalidOption("batch_size", text, "numbers from 1 to 1024, as in 1,16,64") from None


def parse_quantize(text: str) -> tuple[str | None, ...]:
    """Read `none,int8`."""
    return tuple(_PRECISIONS.get(part, part) for part in text.split(","))


def precision_name(quantize: str | None) -> str:
    """How a precision is called."""
    return "none" if quantize is None else quantize


def _check_number(name: str, value: int, low: int, high: int) -> None:
    if not low <= value <= high:
        raise InvalidOption(name, value, f"a whole number from {low} to {high}")
