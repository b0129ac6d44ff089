"""One repetition: a batch of prompts through the engine.

All prompts are random ids, and no text ends early: the engine gets no end of text. The first token
of each text belongs to the prompts' computation (prefill), the others to decoding.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from hfgen.bench.limits import synchronize

Clock = Callable[[], float]
Tokens = tuple[tuple[int, ...], ...]


@dataclass(frozen=True)
class Run:
    """One repetition of one batch size."""

    prefill_s: float
    decode_s: float
    tokens: Tokens
    """The new ids of each text, in order."""

    @property
    def elapsed_s(self) -> float:
        """From the prompts to the last token."""
        return self.prefill_s + self.decode_s


def run_engine(
    lm: Any, prompts: Sequence[tuple[int, ...]], new_tokens: int, clock: Clock = time.perf_counter
) -> Run:
    """Decode prompts side by side, greedily, to the full length."""
    from hfgen.generation.options.config import model_defaults, to_generation_config
    from hfgen.generation.options.options import GenerationOptions
    from hfgen.generation.sequences import Request

    greedy = GenerationOptions(do_sample=False, max_new_tokens=new_tokens)
    config = to_generation_config(
        greedy.resolve(model_defaults(lm.model)),
        lm.tokenizer,
        max_new_tokens=new_tokens,
        eos_ids=[],
        vocabulary_size=vocabulary_size(lm.model),
    )
    engine = lm.engine(len(prompts))
    for index, ids in enumerate(prompts):
        engine.submit(Request(key=(index, 0), prompt_ids=ids, config=config, seed=0))
    tokens: list[list[int]] = [[] for _ in prompts]
    prefill_s = decode_s = 0.0
    while engine.has_work:
        is_decoding = all(tokens)
        synchronize(lm.model.device)
        began = clock()
        events = engine.step()
        synchronize(lm.model.device)
        elapsed_s = clock() - began
        if is_decoding:
            decode_s += elapsed_s
        else:
            prefill_s += elapsed_s
        for event in events:
            if event.error is not None:
                raise event.error
            tokens[event.key[0]].append(event.token_id)
    return Run(prefill_s, decode_s, tuple(tuple(row) for row in tokens))


def random_prompts(model: Any, count: int, length: int) -> list[tuple[int, ...]]:
    """Random ids, the same ones each time."""
    draw = random.Random(0)
    vocabulary = vocabulary_size(model)
    return [tuple(draw.randrange(vocabulary) for _ in range(length)) for _ in range(count)]


def vocabulary_size(model: Any) -> int:
    """How many tokens the model has an embedding of."""
    return int(model.get_input_embeddings().weight.shape[0])
