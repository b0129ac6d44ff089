"""One text in the making: `Request` (what is asked for), `Row` (its state), `RowEvent`.

A row knows when it ends and what text is certain; it knows nothing of other rows, of the cache or
of the model.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from hfgen.errors import HfgenError
from hfgen.generation.constraints.constraint import TokenGrammar
from hfgen.generation.constraints.masking import GrammarMask
from hfgen.generation.records import FinishReason, TokenLogprob
from hfgen.generation.sampling import processors
from hfgen.generation.sampling.penalties import AdditivePenalty
from hfgen.generation.sampling.processors import Processor
from hfgen.generation.text import StopMatcher, TextDecoder, Vocabulary


@dataclass(frozen=True)
class Request:
    """A prompt and everything that decides its text."""

    key: tuple[int, int]
    """(index of the prompt, which of its texts); comes back with every event."""
    prompt_ids: tuple[int, ...]
    """At least one token."""
    config: Any
    """A complete `GenerationConfig` (`generation.options.config`); `max_new_tokens` is set."""
    seed: int
    eos_ids: tuple[int, ...] = ()
    negative_ids: tuple[int, ...] = ()
    """What guidance steers away from; empty means the prompt's last token."""
    stop_ids: frozenset[int] = frozenset()
    stop_strings: tuple[str, ...] = ()
    max_time: float | None = None
    """Seconds from admission."""
    rendered: str | None = None
    """The prompt as a chat template wrote it."""
    is_answer: bool = False
    """Whether the text answers the prompt, and does not continue it."""
    assistant: str | None = None
    """The name of the model that guesses ahead."""
    is_delegated: bool = False
    """Whether `hfgen.generation.beams` runs it, and not the engine."""
    logprobs: int | None = None
    """Report log-probabilities, with so many alternatives a token."""
    frequency_penalty: float = 0.0
    presence_penalty: float = 0.0
    grammar: TokenGrammar | None = None
    """What the text has to satisfy."""

    def custom_processors(self) -> list[Processor]:
        """What scores go through besides the processors that `config` describes."""
        if not (self.frequency_penalty or self.presence_penalty):
            return []
        length = len(self.prompt_ids)
        return [AdditivePenalty(self.frequency_penalty, self.presence_penalty, length)]


@dataclass(frozen=True)
class RowEvent:
    """One token of one row, or the row's failure."""

    key: tuple[int, int]
    token_id: int
    """-1 for a failure, and where the row ended without a token."""
    text: str
    """Text that became certain with this token; "" while a character or a stop is open."""
    logprob: TokenLogprob | None = None
    finish_reason: FinishReason | None = None
    error: HfgenError | None = None

    @property
    def is_last(self) -> bool:
        """Whether the row ends here."""
        return self.finish_reason is not None or self.error is not None


