"""Beam search and beam sampling, delegated to `GenerationMixin.generate`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from hfgen.generation.records import FinishReason
from hfgen.generation.rows import Request
from hfgen.generation.text import StopMatcher, TextDecoder, Vocabulary


@torch.inference_mode()
def search(
    model: Any, tokenizer: Any, request: Request
) -> list[tuple[list[int], str, FinishReason]]:
    """Run one request; return (token ids, text, finish reason) of each sequence, best first.

    Sampled beams use torch's own generator, seeded with the request's seed and restored after.
    """
    device = model.get_input_embeddings().weight.device
    ids = torch.tensor([request.prompt_ids], dtype=torch.long, device=device)
    stops: dict[str, Any] = {}
    if request.stop_strings:
        stops = {"stop_strings": list(request.stop_strings), "tokenizer": tokenizer}
    config = request.config
    if request.stop_ids:
        config = type(config)(**config.to_dict())
        config.eos_token_id = [*request.eos_ids, *sorted(request.stop_ids)]
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(request.seed)
        sequences = model.generate(
            ids, attention_mask=torch.ones_like(ids), generation_config=config, **stops
        )
    vocabulary = Vocabulary(tokenizer)
    generated = sequences[:, ids.shape[1] :].tolist()
    return [_finish(row, request, vocabulary) for row in generated]


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
