"""Beam search, beam sampling and assisted decoding, delegated to `GenerationMixin.generate`."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import torch
from transformers import (
    GenerationConfig,
    LogitsProcessorList,
    StoppingCriteria,
    StoppingCriteriaList,
)

from hfgen.errors import GenerationFailed
from hfgen.generation.records import FinishReason
from hfgen.generation.sequences import Request
from hfgen.generation.text import StopMatcher, TextDecoder, Vocabulary
from hfgen.mentions import mention


@torch.inference_mode()
def run(
    model: Any, tokenizer: Any, request: Request, *, assistant: Any = None
) -> list[tuple[list[int], str, FinishReason]]:
    """Run one request; return (token ids, text, finish reason) of each sequence, best first.

    `assistant` is the model that guesses ahead, if one does. Sampling uses torch's own generator,
    seeded with the request's seed and restored after.
    """
    device = model.get_input_embeddings().weight.device
    vocabulary = Vocabulary(tokenizer)
    ids = torch.tensor([request.prompt_ids], dtype=torch.long, device=device)
    # `generate` fills open fields from the model's own file, which the request has settled.
    searcher = copy.copy(model)
    searcher.generation_config = GenerationConfig()
    if assistant is not None:
        # Transformers reads these from the assistant's own configuration.
        assistant = copy.copy(assistant)
        assistant.generation_config = GenerationConfig(
            num_assistant_tokens=request.config.num_assistant_tokens,
            num_assistant_tokens_schedule=request.config.num_assistant_tokens_schedule,
            assistant_confidence_threshold=request.config.assistant_confidence_threshold,
        )
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(request.seed)
        try:
            sequences = searcher.generate(
                ids,
                attention_mask=torch.ones_like(ids),
                generation_config=request.config,
                logits_processor=LogitsProcessorList(request.custom_processors()),
                stopping_criteria=StoppingCriteriaList([_Stops(request, vocabulary)]),
                assistant_model=assistant,
            )
        except RuntimeError as error:
            # What torch's sampling says of scores that are all excluded, or NaN.
            if "probability tensor contains" not in str(error):
                raise
            raise _nothing_to_choose() from error
    found = [_finish(row, request, vocabulary) for row in sequences[:, ids.shape[1] :].tolist()]
    if not all(kept for kept, _, _ in found):
        raise _nothing_to_choose()
    return found


def _nothing_to_choose() -> GenerationFailed:
    return GenerationFailed(
        "no token can be sampled: all logits are masked or NaN",
        hint="loosen suppress_tokens, bad_words and the like, or try "
        f"{mention('dtype', 'float32')}",
    )


class _Stops(StoppingCriteria):  # type: ignore[misc]
    """Ends a beam at a stop id or a stop string of the generated text, as the engine does."""

    def __init__(self, request: Request, vocabulary: Vocabulary) -> None:
        self._request = request
        self._vocabulary = vocabulary
        self._start = len(request.prompt_ids)

    def __call__(
        self, input_ids: torch.Tensor, scores: torch.Tensor | None, **kwargs: Any
    ) -> torch.Tensor:
        is_done = [False] * len(input_ids)
        if self._request.stop_ids or self._request.stop_strings:
            generated = input_ids[:, self._start :].tolist()
            is_done = [
                _finish(row, self._request, self._vocabulary)[2] == "stop" for row in generated
            ]
        return torch.tensor(is_done, device=input_ids.device)


def _finish(
    ids: Sequence[int], request: Request, vocabulary: Vocabulary
) -> tuple[list[int], str, FinishReason]:
    """Cut a padded sequence where it ended, and decode it as the engine would."""
    decoder = TextDecoder(vocabulary, request.prompt_ids)
    matcher = StopMatcher(request.stop_strings)
    kept: list[int] = []
    text = ""
    reason: FinishReason = "length"
    for token_id in ids:
        kept.append(token_id)
        if token_id in request.eos_ids or token_id in request.stop_ids:
            reason = "eos" if token_id in request.eos_ids else "stop"
            break
        piece, is_stopped = matcher.add(decoder.add(token_id))
        text += piece
        if is_stopped:
            return kept, text, "stop"
    piece, is_stopped = matcher.add(decoder.flush())
    text += piece
    return kept, text if is_stopped else text + matcher.flush(), "stop" if is_stopped else reason
