"""A benchmark: load, warm up, and repeat every configuration in turn, so that noise hits all alike.

One model is loaded for each precision. They share nothing, and all must fit into memory at once.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hfgen.bench.limits import describe_machine, measure_limits
from hfgen.bench.options import BenchOptions, precision_name
from hfgen.bench.runs import Run, random_prompts, run_engine
from hfgen.bench.summary import Limits, Weights, summarize
from hfgen.errors import ContextOverflow, ModelUnsupported, OutOfMemory
from hfgen.models.sizing.memory import main_memory
from hfgen.models.sizing.quantities import in_bytes

_FLOAT_BYTES = 4

Loader = Callable[[str | None, str | None], Any]
Progress = Callable[[str], None]


@dataclass
class _Models:
    """What is measured; `engines` by precision."""

    engines: dict[str | None, Any] = field(default_factory=dict)
    load_s: dict[str, float] = field(default_factory=dict)

    @property
    def first(self) -> Any:
        return next(iter(self.engines.values()))


_Runs = dict[tuple[int, str | None], list[Run]]
"""The repetitions after the warm-up, by batch size and precision."""


def measure(
    options: BenchOptions, load: Loader, progress: Progress = lambda text: None
) -> dict[str, Any]:
    """Measure and return the result as it is written in JSON.

    `load` makes a `LanguageModel` of a folder (None: what the user named) and a value of
    `quantize`. The time of the first load has in it what is imported for it. Raises what it
    raises, `ContextOverflow` and `OutOfMemory`.
    """
    with _folder(options.shape, progress) as folder:
        models = _load(options, load, folder, progress)
    runs = _repeat(options, models, progress)
    from hfgen.generation.statistics import peak_bytes

    first = models.first.model
    peak = peak_bytes(first.device)  # before the limits are measured, which takes memory, too
    progress("measuring what the machine can do …")
    limits = measure_limits(first.device, first.dtype, options.quantize)
    return {
        "model": options.shape or models.first.name,
        "machine": describe_machine(),
        "dtype": _dtype(models.first),
        "prompt_tokens": options.prompt_tokens,
        "new_tokens": options.new_tokens,
        "repetitions": options.repetitions,
        "load_s": models.load_s,
        "peak_bytes": peak,
        "limits": limits,
        "results": _results(options, models, runs, limits),
    }


def weights_of(model: Any, quantize: str | None) -> Weights | None:
    """What decoding one token reads: all weights but the tables, and the head.

    Counted from the configuration, as the weights themselves are laid out anew. None for a model
    whose weights cannot be counted.
    """
    from hfgen.models.sizing.shape import shape_of

    try:
        shape = shape_of(model.config.to_dict())
    except ModelUnsupported:
        return None
    count = shape.weights - shape.embedding_weights + shape.vocabulary * shape.width
    return Weights(count, count * (1 if quantize else int(model.dtype.itemsize)))


def _load(options: BenchOptions, load: Loader, folder: str | None, progress: Progress) -> _Models:
    models = _Models()
    for index, quantize in enumerate(options.quantize):
        progress("loading the model …")
        began = time.perf_counter()
        lm = models.engines[quantize] = load(folder, quantize)
        models.load_s[precision_name(quantize)] = time.perf_counter() - began
        if index == 0:
            _check_window(lm, options)
            _check_memory(lm.model, len(options.quantize) - 1)
    return models


def _repeat(options: BenchOptions, models: _Models, progress: Progress) -> _Runs:
    """Each repetition runs every configuration once; the first repetition only warms up."""
    prompts = random_prompts(models.first.model, max(options.batch_sizes), options.prompt_tokens)
    runs: _Runs = {}
    for repetition in range(-1, options.repetitions):
        for size in sorted(options.batch_sizes):
            done = f"repetition {repetition + 1} of {options.repetitions}"
            progress(f"{done}, batch size {size}" if repetition >= 0 else f"warm-up, {size}")
            for quantize, lm in models.engines.items():
                run = run_engine(lm, prompts[:size], options.new_tokens)
                if repetition >= 0:
                    runs.setdefault((size, quantize), []).append(run)
    return runs


def _results(
    options: BenchOptions, models: _Models, runs: _Runs, limits: dict[str, float | None]
) -> list[dict[str, Any]]:
    results = []
    for size in options.batch_sizes:
        for quantize, lm in models.engines.items():
            operations = limits["int8_operations_per_s" if quantize else "flops_per_s"]
            assert operations is not None and limits["bytes_per_s"] is not None
            able = Limits(limits["bytes_per_s"], operations)
            weights = weights_of(lm.model, quantize)
            result = {"batch_size": size, "quantize": quantize}
            result |= summarize(options, size, runs[size, quantize], weights, able)
            results.append(result)
    return results


def _dtype(lm: Any) -> str:
    return str(lm.model.dtype).removeprefix("torch.")


def _check_window(lm: Any, options: BenchOptions) -> None:
    asked = options.prompt_tokens + options.new_tokens
    if lm.window is not None and asked > lm.window:
        raise ContextOverflow(
            f"{options.prompt_tokens} prompt tokens and {options.new_tokens} new ones exceed the "
            f"window of {lm.window}",
            hint="lower --prompt-tokens or --new-tokens",
        )


def _check_memory(model: Any, others: int) -> None:
    """Refuse so many further models in float32 where the main memory cannot hold them."""
    from hfgen.models.sizing.shape import shape_of

    memory = main_memory()
    if not others or memory is None or model.device.type != "cpu":
        return
    try:
        need = others * _FLOAT_BYTES * shape_of(model.config.to_dict()).weights
    except ModelUnsupported:
        return
    if need > memory.available_bytes:
        raise OutOfMemory(
            f"all models that are compared must fit into memory: {others} more take "
            f"{in_bytes(need)}, and {in_bytes(memory.available_bytes)} are free",
            hint="measure one at a time: give one --quantize",
        )


@contextmanager
def _folder(shape: str | None, progress: Progress) -> Iterator[str | None]:
    """A folder with a random model of that shape for as long as it is loaded."""
    if shape is None:
        yield None
        return
    from hfgen.bench.random_model import write_random_model

    with tempfile.TemporaryDirectory(prefix="hfgen-bench-") as folder:
        progress(f"making a model of random weights, {shape} …")
        write_random_model(shape, Path(folder))
        yield folder
