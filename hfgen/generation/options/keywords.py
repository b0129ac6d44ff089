"""Keyword arguments of `generate` and `stream`, for type checkers and editors.

Written by tests/keywords.py from the options' specs, which are the only home of names, types,
ranges and defaults; a test fails when it is stale, and says how to write it again.
"""

# fmt: off

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypedDict


class GenerationKeywords(TypedDict, total=False):
    """Options of generation, flags that are no option's name, and the name of a preset."""

    max_new_tokens: int | None
    min_new_tokens: int | None
    stop_strings: str | Sequence[str] | None
    stop_token_ids: int | Sequence[int] | None
    ignore_eos: bool | None
    max_time: float | None
    overflow: Literal["error", "truncate", "slide"] | None
    do_sample: bool | None
    temperature: float | None
    top_k: int | None
    top_p: float | None
    min_p: float | None
    typical_p: float | None
    top_h: float | None
    epsilon_cutoff: float | None
    eta_cutoff: float | None
    seed: int | None
    num_return_sequences: int | None
    repetition_penalty: float | None
    frequency_penalty: float | None
    presence_penalty: float | None
    no_repeat_ngram_size: int | None
    bad_words: str | Sequence[str] | None
    logit_bias: Mapping[str, float] | Sequence[tuple[str, float]] | None
    suppress_tokens: int | Sequence[int] | None
    exponential_decay_length_penalty: tuple[int, float] | None
    num_beams: int | None
    length_penalty: float | None
    early_stopping: bool | Literal["never"] | None
    logprobs: int | None
    json_schema: str | Mapping[str, Any] | None
    regex: str | None
    choices: str | Sequence[str] | None
    grammar: str | None
    guidance_scale: float | None
    negative_prompt: str | None
    watermark: bool | None
    prompt_lookup_num_tokens: int | None
    assistant_model: str | None
    num_assistant_tokens: int | None
    num_assistant_tokens_schedule: Literal["heuristic", "heuristic_transient", "constant"] | None
    assistant_confidence_threshold: float | None
    max_matching_ngram_size: int | None
    watermarking_config: Mapping[str, Any] | None
    min_length: int | None
    begin_suppress_tokens: int | Sequence[int] | None
    bad_words_ids: Sequence[Sequence[int]] | None
    sequence_bias: Sequence[tuple[Sequence[int], float]] | None
    forced_bos_token_id: int | None
    forced_eos_token_id: int | None
    eos_token_id: int | Sequence[int] | None
    encoder_repetition_penalty: float | None
    encoder_no_repeat_ngram_size: int | None
    renormalize_logits: bool | None
    remove_invalid_values: bool | None
    stop: str | Sequence[str] | None
    greedy: bool | None
    preset: Literal["precise", "balanced", "creative", "code", "humaneval"] | None
