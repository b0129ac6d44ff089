"""`GenerationOptions` to Transformers' `GenerationConfig`.

Texts (bad words, biases) become token ids here. The result is complete: handed to
`model.generate` it means the same as to hfgen's engine, whatever the model's own
`generation_config` says.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from transformers import GenerationConfig, WatermarkingConfig

from hfgen.errors import InvalidOption
from hfgen.generation.options.options import GenerationOptions

_SAME_NAME = (
    "min_new_tokens", "do_sample", "temperature", "top_k", "top_p", "min_p", "typical_p", "top_h",
    "epsilon_cutoff", "eta_cutoff", "repetition_penalty", "no_repeat_ngram_size",
    "exponential_decay_length_penalty", "num_beams", "length_penalty", "early_stopping",
    "min_length", "forced_bos_token_id", "forced_eos_token_id", "encoder_repetition_penalty",
    "encoder_no_repeat_ngram_size", "renormalize_logits", "remove_invalid_values",
    "num_return_sequences", "guidance_scale", "prompt_lookup_num_tokens",
    "max_matching_ngram_size", "num_assistant_tokens", "num_assistant_tokens_schedule",
    "assistant_confidence_threshold",
)  # fmt: skip
_WITH_IDS = (
    "suppress_tokens", "begin_suppress_tokens", "bad_words_ids", "sequence_bias",
    "forced_bos_token_id", "forced_eos_token_id", "stop_token_ids", "eos_token_id",
)  # fmt: skip


def end_of_text_ids(options: GenerationOptions, model: Any, tokenizer: Any) -> list[int]:
    """Token ids that end a text: the option's, else the model's, else the tokenizer's.

    What a model's files name that is no token of its vocabulary is left out.
    """
    if options.ignore_eos:
        return []
    if options.eos_token_id is not None:
        return list(options.eos_token_id)
    size = model.get_input_embeddings().weight.shape[0]
    for source in (model.generation_config, model.config, tokenizer):
        named = getattr(source, "eos_token_id", None)
        ids = named if isinstance(named, (list, tuple)) else [named]
        if found := [id for id in ids if type(id) is int and 0 <= id < size]:
            return found
    return []


def model_defaults(model: Any) -> dict[str, Any]:
    """The fields of the model's `generation_config.json`.

    Those with token ids outside its vocabulary are left out: they are not the user's mistake.
    """
    size = model.get_input_embeddings().weight.shape[0]
    return {
        name: value
        for name, value in model.generation_config.to_dict().items()
        if not (name in _WITH_IDS and any(id >= size for id in _flat_ids(value)))
    }


def to_generation_config(
    options: GenerationOptions,
    tokenizer: Any,
    *,
    max_new_tokens: int,
    eos_ids: list[int],
    vocabulary_size: int,
) -> GenerationConfig:
    """Translate resolved options.

    `max_new_tokens` is the length that fits the window. Raises `InvalidOption` for token ids
    outside the vocabulary and for texts that have no tokens.
    """
    fields = {name: getattr(options, name) for name in _SAME_NAME}
    fields = {name: value for name, value in fields.items() if value is not None}
    for name in ("suppress_tokens", "begin_suppress_tokens"):
        if (ids := getattr(options, name)) is not None:
            fields[name] = list(ids)
    bad_words = [list(ids) for ids in options.bad_words_ids or ()]
    bad_words += _spellings("bad_words", tokenizer, options.bad_words or ())
    if bad_words:
        fields["bad_words_ids"] = bad_words
    if options.watermark:
        fields["watermarking_config"] = WatermarkingConfig(
            **dict(options.watermarking_config or ())
        )
    biases = _sequence_bias(options, tokenizer)
    if biases:
        fields["sequence_bias"] = biases
    ids = {"stop_token_ids": options.stop_token_ids, "eos_token_id": options.eos_token_id}
    _check_ids(fields | ids, vocabulary_size)
    return GenerationConfig(
        **fields,
        max_new_tokens=max_new_tokens,
        eos_token_id=eos_ids or None,
        pad_token_id=eos_ids[0] if eos_ids else 0,
    )


def _sequence_bias(options: GenerationOptions, tokenizer: Any) -> list[list[Any]]:
    biases = dict(options.sequence_bias or ())
    for text, bias in options.logit_bias or ():
        for ids in _spellings("logit_bias", tokenizer, [text]):
            biases[tuple(ids)] = bias
    return [[list(ids), bias] for ids, bias in biases.items()]


def _spellings(name: str, tokenizer: Any, texts: Iterable[str]) -> list[list[int]]:
    """Token ids of each text, and of the text with a space before it."""
    found: dict[tuple[int, ...], None] = {}
    for text in texts:
        for spelling in (text, " " + text):
            ids = tokenizer.encode(spelling, add_special_tokens=False, split_special_tokens=True)
            if not ids:
                raise InvalidOption(name, text, "a text that the model's tokenizer can encode")
            found[tuple(ids)] = None
    return [list(ids) for ids in found]


def _check_ids(fields: dict[str, Any], vocabulary_size: int) -> None:
    for name, value in fields.items():
        for token_id in _flat_ids(value) if name in _WITH_IDS else ():
            if token_id >= vocabulary_size:
                raise InvalidOption(
                    name, token_id, f"a token id below {vocabulary_size}, the model's vocabulary"
                )


def _flat_ids(value: Any) -> Iterable[int]:
    if isinstance(value, int):
        yield value
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from _flat_ids(item)
