"""Transformers' `GenerationConfig`, field by field: which ones hfgen refuses, and why.

Every field of `GenerationConfig` is either an option of `hfgen.generation.options.options` or
stands here with its reason; a test walks them all, so that a release which adds one fails until the
field is decided. Nothing here imports Transformers.
"""

from __future__ import annotations

from hfgen.mentions import mention

_ENGINE_CACHE = "hfgen's engine keeps its own cache"
_SAME_TOKENIZER = "it is for assistants with another tokenizer, which hfgen refuses"
_MOVED = "Transformers 5 moved this strategy to remote code on the Hub"
_OUTPUT = f"results are records; log-probabilities come with {mention('logprobs')}"

REFUSED: dict[str, str] = {
    "max_length": "it counts the prompt too; use max_new_tokens",
    "use_cache": _ENGINE_CACHE,
    "cache_implementation": _ENGINE_CACHE,
    "cache_config": _ENGINE_CACHE,
    "max_cache_len": _ENGINE_CACHE,
    "prefill_chunk_size": _ENGINE_CACHE,
    "low_memory": _MOVED,
    "penalty_alpha": f"contrastive search: {_MOVED}",
    "dola_layers": f"DoLa: {_MOVED}",
    "diversity_penalty": f"group beam search: {_MOVED}",
    "num_beam_groups": f"group beam search: {_MOVED}",
    "constraints": f"constrained beam search: {_MOVED}",
    "force_words_ids": f"constrained beam search: {_MOVED}",
    "output_attentions": _OUTPUT,
    "output_hidden_states": _OUTPUT,
    "output_scores": _OUTPUT,
    "output_logits": _OUTPUT,
    "return_dict_in_generate": _OUTPUT,
    "pad_token_id": "hfgen never pads",
    "bos_token_id": "it belongs to the tokenizer",
    "decoder_start_token_id": "it is for encoder-decoder models",
    "token_healing": "token healing is not in this version",
    "use_mtp": "multi-token prediction needs heads that GPT-style checkpoints lack",
    "is_assistant": "hfgen sets it on the assistant model",
    "assistant_early_exit": "Transformers fails on GPT-2 with it, and leaves the model changed",
    "assistant_lookbehind": _SAME_TOKENIZER,
    "target_lookbehind": _SAME_TOKENIZER,
    "assistant_ensemble_weight": "it changes the text; hfgen's assisted decoding only saves time",
    "speculation_type": "it needs draft heads that GPT-style checkpoints lack",
    "compile_config": "compilation is not in this version",
    "disable_compile": "compilation is not in this version",
    "continuous_batching_config": "hfgen's engine does its own batching",
    "transformers_version": "it is a record of who wrote the file",
    "_from_model_config": "it is a record of who wrote the file",
}
