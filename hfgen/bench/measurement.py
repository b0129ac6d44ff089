"""A benchmark: load, warm up, and repeat every batch size in turn, so that noise hits all alike.

All prompts are random ids, each another one, and no text ends early. The first token of each text
belongs to the prompt's computation (prefill), the others to decoding. With `against` the plain
script runs beside it: a stock model in float32 and `model.generate`, without the end of text.
"""

from __future__ import annotations

import random
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hfgen.bench.limits import describe_machine, measure_limits, synchronize
from hfgen.bench.options import BenchOptions
from hfgen.errors import ContextOverflow

Clock = Callable[[], float]


@dataclass(frozen=True)
class Run:
    """One repetition of one batch size."""

    prefill_s: float
    decode_s: float
    tokens: tuple[tuple[int, ...], ...]
    """The new ids of each text, in order."""


def measure(
    options: BenchOptions,
    load: Callable[[str | None], Any],
    progress: Callable[[str], None] = lambda text: None,
) -> dict[str, Any]:
    """Measure and return the result as it is written in JSON.

    `load` loads a model by name or folder. Raises what it raises, and `ContextOverflow`.
    """
    with _model_name(options.shape) as name:
        progress("loading the model …")
        began = time.perf_counter()
        lm = load(name)
        load_s = time.perf_counter() - began
        _check_window(lm, options)
        plain = _load_plain(lm) if options.against else None
    progress("measuring what the machine can do …")
    limits = measure_limits(lm.model.device, lm.model.dtype)
    prompts = random_prompts(lm.model, max(options.batch_sizes), options.prompt_tokens)
    runs: dict[int, list[Run]] = {size: [] for size in options.batch_sizes}
    others: dict[int, list[tuple[float, Any]]] = {size: [] for size in options.batch_sizes}
    for repetition in range(-1, options.repetitions):
        for size in options.batch_sizes:
            progress(f"repetition {repetition + 1} of {options.repetitions}, batch size {size}")
            run = run_engine(lm, prompts[:size], options.new_tokens)
            other = None if plain is None else run_plain(plain, prompts[:size], options.new_tokens)
            if repetition >= 0:  # the first one warms up
                runs[size].append(run)
                if other is not None:
                    others[size].append(other)
    from hfgen.generation.statistics import peak_bytes

    return {
        "model": options.shape or lm.name,
        "machine": describe_machine(),
        "dtype": str(lm.model.dtype).removeprefix("torch."),
        "prompt_tokens": options.prompt_tokens,
        "new_tokens": options.new_tokens,
        "repetitions": options.repetitions,
        "load_s": load_s,
        "peak_bytes": peak_bytes(lm.model.device),
        "limits": limits,
        "results": [
            summarize(options, size, runs[size], others[size], _weights(lm.model), limits)
            for size in options.batch_sizes
        ],
    }


def run_engine(
    lm: Any, prompts: Sequence[tuple[int, ...]], new_tokens: int, clock: Clock = time.perf_counter
) -> Run:
    """Decode prompts side by side, greedily, to the full length."""
    from hfgen.generation.config import model_defaults, to_generation_config
    from hfgen.generation.options import GenerationOptions
    from hfgen.generation.rows import Request

    greedy = GenerationOptions(do_sample=False, max_new_tokens=new_tokens)
    config = to_generation_config(
        greedy.resolve(model_defaults(lm.model)),
        lm.tokenizer,
        max_new_tokens=new_tokens,
        eos_ids=[],
        vocabulary_size=_vocabulary_size(lm.model),
    )
    engine = lm.engine(len(prompts))
    for index, ids in enumerate(prompts):
        engine.submit(Request(key=(index, 0), prompt_ids=ids, config=config, seed=0))
    tokens: list[list[int]] = [[] for _ in prompts]
    spent = [0.0, 0.0]
    while engine.has_work:
        is_decoding = all(tokens)
        synchronize(lm.model.device)
        began = clock()
        events = engine.step()
        synchronize(lm.model.device)
        spent[is_decoding] += clock() - began
        for event in events:
            if event.error is not None:
                raise event.error
            tokens[event.key[0]].append(event.token_id)
    return Run(*spent, tuple(map(tuple, tokens)))


