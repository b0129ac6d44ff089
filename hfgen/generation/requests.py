"""From a `Prompt` and options to the `Request`s that the engine or the beam search runs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import lru_cache, partial
from typing import Any

from hfgen.errors import UsageError
from hfgen.generation.constraints.constraint import TokenGrammar
from hfgen.generation.constraints.grammars import Grammar, grammar_of
from hfgen.generation.constraints.tokens import TokenTable
from hfgen.generation.options.config import end_of_text_ids, model_defaults, to_generation_config
from hfgen.generation.options.options import CHAT_DEFAULTS, GenerationOptions
from hfgen.generation.options.rules import SAMPLING_ONLY
from hfgen.generation.options.specs import MAX_SEED
from hfgen.generation.prompts.context import fit
from hfgen.generation.prompts.encode import Encoded, PromptEncoder, Reading
from hfgen.generation.records import Prompt
from hfgen.generation.sampling.draw import sample_seed
from hfgen.generation.sequences import Request
from hfgen.mentions import mention

_SAMPLING = ("do_sample", *SAMPLING_ONLY)


class RequestMaker:
    """Makes requests for one model."""

    def __init__(self, model: Any, tokenizer: Any, window: int | None) -> None:
        self._tokenizer = tokenizer
        self._vocabulary_size = int(model.get_input_embeddings().weight.shape[0])
        self._window = window
        self._encoder = PromptEncoder(tokenizer)
        self._special_ids = _special_ids(tokenizer)
        self._tokens = lru_cache(maxsize=1)(partial(TokenTable, tokenizer, self._vocabulary_size))
        self._grammar = lru_cache(maxsize=256)(partial(_token_grammar, self._tokens))
        defaults = model_defaults(model)
        total = defaults.get("max_length")
        self._max_length = total if type(total) is int else None
        # The options of a run rarely differ from prompt to prompt, seeds aside. Nothing that is
        # kept here refers back to this object: a model is freed with its last user.
        self._resolve = lru_cache(maxsize=256)(partial(_resolved, defaults))
        self._configure = lru_cache(maxsize=1024)(partial(_configured, model, tokenizer))

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
        encoded = self.encode(prompt, reading)
        is_chat = encoded.rendered is not None
        options, has_length = self._resolve(replace(given, seed=None), is_chat)
        length = (options.max_new_tokens or 1) if has_length else self._length(encoded, options)
        is_explicit = given.max_new_tokens is not None
        ids, negative_ids, max_new_tokens = self._fitted(encoded.ids, options, length, is_explicit)
        # Asked for by the user: of the model's file it is a default, and cannot refuse a prompt.
        if max_new_tokens < (least := given.min_new_tokens or 0):
            ids, negative_ids, max_new_tokens = self._fitted(encoded.ids, options, least, True)
        grammar = self._constrained(options, max_new_tokens)
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
                stop_ids=self._stop_ids(options),
                is_answer=encoded.is_answer,
                # What ends a turn of a transcript would cut a text of a grammar.
                stop_strings=(*(options.stop_strings or ()), *encoded.stop_strings)
                if grammar is None
                else (),
                max_time=options.max_time,
                logprobs=options.logprobs,
                frequency_penalty=options.frequency_penalty or 0.0,
                presence_penalty=options.presence_penalty or 0.0,
                grammar=grammar,
            )
            for sample in range(count)
        ]

    def _constrained(self, options: GenerationOptions, max_new_tokens: int) -> TokenGrammar | None:
        """The grammar of the options; raises `UsageError` where no text of it fits."""
        given = grammar_of(options.given())
        if given is None:
            return None
        grammar = self._grammar(given)
        grammar.check(max_new_tokens)
        return grammar

    def encode(self, prompt: Prompt, reading: Reading) -> Encoded:
        """The whole prompt as the model reads it, whatever the window."""
        if prompt.token_ids:
            encoded = Encoded(list(prompt.token_ids))
        elif prompt.messages:
            encoded = self._encoder.encode_messages(prompt.messages, reading)
        else:
            encoded = self._encoder.encode(prompt.text, reading)
        self._check_ids(encoded.ids)
        return encoded

    def _check_ids(self, ids: list[int]) -> None:
        """Refuse tokens that the model has not: ids that are none, or the tokenizer's alone."""
        if (token_id := max(ids)) >= self._vocabulary_size:
            is_token = token_id < len(self._tokenizer)
            token = self._tokenizer.convert_ids_to_tokens(token_id) if is_token else "id"
            raise UsageError(
                f"the prompt holds the token {token} ({token_id:,}), but the model has only "
                f"{self._vocabulary_size:,} embeddings",
                hint=f"leave it out of the prompt, or drop {mention('allow_special')}",
            )

    def _length(self, encoded: Encoded, options: GenerationOptions) -> int:
        """How many tokens to generate where neither the user nor the model names a number.

        The `max_length` of the model's file, which counts the prompt, too; else what the window
        leaves for a chat model, which ends its answers itself; else the default.
        """
        total = self._max_length
        if total is None and encoded.rendered is not None:
            total = self._window
        room = 0 if total is None else total - len(encoded.ids)
        return max(room, options.min_new_tokens or 0) if room > 0 else options.max_new_tokens or 1

    def _stop_ids(self, options: GenerationOptions) -> frozenset[int]:
        """The ids to stop at; a stop string that is a special token is no part of any text."""
        named = {self._special_ids[s] for s in options.stop_strings or () if s in self._special_ids}
        return frozenset(options.stop_token_ids or ()) | named

    def _fitted(
        self, prompt_ids: Sequence[int], options: GenerationOptions, length: int, is_explicit: bool
    ) -> tuple[tuple[int, ...], tuple[int, ...], int]:
        """Ids of the prompt and of the negative prompt, and a length that fits behind either."""
        limits: Any = {"window": self._window, "overflow": options.overflow or "error"}
        ids, length = fit(prompt_ids, length, is_explicit=is_explicit, **limits)
        if options.negative_prompt is None:
            return ids, (), length
        # Guidance computes the text a second time behind it, in the same window.
        negative_ids, length = fit(
            self._encoder.encode_text(options.negative_prompt), length,
            is_explicit=is_explicit, what="negative prompt", **limits,
        )  # fmt: skip
        return ids, negative_ids, length


