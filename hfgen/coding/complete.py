"""Completing code: texts from the engine, cut at the end of the block, the likeliest first."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from hfgen.coding.blocks import BlockEnd, Until, block_end
from hfgen.coding.languages import Language
from hfgen.coding.prompt import CodePrompt, code_prompt
from hfgen.generation.options.options import GenerationOptions
from hfgen.generation.options.presets import options_of
from hfgen.generation.prompts.encode import Reading
from hfgen.generation.records import FinishReason, Piece, Prompt, Record, TokenLogprob
from hfgen.generation.sampling.draw import sample_seed
from hfgen.generation.scheduler import Failed

if TYPE_CHECKING:
    from hfgen.language_model import LanguageModel

DEFAULT_LENGTH = 256
"""Tokens, where nothing is said; at most half of the window."""
_SLOTS = 16
_SEVERAL = GenerationOptions(temperature=0.8)
_IS_BEAMS = ("num_beams", "assistant_model", "prompt_lookup_num_tokens")
_IGNORE: Callable[..., None] = lambda *_: None  # noqa: E731


@dataclass(frozen=True)
class Completion:
    """One completion of code."""

    text: str
    """With `\\n`, as the model wrote it."""
    finish_reason: FinishReason
    """`stop` at the end of the block."""
    seed: int
    """Of the sample; alone, this seed gives it again."""
    prompt_tokens: int
    completion_tokens: int
    """Generated tokens, those behind the end included."""
    logprob: float | None = None
    """Mean log-probability of the completion's tokens; None where it has none or is not known."""
    logprobs: tuple[TokenLogprob, ...] = ()
    samples: int = 1
    """How many samples gave this text."""


def code_options(options: GenerationOptions, window: int | None) -> GenerationOptions:
    """The options with what code is completed with where nothing is said.

    Those of the preset `code`; several alternatives are sampled at a higher temperature (Chen et
    al. 2021, section 3.3), or they would be alike.
    """
    count = options.num_return_sequences or 1
    merged = options.over(_SEVERAL.over(options_of("code")) if count > 1 else options_of("code"))
    length = DEFAULT_LENGTH if window is None else max(1, min(DEFAULT_LENGTH, window // 2))
    length = max(length, options.min_new_tokens or 0)
    return merged.over(GenerationOptions(max_new_tokens=length, overflow="truncate"))


def complete_code(
    lm: LanguageModel,
    before: str,
    after: str,
    language: Language,
    options: GenerationOptions,
    *,
    until: Until = "function",
    watch: Callable[[str], None] = _IGNORE,
    notify: Callable[[str], None] = _IGNORE,
    progress: Callable[[int, int], None] | None = None,
) -> list[Completion]:
    """Complete the code between two texts; alternatives come by mean log-probability.

    `options` are those of `code_options`, with a seed; `num_return_sequences` is the number of
    alternatives, of which equal ones are one. `watch` is told the text of the only one as it
    comes, `notify` what the user should know. Raises what `LanguageModel.stream` does, and
    `ModelUnsupported` where there is text after the cursor and the model cannot fill in.
    """
    cuts = options.overflow == "truncate" and lm.window is not None
    length = options.max_new_tokens or DEFAULT_LENGTH
    limit = lm.window - length if cuts and lm.window is not None and lm.window > length else None
    prompt = code_prompt(lm, before, after, limit=limit)
    if prompt.is_cut:
        notify(
            f"the context window of {lm.window:,} tokens does not hold the whole text: the model "
            f"sees the {len(prompt.ids):,} tokens nearest to the cursor"
        )
    count = options.num_return_sequences or 1
    run = _Run(lm, options, prompt, lambda: block_end(language, before, after, until), progress)
    texts = run.texts(before, watch if count == 1 else _IGNORE)
    return _ranked(texts)


@dataclass
class _Text:
    """A completion in the making."""

    end: BlockEnd
    seed: int
    prompt_tokens: int
    parts: list[str] = field(default_factory=list)
    raw: int = 0
    """How many characters were generated."""
    tokens: list[tuple[int, TokenLogprob]] = field(default_factory=list)
    """Tokens, each with where its text begins."""
    reason: FinishReason | None = None
    record: Record | None = None

    def add(self, piece: Piece) -> str:
        """Take a piece; return what belongs to the completion of it."""
        self.tokens += [(self.raw, token) for token in piece.logprobs]
        self.raw += len(piece.text)
        self.record = piece.record or self.record
        text, is_end = self.end.add(piece.text)
        if not is_end and piece.record is not None:
            rest, is_end = self.end.flush()
            text += rest
            self.reason = piece.record.finish_reason
        if is_end:
            self.reason = "stop"
        self.parts.append(text)
        return text

    def completion(self) -> Completion:
        text = "".join(self.parts)
        kept = tuple(token for start, token in self.tokens if start < len(text))
        count = len(self.tokens) if self.record is None else self.record.completion_tokens
        mean = math.fsum(token.logprob for token in kept) / len(kept) if kept else None
        reason = self.reason or "stop"
        return Completion(text, reason, self.seed, self.prompt_tokens, count, mean, kept)


@dataclass(frozen=True)
class _Run:
    """The samples of one prompt, each a prompt of its own, so that each ends on its own."""

    lm: LanguageModel
    options: GenerationOptions
    prompt: CodePrompt
    make_end: Callable[[], BlockEnd]
    progress: Callable[[int, int], None] | None

    def texts(self, before: str, watch: Callable[[str], None]) -> list[Completion]:
        count = self.options.num_return_sequences or 1
        stops = {*(self.options.stop_token_ids or ()), *self.prompt.end_ids}
        options = self._counted(replace(self.options, stop_token_ids=tuple(sorted(stops)) or None))
        scheduler = self.lm.scheduler(min(count, _SLOTS), progress=self.progress)
        found: list[_Text] = []
        reading = Reading(raw=True)
        is_whole = self.options.uses_beams
        for index in range(1 if is_whole else count):
            seed = sample_seed(self.options.seed or 0, index)
            asked = Prompt(before, seed=seed, token_ids=self.prompt.ids)
            scheduler.submit(self.lm.prepare(asked, index, options, reading))
        for sample in range(count):
            seed = sample_seed(self.options.seed or 0, 0 if is_whole else sample)
            found.append(_Text(self.make_end(), seed, len(self.prompt.ids)))
        scheduler.more_will_come = False
        while scheduler.has_work:
            for piece in scheduler.step():
                if isinstance(piece, Failed):
                    raise piece.error
                text = found[piece.index + piece.sample]
                if text.reason is None:
                    watch(text.add(piece))
                if text.reason is not None and piece.record is None:
                    scheduler.cancel(piece.index)
        return [text.completion() for text in found]

    def _counted(self, options: GenerationOptions) -> GenerationOptions:
        """The options of one sample; what is ranked needs the probabilities of all tokens."""
        if options.uses_beams:
            return options
        given: dict[str, Any] = options.given()
        given.pop("num_return_sequences", None)
        if not options.is_assisted:
            given.setdefault("logprobs", 0)
        return GenerationOptions(**given)


def _ranked(completions: list[Completion]) -> list[Completion]:
    """The likeliest first, texts that are equal once; those of a beam search as they come."""

    def merged() -> Iterator[Completion]:
        texts = [one.text for one in completions]
        for number, one in enumerate(completions):
            if one.text not in texts[:number]:
                yield replace(one, samples=texts.count(one.text))

    return sorted(merged(), key=lambda one: math.inf if one.logprob is None else -one.logprob)
