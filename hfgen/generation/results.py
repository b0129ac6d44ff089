"""A text in the making, from the engine's events to pieces and a record."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from hfgen.generation.records import FinishReason, Piece, Prompt, Record, TokenLogprob
from hfgen.generation.sequences import Request, RowEvent
from hfgen.generation.thinking import Splitter


@dataclass
class TextInProgress:
    """What has been generated of one text."""

    prompt: Prompt
    request: Request
    model: str
    make_splitter: Callable[[], Splitter | None] = lambda: None
    """Makes what tells thinking from the answer, where the model thinks."""
    _answer: list[str] = field(default_factory=list)
    _thinking: list[str] = field(default_factory=list)
    _ids: list[int] = field(default_factory=list)
    _logprobs: list[TokenLogprob] = field(default_factory=list)
    _known_tokens: int = 0
    """How many tokens the text had before it began again; their pieces were handed out then."""

    def __post_init__(self) -> None:
        self._splitter = self.make_splitter()

    @property
    def count(self) -> int:
        """How many records come of it: several of a beam search."""
        config = self.request.config
        return int(config.num_return_sequences or 1) if self.request.is_delegated else 1

    def again(self) -> TextInProgress:
        """The same text from its beginning; pieces come only of what this one did not have."""
        known = max(len(self._ids), self._known_tokens)
        return TextInProgress(
            self.prompt, self.request, self.model, self.make_splitter, _known_tokens=known
        )

    def add(self, event: RowEvent) -> Piece | None:
        """Take one token's event; None when it brings nothing to show."""
        if event.token_id >= 0:
            self._ids.append(event.token_id)
        if event.logprob is not None:
            self._logprobs.append(event.logprob)
        thinking, answer = self._split(event.text, is_last=event.is_last)
        record = None
        if event.finish_reason is not None:
            record = self._record(event.finish_reason)
        if not answer and not thinking and record is None and event.logprob is None:
            return None
        if len(self._ids) <= self._known_tokens:
            return None
        logprobs = (event.logprob,) if event.logprob is not None else ()
        return Piece(*self.request.key, answer, logprobs, record, thinking)

    def whole(self, sample: int, ids: list[int], text: str, reason: FinishReason) -> Piece:
        """A text that came in one piece (a beam)."""
        self._ids = ids
        thinking, answer = self._split(text, is_last=True)
        index, _ = self.request.key
        return Piece(index, sample, answer, (), self._record(reason), thinking)

    def _split(self, text: str, *, is_last: bool) -> tuple[str, str]:
        if self._splitter is None:
            thinking, answer = "", text
        else:
            thinking, answer = self._splitter.add(text)
            if is_last:
                rest = self._splitter.flush()
                thinking, answer = thinking + rest[0], answer + rest[1]
        if thinking:
            self._thinking.append(thinking)
        if answer:
            self._answer.append(answer)
        return thinking, answer

    def _record(self, finish_reason: FinishReason) -> Record:
        index, _ = self.request.key
        return Record(
            index=index,
            id=self.prompt.id,
            model=self.model,
            prompt=self.prompt.text,
            completion="".join(self._answer),
            finish_reason=finish_reason,
            seed=self.request.seed,
            prompt_tokens=len(self.request.prompt_ids),
            completion_tokens=len(self._ids),
            token_ids=tuple(self._ids),
            thinking="".join(self._thinking) if self._thinking else None,
            is_answer=self.request.is_answer,
            logprobs=None if self.request.logprobs is None else tuple(self._logprobs),
        )