class Row:
    """The state of one request while it occupies a slot."""

    def __init__(self, request: Request, vocabulary: Vocabulary, model: Any) -> None:
        self.request = request
        self.ids = list(request.prompt_ids)
        self._decoder = TextDecoder(vocabulary, request.prompt_ids)
        self._matcher = StopMatcher(request.stop_strings)
        self._deadline = None if request.max_time is None else time.monotonic() + request.max_time
        self._context_start = 0
        grammar = request.grammar
        self._constraint = None if grammar is None else grammar.begin(request.eos_ids)
        self._cut_reason: FinishReason = "length"
        device = model.get_input_embeddings().weight.device
        prompt = torch.tensor([self.ids], dtype=torch.long, device=device)
        negative = torch.tensor([request.negative_ids], dtype=torch.long, device=device)
        self.processors = processors.build(
            request.config,
            prompt,
            list(request.eos_ids),
            model=model,
            negative_ids=negative if request.negative_ids else None,
            custom=self._custom_processors(),
        )
        has_need = self.processors.by_ids or self.processors.last
        self._ids_tensor: torch.Tensor | None = prompt if has_need else None

    def _custom_processors(self) -> list[Processor]:
        custom = self.request.custom_processors()
        return custom if self._constraint is None else [*custom, GrammarMask(self._constraint)]

    @property
    def generated(self) -> int:
        """How many tokens have been generated."""
        return len(self.ids) - len(self.request.prompt_ids)

    @property
    def tokens_left(self) -> int:
        """How many more may be generated."""
        return int(self.request.config.max_new_tokens) - self.generated

    @property
    def context_ids(self) -> tuple[int, ...]:
        """The ids that the model has to see for the next token."""
        return tuple(self.ids[self._context_start :])

    def slide(self, keep: int) -> None:
        """Forget all but the newest `keep` tokens of the context."""
        self._context_start = len(self.ids) - keep

    def process(self, scores: torch.Tensor, chosen: Sequence[Processor]) -> torch.Tensor:
        """Apply processors that need the row's ids to its scores (1, V)."""
        if self._ids_tensor is not None:
            ids = self._ids_tensor[:, : len(self.ids)]
            for processor in chosen:
                scores = processor(ids, scores)
        return scores

    def admit(self, token_id: int) -> int | None:
        """The token to accept for the one that was chosen; None ends the row.

        They differ where a constrained text has to be closed for its length or its time.
        """
        if self._constraint is None:
            return token_id
        if is_late := self._is_late():
            self._cut_reason = "time"
        return self._constraint.take(token_id, self.tokens_left - 1, is_late=is_late)

    def cut(self) -> RowEvent:
        """End the row where it is."""
        return RowEvent(self.request.key, -1, self._rest(), finish_reason=self._cut_reason)

    def accept(self, token_id: int, logprob: TokenLogprob | None) -> RowEvent:
        """Take the next token; the event says whether the row ends with it."""
        self._remember(token_id)
        text, reason = "", self._end_by_id(token_id)
        if reason is None:
            text, is_stopped = self._matcher.add(self._decoder.add(token_id))
            if is_stopped:
                return RowEvent(self.request.key, token_id, text, logprob, "stop")
            reason = self._end_by_grammar() or self._end_by_limit()
        if reason is not None:
            rest, is_stopped = self._matcher.add(self._decoder.flush())
            text += rest
            if is_stopped:
                reason = "stop"
            else:
                text += self._matcher.flush()
        return RowEvent(self.request.key, token_id, text, logprob, reason)

    def _rest(self) -> str:
        """The text that was held back."""
        rest, _ = self._matcher.add(self._decoder.flush())
        return rest + self._matcher.flush()

    def fail(self, error: HfgenError) -> RowEvent:
        """End the row with an error."""
        return RowEvent(self.request.key, -1, "", error=error)

    def _remember(self, token_id: int) -> None:
        position = len(self.ids)
        self.ids.append(token_id)
        if self._ids_tensor is not None:
            if position == self._ids_tensor.shape[1]:
                grown = self._ids_tensor.new_zeros((1, 2 * position + 64))
                grown[:, :position] = self._ids_tensor
                self._ids_tensor = grown
            self._ids_tensor[0, position] = token_id

    def _end_by_id(self, token_id: int) -> FinishReason | None:
        if token_id in self.request.eos_ids:
            return "eos"
        return "stop" if token_id in self.request.stop_ids else None

    def _end_by_grammar(self) -> FinishReason | None:
        if self._constraint is None or not self._constraint.is_complete:
            return None
        return self._cut_reason if self._constraint.is_cut else "stop"

    def _end_by_limit(self) -> FinishReason | None:
        if self.tokens_left <= 0:
            return "length"
        # A constrained text is closed before it ends (`admit`).
        if self._is_late() and (self._constraint is None or self._constraint.is_whole):
            return "time"
        return None

    def _is_late(self) -> bool:
        return self._deadline is not None and time.monotonic() >= self._deadline
