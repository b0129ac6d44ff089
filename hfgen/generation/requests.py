"""From a `Prompt` and options to the `Request`s that the engine or the beam search runs."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from typing import Any

from hfgen.errors import UsageError
from hfgen.generation.config import end_of_text_ids, model_defaults, to_generation_config
from hfgen.generation.context import fit
from hfgen.generation.encoding import PromptEncoder, Reading
from hfgen.generation.option_specs import MAX_SEED
from hfgen.generation.options import GenerationOptions
from hfgen.generation.records import Prompt
from hfgen.generation.rows import Request
from hfgen.generation.sampling import sample_seed
from hfgen.mentions import mention


class RequestMaker:
    """Makes requests for one model."""

    def __init__(self, model: Any, tokenizer: Any, window: int | None) -> None:
        self._model = model
        self._tokenizer = tokenizer
        self._window = window
        self._encoder = PromptEncoder(tokenizer)
        self._vocabulary_size = int(model.get_input_embeddings().weight.shape[0])
        self._model_defaults = model_defaults(model)
        # The options of a run rarely differ from prompt to prompt, seeds aside.
        self._resolve = lru_cache(maxsize=256)(self._resolved)
        self._configure = lru_cache(maxsize=1024)(self._configured)

    def check(self, reading: Reading) -> None:
        """Raise `UsageError` for a reading that no prompt can have with this model."""
        self._encoder.check(reading)

    def make(
        self, prompt: Prompt, index: int, run: GenerationOptions, reading: Reading
    ) -> list[Request]:
        """The requests of one prompt, keyed (index, sample); a beam search is a single one.

        The texts of a sampled beam search share its seed, which gives all of them again.

        `run` holds the options of the whole run, its seed included. Raises `ContextOverflow`, and
        `InvalidOption` for what only the model can tell (token ids beyond its vocabulary).
        """
        own = prompt.options or GenerationOptions()
        given = own.over(run)
        seed = prompt.seed if prompt.seed is not None else own.seed
        if seed is None:
            seed = ((run.seed or 0) + index) % (MAX_SEED + 1)
        options = self._resolve(replace(given, seed=None))
        if prompt.messages:
            encoded = self._encoder.encode_messages(prompt.messages, reading)
        else:
            encoded = self._encoder.encode(prompt.text, reading)
        self._check_ids(encoded.ids)
        negative_ids = self._negative_ids(options)
        limits: Any = {"window": self._window, "overflow": options.overflow or "error"}
        is_explicit = given.max_new_tokens is not None
        ids, max_new_tokens = fit(
            encoded.ids, options.max_new_tokens or 1, is_explicit=is_explicit, **limits
        )
        if max_new_tokens < (options.min_new_tokens or 0):
            ids, max_new_tokens = fit(
                encoded.ids, options.min_new_tokens or 0, is_explicit=True, **limits
            )
        config, eos_ids = self._configure(options, max_new_tokens)
        count = 1 if options.uses_beams else options.num_return_sequences or 1
        return [
            Request(
                key=(index, sample),
                prompt_ids=ids,
                config=config,
                seed=sample_seed(seed, sample),
                eos_ids=eos_ids,
                negative_ids=negative_ids,
                rendered=encoded.rendered,
                is_delegated=options.uses_beams or options.is_assisted,
                assistant=options.assistant_model,
                stop_ids=frozenset(options.stop_token_ids or ()),
                stop_strings=options.stop_strings or (),
                max_time=options.max_time,
                logprobs=options.logprobs,
            )
            for sample in range(count)
        ]

    def _check_ids(self, ids: list[int]) -> None:
        """Refuse special tokens that the tokenizer has and the model has not."""
        if (token_id := max(ids)) >= self._vocabulary_size:
            token = self._tokenizer.convert_ids_to_tokens(token_id)
            raise UsageError(
                f"the prompt holds the token {token} ({token_id:,}), but the model has only "
                f"{self._vocabulary_size:,} embeddings",
                hint=f"leave it out of the prompt, or drop {mention('allow_special')}",
            )

    def _negative_ids(self, options: GenerationOptions) -> tuple[int, ...]:
        if options.negative_prompt is None:
            return ()
        ids = tuple(self._encoder.encode_text(options.negative_prompt))
        # Guidance computes the text a second time behind it, in the same window.
        fit(
            ids,
            options.max_new_tokens or 1,
            is_explicit=False,
            window=self._window,
            overflow="error",
        )
        return ids

    def _resolved(self, given: GenerationOptions) -> GenerationOptions:
        return given.resolve(self._model_defaults)

    def _configured(
        self, options: GenerationOptions, max_new_tokens: int
    ) -> tuple[Any, tuple[int, ...]]:
        """The `GenerationConfig`, and the ids that end a text."""
        eos_ids = end_of_text_ids(options, self._model, self._tokenizer)
        config = to_generation_config(
            options,
            self._tokenizer,
            max_new_tokens=max_new_tokens,
            eos_ids=eos_ids,
            vocabulary_size=self._vocabulary_size,
        )
        return config, tuple(eos_ids)