def run_plain(
    model: Any,
    prompts: Sequence[tuple[int, ...]],
    new_tokens: int,
    clock: Clock = time.perf_counter,
) -> tuple[float, tuple[tuple[int, ...], ...]]:
    """What a plain script does with the batch: seconds, and the new ids."""
    import torch

    ids = torch.tensor(prompts, device=model.device)
    synchronize(model.device)
    began = clock()
    found = model.generate(
        input_ids=ids,
        attention_mask=torch.ones_like(ids),
        do_sample=False,
        max_new_tokens=new_tokens,
        pad_token_id=0,
    )
    synchronize(model.device)
    elapsed_s = clock() - began
    return elapsed_s, tuple(map(tuple, found[:, ids.shape[1] :].tolist()))


def summarize(
    options: BenchOptions,
    size: int,
    runs: Sequence[Run],
    others: Sequence[tuple[float, Any]],
    weights: tuple[int, int],
    limits: dict[str, float],
) -> dict[str, Any]:
    """Medians and spreads of one batch size; `weights` are those a step reads, and their bytes."""
    prompt, new = size * options.prompt_tokens, size * (options.new_tokens - 1)
    prefill = _spread([prompt / run.prefill_s for run in runs])
    decode = _spread([new / run.decode_s for run in runs])
    count, weight_bytes = weights
    found: dict[str, Any] = {
        "batch_size": size,
        "first_token_s": _spread([run.prefill_s for run in runs]),
        "prefill_tokens_per_s": prefill,
        "decode_tokens_per_s": decode,
        "bandwidth_share": decode["median"] / size * weight_bytes / limits["bytes_per_s"],
        "flops_share": decode["median"] * 2 * count / limits["flops_per_s"],
        "prefill_flops_share": prefill["median"] * 2 * count / limits["flops_per_s"],
    }
    if others:
        total = size * options.new_tokens
        pairs = list(zip(runs, others, strict=True))
        found["transformers_tokens_per_s"] = _spread([total / other[0] for other in others])
        found["ratio"] = _spread([b[0] / (a.prefill_s + a.decode_s) for a, b in pairs])
        found["ratios"] = [b[0] / (a.prefill_s + a.decode_s) for a, b in pairs]
        found["equal_tokens"] = equal_share([(a.tokens, b[1]) for a, b in pairs])
    return found


def equal_share(pairs: Sequence[tuple[Any, Any]]) -> float:
    """The share of tokens that are equal, place by place."""
    equal = [
        left == right
        for ours, theirs in pairs
        for row, other in zip(ours, theirs, strict=True)
        for left, right in zip(row, other, strict=True)
    ]
    return sum(equal) / len(equal)


def random_prompts(model: Any, count: int, length: int) -> list[tuple[int, ...]]:
    """Random ids, the same ones each time."""
    draw = random.Random(0)
    vocabulary = _vocabulary_size(model)
    return [tuple(draw.randrange(vocabulary) for _ in range(length)) for _ in range(count)]


def _spread(values: Sequence[float]) -> dict[str, float]:
    return {"median": statistics.median(values), "min": min(values), "max": max(values)}


def _vocabulary_size(model: Any) -> int:
    return int(model.get_input_embeddings().weight.shape[0])


def _weights(model: Any) -> tuple[int, int]:
    """How many weights a step multiplies by, and their bytes: matrices, without mere tables."""
    head = model.get_output_embeddings()
    used = [p for p in model.parameters() if p.ndim > 1]
    tables = [m.weight for m in model.modules() if type(m).__name__ == "Embedding"]
    tables = [t for t in tables if head is None or t is not head.weight]
    used = [p for p in used if not any(p is table for table in tables)]
    return sum(p.numel() for p in used), sum(p.numel() * p.element_size() for p in used)


def _check_window(lm: Any, options: BenchOptions) -> None:
    asked = options.prompt_tokens + options.new_tokens
    if lm.window is not None and asked > lm.window:
        raise ContextOverflow(
            f"{options.prompt_tokens} prompt tokens and {options.new_tokens} new ones exceed the "
            f"window of {lm.window}",
            hint="lower --prompt-tokens or --new-tokens",
        )


def _load_plain(lm: Any) -> Any:
    """The stock model a second time, in float32: both must fit into memory."""
    import copy

    from hfgen.models.quiet import quiet

    with quiet():
        model = copy.deepcopy(lm.model).float().eval()
    # Without an end of text, neither side stops early and neither pays for suppressing it.
    model.generation_config.eos_token_id = None
    return model


@contextmanager
def _model_name(shape: str | None) -> Iterator[str | None]:
    """A folder with a random model of that shape for as long as it is loaded."""
    if shape is None:
        yield None
        return
    from hfgen.bench.random_model import write_random_model

    with tempfile.TemporaryDirectory(prefix="hfgen-bench-") as folder:
        write_random_model(shape, Path(folder))
        yield folder
