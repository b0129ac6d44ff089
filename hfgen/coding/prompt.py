"""The prompt of a completion: the text before the cursor, or both sides of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hfgen.errors import ModelUnsupported
from hfgen.generation.prompts.encode import Reading
from hfgen.generation.prompts.infill import encode_infill, infill_tokens
from hfgen.generation.records import Prompt
from hfgen.mentions import mention

if TYPE_CHECKING:
    from hfgen.language_model import LanguageModel

# No token of source code is longer on average; text far from the cursor is not even encoded.
_CHARACTERS_PER_TOKEN = 32


@dataclass(frozen=True)
class CodePrompt:
    """Token ids of a prompt."""

    ids: tuple[int, ...]
    end_ids: frozenset[int] = frozenset()
    """A completion ends before any of them."""
    is_cut: bool = False
    """Whether the window does not hold all of the text."""


def code_prompt(lm: LanguageModel, before: str, after: str, *, limit: int | None) -> CodePrompt:
    """The prompt for what stands between two texts, of `limit` tokens at most.

    What is nearest to the cursor is kept. Raises `ModelUnsupported` where there is a text after it
    and the tokenizer has no tokens for filling in.
    """
    is_cut = False
    if limit is not None:
        most = max(1, limit) * _CHARACTERS_PER_TOKEN
        is_cut = len(before) > most or len(after) > most
        before, after = before[-most:], after[:most]
    if after:
        check_infill(lm)
        found = encode_infill(lm.tokenizer, before, after, limit=limit)
        is_cut = is_cut or len(found.ids) == limit
        return CodePrompt(found.ids, found.end_ids, is_cut)
    ids = lm.encode(Prompt(before), Reading(raw=True)).ids
    if limit is None or len(ids) <= limit:
        return CodePrompt(tuple(ids), is_cut=is_cut)
    begin = [ids[0]] if ids[0] == lm.tokenizer.bos_token_id else []
    room = max(1, limit - len(begin))
    return CodePrompt((*begin, *ids[len(begin) :][-room:]), is_cut=True)


def check_infill(lm: LanguageModel) -> Any:
    """Raise `ModelUnsupported` for a model that cannot fill in."""
    if infill_tokens(lm.tokenizer) is None:
        raise ModelUnsupported(
            f"{lm.name} cannot fill in: its tokenizer has no fill-in-the-middle tokens",
            hint="continue at the end of the text, or name a model that has them: "
            f"{mention('model', 'Qwen/Qwen2.5-Coder-0.5B')}",
        )