def _token_grammar(tokens: Callable[[], TokenTable], grammar: Grammar) -> TokenGrammar:
    return TokenGrammar(grammar, tokens())


def _resolved(
    model_defaults: dict[str, Any], given: GenerationOptions, is_chat: bool
) -> tuple[GenerationOptions, bool]:
    """The options with all defaults, and whether the user or the model's file set the length.

    `is_chat` is whether a chat model answers through its template; where its own file says nothing
    of sampling, it has defaults of its own.
    """
    merged = given.with_model_defaults(model_defaults)
    if is_chat and not any(model_defaults.get(name) is not None for name in _SAMPLING):
        merged = merged.over(CHAT_DEFAULTS)
    return merged.resolve(), merged.max_new_tokens is not None


def _configured(
    model: Any, tokenizer: Any, options: GenerationOptions, max_new_tokens: int
) -> tuple[Any, tuple[int, ...]]:
    """The `GenerationConfig`, and the ids that end a text."""
    eos_ids = end_of_text_ids(options, model, tokenizer)
    config = to_generation_config(
        options,
        tokenizer,
        max_new_tokens=max_new_tokens,
        eos_ids=eos_ids,
        vocabulary_size=int(model.get_input_embeddings().weight.shape[0]),
    )
    return config, tuple(eos_ids)


def _special_ids(tokenizer: Any) -> dict[str, int]:
    """The special tokens' ids by their texts."""
    added = getattr(tokenizer, "added_tokens_decoder", {})
    named = zip(tokenizer.all_special_tokens, tokenizer.all_special_ids, strict=True)
    return {token.content: id for id, token in added.items() if token.special} | dict(named)
