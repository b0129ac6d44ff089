"""Texts to score: from a text or a context and its continuation to `TextScore`s.

Context and continuation are tokenized as one text, and blanks at the context's end belong to the
continuation, as in EleutherAI's lm-evaluation-harness. Without a context the first token follows
the model's token that begins texts, or is not scored where the model has none or the caller wants
it so.

A word is a run of tokens whose first begins with white space. Its score carries the boundary's
probability: that a blank follows belongs to it, and that a blank preceded it belongs to the word
before. Source: Pimentel and Meister 2024, "How to Compute the Probability of a Word", section 4.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from typing import Any

from hfgen.errors import DataError, UsageError
from hfgen.generation.text import Vocabulary
from hfgen.scoring.asked import By, ScoredText
from hfgen.scoring.scorer import Progress, Request, Scorer, Scores
from hfgen.scoring.windows import strided

_AT_ONCE = 512


@dataclass(frozen=True)
class Unit:
    """A token, a word or a line of a scored text."""

    text: str
    logprob: float
    rank: int | None = None
    """How many tokens are more likely; of tokens only."""


@dataclass(frozen=True)
class TextScore:
    """What the model says of a text."""

    index: int
    text: str
    context: str
    id: str | None
    log_likelihood: float
    """Natural logarithm of the probability of all scored tokens."""
    tokens: int
    """How many were scored."""
    bytes: int
    """UTF-8 bytes of the scored text."""
    after: str | None
    """The token that the text begins after, where it has no context; None for its own first."""
    is_greedy: bool
    """Whether greedy decoding would write it, from its first scored token on."""
    units: tuple[Unit, ...] = ()

    @property
    def perplexity(self) -> float:
        """For each token."""
        return math.exp(min(-self.log_likelihood / self.tokens, 700))

    @property
    def bits_per_byte(self) -> float:
        """Comparable between models with different tokenizers."""
        return -self.log_likelihood / math.log(2) / max(1, self.bytes)

    def to_dict(self, by: By = "text") -> dict[str, Any]:
        """A JSON-ready mapping."""
        row: dict[str, Any] = {"index": self.index, "id": self.id, "text": self.text}
        if self.context:
            row["context"] = self.context
        row |= {
            "log_likelihood": self.log_likelihood,
            "tokens": self.tokens,
            "bytes": self.bytes,
            "perplexity": self.perplexity,
            "bits_per_byte": self.bits_per_byte,
            "after": self.after,
        }
        if by == "token":
            row["token_scores"] = [
                {"token": unit.text, "logprob": unit.logprob, "rank": unit.rank}
                for unit in self.units
            ]
        elif by != "text":
            row[f"{by}_scores"] = [{by: unit.text, "logprob": unit.logprob} for unit in self.units]
        return row


@dataclass(frozen=True)
class _Encoded:
    context_ids: tuple[int, ...]
    target_ids: tuple[int, ...]
    scored: str
    after: str | None


class TextScorer:
    """Scores texts on one model."""

    def __init__(self, scorer: Scorer, tokenizer: Any, *, bos: bool | None = None) -> None:
        """`bos` is whether a text without context follows the token that begins texts.

        None is "where the model has one". Raises `UsageError` where it is asked for in vain.
        """
        self._scorer = scorer
        self._tokenizer = tokenizer
        self._vocabulary = Vocabulary(tokenizer)
        first = tokenizer.bos_token_id
        self._end_id = tokenizer.eos_token_id if first is None else first
        if first is None:
            first = tokenizer.eos_token_id
        if bos and first is None:
            raise UsageError("the model has no token that begins texts", hint="drop --bos")
        self._first_id: int | None = None if bos is False else first

    def scores(
        self,
        texts: Iterable[ScoredText],
        *,
        by: By = "text",
        stride: int | None = None,
        progress: Progress | None = None,
    ) -> Iterator[TextScore]:
        """Score texts, in order, some hundreds together; longer ones by windows.

        Raises `DataError` for a text of no token that could be scored.
        """
        source = iter(enumerate(texts))
        while batch := list(islice(source, _AT_ONCE)):
            yield from self._batch(batch, by, stride, progress)

    def _batch(
        self,
        batch: Sequence[tuple[int, ScoredText]],
        by: By,
        stride: int | None,
        progress: Progress | None,
    ) -> Iterator[TextScore]:
        encoded = [self._encode(index, text) for index, text in batch]
        requests = []
        counts = []
        for one in encoded:
            ids = one.target_ids
            if by == "word":
                # What follows the last word has to be looked at, too.
                ids = (*ids, self._end_id or 0)
            windows = self._windows(one.context_ids, ids, stride)
            counts.append(len(windows))
            requests += windows
        blanks = self._blank_ids if by == "word" else ()
        found = iter(self._scorer.score(requests, mass_of=blanks, progress=progress))
        for (index, text), one, count in zip(batch, encoded, counts, strict=True):
            scores = _joined(list(islice(found, count)))
            tokens = len(one.target_ids)
            yield TextScore(
                index=index,
                text=text.text,
                context=text.context,
                id=text.id,
                log_likelihood=math.fsum(scores.logprobs[:tokens]),
                tokens=tokens,
                bytes=len(one.scored.encode("utf-8", "replace")),
                after=one.after,
                is_greedy=not any(scores.ranks[:tokens]),
                units=self._units(one, scores, by),
            )

    def requests(self, text: ScoredText, stride: int | None = None) -> list[Request]:
        """What is asked of the model for a text, each of its tokens once."""
        one = self._encode(0, text)
        return self._windows(one.context_ids, one.target_ids, stride)

    def _windows(
        self, context_ids: tuple[int, ...], ids: tuple[int, ...], stride: int | None
    ) -> list[Request]:
        window = self._scorer.window or len(context_ids) + len(ids)
        return list(strided(context_ids, ids, window, stride))

    def _encode(self, index: int, text: ScoredText) -> _Encoded:
        context = text.context
        blank = context[len(context.rstrip()) :]
        context, scored = context.removesuffix(blank), blank + text.text
        ids = self._ids(context + scored)
        if context:
            start = len(self._ids(context))
            # A token of the context may have grown into the continuation.
            begun, target = ids[:start], ids[start:]
            after = None
            if not begun:
                raise DataError(f"text {index}: the context has no token")
        elif self._first_id is not None:
            begun, target = (self._first_id,), ids
            after = str(self._tokenizer.convert_ids_to_tokens(self._first_id))
        else:
            begun, target = ids[:1], ids[1:]
            after, scored = None, self._vocabulary.decode(target) if target else ""
        if not target:
            raise DataError(
                f"text {index} has {len(ids)} token{'s' * (len(ids) != 1)}: nothing to score",
                hint="without a token before it, a text needs two" if ids else "leave it out",
            )
        return _Encoded(begun, target, scored, after)

    def _ids(self, text: str) -> tuple[int, ...]:
        if not text:
            return ()
        try:
            ids = self._tokenizer.encode(
                text, add_special_tokens=False, split_special_tokens=True, verbose=False
            )
        except (UnicodeEncodeError, TypeError) as error:
            raise DataError("the text is not valid Unicode") from error
        return tuple(int(token_id) for token_id in ids)

    def _units(self, one: _Encoded, scores: Scores, by: By) -> tuple[Unit, ...]:
        if by == "text":
            return ()
        decode = self._vocabulary.token_text
        texts = [decode(token_id) for token_id in one.target_ids]
        if by == "token":
            return tuple(map(Unit, texts, scores.logprobs, scores.ranks))
        starts = _word_starts(texts) if by == "word" else _line_starts(texts)
        units = []
        for start, end in zip(starts, [*starts[1:], len(texts)], strict=True):
            logprob = math.fsum(scores.logprobs[start:end])
            if by == "word":
                logprob += scores.masses[end] - (scores.masses[start] if start else 0)
            units.append(Unit(self._vocabulary.decode(one.target_ids[start:end]), logprob))
        return tuple(units)

    @cached_property
    def _blank_ids(self) -> tuple[int, ...]:
        """The tokens that begin a new word, or end the text."""
        size = len(self._tokenizer)
        marks = {self._tokenizer.eos_token_id, self._tokenizer.bos_token_id} - {None}
        pieces = self._tokenizer.convert_ids_to_tokens(list(range(size)))
        found = {
            token_id
            for token_id, piece in enumerate(pieces)
            if piece
            and (piece[0] in " \n\t\r\u2581" or self._vocabulary.token_text(token_id)[:1].isspace())
        }
        return tuple(sorted(found | marks))


def _word_starts(texts: Sequence[str]) -> list[int]:
    """Where words begin: at the first token, and at each white space after something else."""
    starts = [0]
    has_letters = bool(texts[0].strip())
    for at, text in enumerate(texts[1:], start=1):
        if has_letters and text[:1].isspace():
            starts.append(at)
            has_letters = False
        has_letters = has_letters or bool(text.strip())
    return starts


def _line_starts(texts: Sequence[str]) -> list[int]:
    """Where lines begin: behind each token with a line end, which belongs to its line."""
    ends = [at for at, text in enumerate(texts[:-1], start=1) if "\n" in text]
    return [0, *ends]


def _joined(parts: Sequence[Scores]) -> Scores:
    return Scores(
        tuple(value for part in parts for value in part.logprobs),
        tuple(value for part in parts for value in part.ranks),
        masses=tuple(value for part in parts for value in part.masses),
    )
