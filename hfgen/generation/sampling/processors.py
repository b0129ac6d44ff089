"""Logits processors: Transformers' own classes, built by one table from a `GenerationConfig`.

Two are hfgen's: top-p (`hfgen.generation.sampling.top_p`), for its speed, and the additive
penalties (`hfgen.generation.sampling.penalties`), which Transformers lacks and callers pass in.

The order is that of `GenerationMixin.generate`. *Processors* read a row's token ids and run row by
row; *warpers* (temperature, top-p, …) see only scores, so rows with the same settings go through
them as one matrix; the watermark reads ids again and comes last. A processor whose parameter is
neutral is not built.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import torch
from transformers import GenerationConfig
from transformers.generation import logits_process as lp

from hfgen.generation.sampling.top_p import Nucleus

Processor = Callable[[torch.Tensor | None, torch.Tensor], torch.Tensor]

_WARPER_FIELDS = (
    "do_sample", "temperature", "top_h", "top_k", "top_p", "min_p", "typical_p",
    "epsilon_cutoff", "eta_cutoff", "renormalize_logits",
)  # fmt: skip


@dataclass(frozen=True)
class RowProcessors:
    """What one row's logits go through."""

    by_ids: tuple[Processor, ...] = ()
    """Need the row's ids, (1, T); applied to scores (1, V)."""
    warpers: tuple[Processor, ...] = ()
    """Ignore the ids; applied to scores (B, V) of every row with the same `warper_key`."""
    last: tuple[Processor, ...] = ()
    """As `by_ids`, but after the warpers (the watermark)."""
    warper_key: tuple[object, ...] = field(default=(), compare=False)


class _EndDecay(lp.ExponentialDecayLengthPenalty):  # type: ignore[misc]
    """Transformers' processor, kept finite where its exponential overflows."""

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        highest = torch.finfo(scores.dtype).max
        try:
            decayed: torch.Tensor = super().__call__(input_ids, scores)
        except OverflowError:
            decayed = scores.clone()
            is_banned = scores[:, self.eos_token_id] == -torch.inf
            decayed[:, self.eos_token_id] = torch.where(is_banned, -torch.inf, highest)
        return decayed.clamp(max=highest)


def build(
    config: GenerationConfig,
    prompt_ids: torch.Tensor,
    eos_ids: list[int],
    *,
    model: Any,
    negative_ids: torch.Tensor | None = None,
    custom: Sequence[Processor] = (),
) -> RowProcessors:
    """Build a row's processors.

    `config` comes from `hfgen.generation.options.config`; `prompt_ids` is (1, T), and so are
    `negative_ids`, which guidance steers away from. `model` is what guidance computes with.
    `custom` processors come after those of the ids, as `generate(logits_processor=…)` has them.
    """
    device = prompt_ids.device
    by_ids = _by_ids(config, prompt_ids, eos_ids, str(device))
    if config.guidance_scale not in (None, 1.0):
        guidance = lp.UnbatchedClassifierFreeGuidanceLogitsProcessor(
            config.guidance_scale, model, unconditional_ids=negative_ids
        )
        by_ids.insert(0, guidance)
    return RowProcessors(
        by_ids=(*by_ids, *custom),
        warpers=tuple(_warpers(config, str(device))),
        last=tuple(_last(config, model.config.get_text_config().vocab_size, str(device))),
        warper_key=tuple(getattr(config, name) for name in _WARPER_FIELDS),
    )


