"""From a `Prompt` and options to the `Request`s that the engine or the beam search runs."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from typing import Any

from hfgen.errors import DataError, ModelUnsupported
from hfgen.generation.config import end_of_text_ids, to_generation_config
from hfgen.generation.context import fit
from hfgen.generation.options import MAX_SEED, GenerationOptions
from hfgen.generation.records import Prompt
from hfgen.generation.rows import Request
from hfgen.generation.sampling import sample_seed


class RequestMaker:
    """Makes requests for one model."""

    def __init__(self, model: Any, tokenizer: Any, window: int | None) -> None:
        self._model = model
        self._tokenizer = tokenizer
        self._window = window
        self._vocabulary_size = int(model.get_input_embeddings().weight.shape[0])
        self._model_defaults: dict[str, Any] = model.generation_config.to_dict()
        # The options of a run rarely differ from prompt to prompt, seeds aside.
        self._resolve = lru_cache(maxsize=256)(self._resolved)
        self._configure = lru_cache(maxsize=1024)(self._configured)

    def encode(self, text: str, *, allow_special: bool = False) -> list[int]:
        """Token ids of a prompt; special tokens written in it are plain text unless allowed.

        An empty prompt becomes the token that begins texts. Raises `ModelUnsupported` where there
        is none, `DataError` for text that is no valid Unicode.
        """
        try:
            ids = self._tokenizer.encode(
                text, split_special_tokens=not allow_special, verbose=False
            )
        except (UnicodeEncodeError, TypeError) as error:
            raise DataError("the prompt is not valid Unicode text") from error
        if ids:
            return [int(token_id) for token_id in ids]
        for token_id in (self._tokenizer.bos_token_id, self._tokenizer.eos_token_id):
            if token_id is not None:
                return [int(token_id)]
        raise ModelUnsupported(
            "the model's tokenizer has no token to begin an empty prompt with",
            hint="give a prompt of at least one character",
        )

    def make(
        self, prompt: Prompt, index: int, run: GenerationOptions, *, allow_special: bool
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
        encoded = self.encode(prompt.text, allow_special=allow_special)
        limits: Any = {"window": self._window, "overflow": options.overflow or "error"}
        is_explicit = given.max_new_tokens is not None
        ids, max_new_tokens = fit(
            encoded, options.max_new_tokens or 1, is_explicit=is_explicit, **limits
        )
        if max_new_tokens < (options.min_new_tokens or 0):
            ids, max_new_tokens = fit(
                encoded, options.min_new_tokens or 0, is_explicit=True, **limits
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
                stop_ids=frozenset(options.stop_token_ids or ()),
                stop_strings=options.stop_strings or (),
                max_time=options.max_time,
                logprobs=options.logprobs,
            )
            for sample in range(count)
        ]

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
