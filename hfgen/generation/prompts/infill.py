"""Filling in between a prefix and a suffix: the tokens a vocabulary has for it, and the prompt.

A model that was trained to fill in the middle has tokens that mark the parts. Families differ in
their spelling and in the order of the parts; the vocabulary alone decides, no model's name.

    prefix, suffix, middle    StarCoder, SantaCoder, Code Llama, Qwen, CodeGemma, Granite, GLM;
                              DeepSeek, whose three mark the beginning, the hole and the end
    suffix, prefix            Codestral, which has no token for the middle

Sources: Bavarian et al. 2022, section 3 (the two orders); llama.cpp's `llama-vocab.cpp` (spellings,
and the tokens that end a text); mistral-common and Code Llama's `generation.py` (the suffix is
encoded without the space that SentencePiece puts before a text).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from hfgen.errors import ContextOverflow, DataError, ModelUnsupported

# Prefix, suffix, middle, in the order of the prompt.
_SPELLINGS = (
    ("<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>"),
    ("<fim_prefix>", "<fim_suffix>", "<fim_middle>"),
    ("<fim-prefix>", "<fim-suffix>", "<fim-middle>"),
    ("<｜fim▁begin｜>", "<｜fim▁hole｜>", "<｜fim▁end｜>"),
    ("▁<PRE>", "▁<SUF>", "▁<MID>"),
    ("<PRE>", "<SUF>", "<MID>"),
    ("<|code_prefix|>", "<|code_suffix|>", "<|code_middle|>"),
    ("<|prefix|>", "<|suffix|>", "<|middle|>"),
)
_SUFFIX_FIRST = ("[SUFFIX]", "[PREFIX]")
# What follows the middle: padding, the next file, the next repository, the end of an infill.
_ENDS = (
    "<|fim_pad|>", "<fim_pad>", "<fim-pad>", "<PAD>", "<|repo_name|>", "<|fim_repo|>", "<fim_repo>",
    "<reponame>", "<repo_name>", "<|file_sep|>", "<|file_separator|>", "<file_sep>", "▁<EOT>",
    "<EOT>",
)  # fmt: skip
_SPACE = "▁"
# A text of its own in any vocabulary, which takes SentencePiece's space upon itself.
_SHIELD = "☺"
# At most one part in so many of a full window is the suffix, unless the prefix leaves room.
_SUFFIX_PART = 4


@dataclass(frozen=True)
class InfillTokens:
    """Ids of the tokens that mark the parts of a prompt."""

    prefix: int
    suffix: int
    middle: int | None
    """None where the suffix comes first, and the model goes on from the prefix."""
    ends: frozenset[int]
    """A text that was filled in ends before any of them, besides the model's own end tokens."""


@dataclass(frozen=True)
class InfillPrompt:
    """The prompt of one infill."""

    ids: tuple[int, ...]
    end_ids: frozenset[int]
    """See `InfillTokens.ends`."""


def infill_tokens(tokenizer: Any) -> InfillTokens | None:
    """Return the tokens that the vocabulary has for filling in; None where it has none."""
    for spelling in _SPELLINGS:
        prefix, suffix, middle = (_id_of(tokenizer, text) for text in spelling)
        if prefix is not None and suffix is not None and middle is not None:
            return InfillTokens(prefix, suffix, middle, _ends(tokenizer, prefix, suffix, middle))
    suffix, prefix = (_id_of(tokenizer, text) for text in _SUFFIX_FIRST)
    if prefix is None or suffix is None:
        return None
    return InfillTokens(prefix, suffix, None, _ends(tokenizer, prefix, suffix))


def encode_infill(
    tokenizer: Any, prefix: str, suffix: str, *, limit: int | None = None
) -> InfillPrompt:
    """Return the prompt to fill in between two texts, in the order that the model knows.

    Special tokens written in the texts are plain text. A prompt longer than `limit` tokens loses
    what is far from the gap: the beginning of the prefix and the end of the suffix. Raises
    `ModelUnsupported` where the vocabulary has no tokens for it, `DataError` for text that is not
    valid Unicode, and `ContextOverflow` where the limit does not hold the marks.
    """
    tokens = infill_tokens(tokenizer)
    if tokens is None:
        raise ModelUnsupported(
            "the model cannot fill in: its tokenizer has no fill-in-the-middle tokens",
            hint="leave the suffix out, or name a model that has them, as Qwen/Qwen2.5-Coder-0.5B",
        )
    try:
        before, after = _encode(tokenizer, prefix), _encode_unspaced(tokenizer, suffix)
    except (UnicodeEncodeError, TypeError) as error:
        raise DataError("the prompt is not valid Unicode text") from error
    bos = tokenizer.bos_token_id
    begin = [bos] if bos is not None and bos in tokenizer.encode("") else []
    if limit is not None:
        marks = len(begin) + (2 if tokens.middle is None else 3)
        before, after = _cut(before, after, limit - marks)
    if tokens.middle is None:
        ids = (*begin, tokens.suffix, *after, tokens.prefix, *before)
    else:
        ids = (*begin, tokens.prefix, *before, tokens.suffix, *after, tokens.middle)
    return InfillPrompt(ids, tokens.ends)


def _id_of(tokenizer: Any, text: str) -> int | None:
    """The id of a token, which an unknown one shares with others in some tokenizers."""
    found = tokenizer.convert_tokens_to_ids(text)
    is_known = found is not None and tokenizer.convert_ids_to_tokens(found) == text
    return int(found) if is_known else None


def _ends(tokenizer: Any, *marks: int) -> frozenset[int]:
    ends = (_id_of(tokenizer, text) for text in _ENDS)
    return frozenset(marks) | {token_id for token_id in ends if token_id is not None}


def _encode(tokenizer: Any, text: str) -> list[int]:
    ids = tokenizer.encode(text, add_special_tokens=False, split_special_tokens=True, verbose=False)
    return [int(token_id) for token_id in ids]


def _encode_unspaced(tokenizer: Any, text: str) -> list[int]:
    """Encode a text that goes on from another: without a space that the tokenizer puts before."""
    first = tokenizer.convert_ids_to_tokens(_encode(tokenizer, "x")[:1])
    if not first or not first[0].startswith(_SPACE):
        return _encode(tokenizer, text)
    return _encode(tokenizer, _SHIELD + text)[len(_encode(tokenizer, _SHIELD)) :]


def _cut(before: list[int], after: list[int], room: int) -> tuple[list[int], list[int]]:
    """The tokens nearest to the gap, `room` of them at most."""
    if room < 0:
        raise ContextOverflow(
            "the window is too small for the tokens that mark prefix and suffix",
            hint="ask for fewer new tokens",
        )
    kept = max(room // _SUFFIX_PART, room - len(before))
    after = after[:kept]
    return before[max(0, len(before) - (room - len(after))) :], after