def _by_ids(
    config: GenerationConfig, prompt_ids: torch.Tensor, eos_ids: list[int], device: str
) -> list[Processor]:
    prompt_length = prompt_ids.shape[1]
    eos = torch.tensor(eos_ids, device=device) if eos_ids else None
    chosen: list[Processor] = []
    if config.sequence_bias:
        chosen.append(lp.SequenceBiasLogitsProcessor(sequence_bias=config.sequence_bias))
    if config.encoder_repetition_penalty not in (None, 1.0):
        chosen.append(
            lp.EncoderRepetitionPenaltyLogitsProcessor(
                penalty=config.encoder_repetition_penalty, encoder_input_ids=prompt_ids
            )
        )
    if config.repetition_penalty not in (None, 1.0):
        chosen.append(lp.RepetitionPenaltyLogitsProcessor(config.repetition_penalty))
    if config.no_repeat_ngram_size:
        chosen.append(lp.NoRepeatNGramLogitsProcessor(config.no_repeat_ngram_size))
    if config.encoder_no_repeat_ngram_size:
        chosen.append(
            lp.EncoderNoRepeatNGramLogitsProcessor(config.encoder_no_repeat_ngram_size, prompt_ids)
        )
    if config.bad_words_ids:
        chosen.append(lp.NoBadWordsLogitsProcessor(config.bad_words_ids, eos))
    if eos is not None and config.min_length:
        chosen.append(lp.MinLengthLogitsProcessor(config.min_length, eos, device=device))
    if eos is not None and config.min_new_tokens:
        chosen.append(
            lp.MinNewTokensLengthLogitsProcessor(
                prompt_length, config.min_new_tokens, eos, device=device
            )
        )
    if config.forced_bos_token_id is not None:
        chosen.append(lp.ForcedBOSTokenLogitsProcessor(config.forced_bos_token_id))
    if config.forced_eos_token_id is not None:
        max_length = prompt_length + config.max_new_tokens
        chosen.append(
            lp.ForcedEOSTokenLogitsProcessor(max_length, config.forced_eos_token_id, device=device)
        )
    if config.remove_invalid_values:
        chosen.append(lp.InfNanRemoveLogitsProcessor())
    if eos is not None and config.exponential_decay_length_penalty is not None:
        chosen.append(_EndDecay(config.exponential_decay_length_penalty, eos, prompt_length))
    if config.suppress_tokens:
        chosen.append(lp.SuppressTokensLogitsProcessor(config.suppress_tokens, device=device))
    if config.begin_suppress_tokens:
        is_forced = config.forced_bos_token_id is not None and prompt_length == 1
        chosen.append(
            lp.SuppressTokensAtBeginLogitsProcessor(
                config.begin_suppress_tokens, prompt_length + is_forced, device=device
            )
        )
    return chosen


def _warpers(config: GenerationConfig, device: str) -> list[Processor]:
    chosen: list[Processor] = []
    if config.do_sample:
        if config.temperature not in (None, 1.0):
            chosen.append(lp.TemperatureLogitsWarper(config.temperature))
        if config.top_h is not None:
            chosen.append(lp.TopHLogitsWarper(top_h=config.top_h))
        if config.top_k:
            chosen.append(lp.TopKLogitsWarper(top_k=config.top_k))
        if config.top_p is not None and config.top_p < 1:
            chosen.append(Nucleus(config.top_p))
        if config.min_p:
            chosen.append(lp.MinPLogitsWarper(min_p=config.min_p))
        if config.typical_p is not None and config.typical_p < 1:
            chosen.append(lp.TypicalLogitsWarper(mass=config.typical_p))
        if config.epsilon_cutoff and config.epsilon_cutoff < 1:
            chosen.append(lp.EpsilonLogitsWarper(epsilon=config.epsilon_cutoff))
        if config.eta_cutoff and config.eta_cutoff < 1:
            chosen.append(lp.EtaLogitsWarper(epsilon=config.eta_cutoff, device=device))
    if config.renormalize_logits and config.watermarking_config is None:
        chosen.append(lp.LogitNormalization())
    return chosen


def _last(config: GenerationConfig, vocabulary_size: int, device: str) -> list[Processor]:
    if config.watermarking_config is None:
        return []
    settings = tuple(sorted(config.watermarking_config.to_dict().items()))
    chosen: list[Processor] = [_watermark(settings, vocabulary_size, device)]
    if config.renormalize_logits:
        chosen.append(lp.LogitNormalization())
    return chosen


@lru_cache(maxsize=8)
def _watermark(
    settings: tuple[tuple[str, Any], ...], vocabulary_size: int, device: str
) -> Processor:
    """One processor for all rows: it is seeded anew for every token, and dear to build."""
    processor: Processor = lp.WatermarkLogitsProcessor(vocabulary_size, device, **dict(settings))
    return processor
