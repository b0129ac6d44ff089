"""`Constraint`: one row held to its grammar, and to an ending within its length.

Which tokens may come next is llguidance's answer for the text so far. A second matcher, over
bytes, follows the same text for the sake of the closing: the bytes that would finish it now. A
token after which the closing would not fit is replaced by the closing's own next token, and from
there on the row is on its way to an end (`is_cut`).
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from hfgen.errors import GenerationFailed, UsageError
from hfgen.generation.constraints.closing import Closer, byte_matcher, finishes
from hfgen.generation.constraints.grammars import Grammar
from hfgen.generation.constraints.tokens import TokenTable
from hfgen.mentions import mention


class TokenGrammar:
    """A grammar over one model's tokens; every row of it begins from here."""

    def __init__(self, grammar: Grammar, table: TokenTable) -> None:
        from llguidance import LLMatcher

        self.grammar = grammar
        self.table = table
        self.closer = Closer(grammar.source, table.usable)
        self._matcher = LLMatcher(table.matching, grammar.compiled, log_level=0)
        self._bytes = byte_matcher(grammar.compiled)
        shortest = table.shortest(grammar.shortest)
        if shortest is None:
            text = self.closer.short(self._bytes)
            shortest = None if text is None else table.shortest(text)
        if self._matcher.is_error() or shortest is None:
            raise GenerationFailed(
                f"{mention(grammar.option)}: no text of this model's tokens satisfies it",
                hint="allow other characters, or choose another model",
            )
        self.shortest: tuple[int, ...] = shortest
        """Few tokens that make a whole text."""

    def check(self, max_new_tokens: int) -> None:
        """Refuse a length in which no text is whole."""
        if (needed := max(1, len(self.shortest))) > max_new_tokens:
            raise UsageError(
                f"{mention(self.grammar.option)}: its shortest text takes {needed} tokens, "
                f"{max_new_tokens} may be generated",
                hint=f"raise {mention('max_new_tokens')}",
            )

    def begin(self, eos_ids: Collection[int]) -> Constraint:
        """The state of a new row, which may end by any of `eos_ids`."""
        return Constraint(self, self._matcher.deep_copy(), self._bytes.deep_copy(), eos_ids)


class Constraint:
    """What a row's text so far allows; see the module's docstring."""

    def __init__(
        self, start: TokenGrammar, matcher: Any, bytes_matcher: Any, eos_ids: Collection[int]
    ) -> None:
        self._table = start.table
        self._closer = start.closer
        self._option = start.grammar.option
        self._matcher = matcher
        self._bytes = bytes_matcher
        self._text = b"".join(map(start.table.bytes_of, start.shortest))
        self._closing = start.shortest
        self.eos_ids = frozenset(eos_ids)
        """Tokens that may end a whole text."""
        self.ends = sorted({*eos_ids, *start.table.matching.eos_tokens})
        """These, and what llguidance takes for the end of a text."""
        self.is_cut = False
        """Whether the limit chose a token in the model's place."""

    @property
    def is_whole(self) -> bool:
        """Whether the text may end here."""
        return bool(self._matcher.is_accepting())

    @property
    def is_complete(self) -> bool:
        """Whether the text must end here."""
        return bool(self._matcher.is_stopped())

    def mask(self) -> bytes:
        """A bit for each token, the lowest bit first, set where it may come next.

        Those of `ends` are meaningless: such a token may come where the text `is_whole`.
        """
        mask: bytes = self._matcher.compute_bitmask()
        return mask

    def take(self, token_id: int, left: int, *, is_late: bool = False) -> int | None:
        """Go on with the token, or with the closing's where `left` more would not suffice.

        `is_late` asks for the closing at once. Returns the token that was taken; None where the
        text has to end as it is.
        """
        if token_id in self.eos_ids and self.is_whole:
            return token_id
        is_closing = bool(self._closing) and token_id == self._closing[0]
        if not is_closing and (is_late or not self._follow(token_id, left)):
            self.is_cut = True
            if not self._closing:
                return None
            token_id, is_closing = self._closing[0], True
        if is_closing:
            written = self._table.bytes_of(token_id)
            self._bytes.consume_tokens(list(written))
            self._closing, self._text = self._closing[1:], self._text[len(written) :]
        if not self._matcher.consume_token(token_id):
            raise GenerationFailed(
                f"{mention(self._option)}: {self._matcher.get_error().splitlines()[0]}",
                hint="simplify it",
            )
        return token_id

    def _follow(self, token_id: int, left: int) -> bool:
        """Whether a closing of at most `left` tokens remains behind the token; it is kept then."""
        written = list(self._table.bytes_of(token_id))
        taken = self._bytes.try_consume_tokens(written)
        if written and taken == len(written):
            for find in (self._kept, self._closer.quick, self._shorter):
                text = find(self._bytes)
                tokens = None if text is None else self._table.shortest(text)
                if text is not None and tokens is not None and len(tokens) <= left:
                    self._text, self._closing = text, tokens
                    return True
        self._bytes.rollback(taken)
        return False

    def _shorter(self, matcher: Any) -> bytes | None:
        return self._closer.short(matcher, nodes=500)

    def _kept(self, matcher: Any) -> bytes | None:
        """The closing so far, or its end, where that still finishes the text."""
        for start in (0, *range(len(self._text), 0, -1)):
            if finishes(matcher, self._text[start:]):
                return self._text[start:]
        return None
