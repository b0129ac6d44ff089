"""Fill-in-the-middle prompts, on tokenizers made for the test."""

from __future__ import annotations

from typing import Any

import pytest

from hfgen.errors import ContextOverflow, DataError, ModelUnsupported
from hfgen.generation.prompts.infill import encode_infill, infill_tokens
from tests.conftest import BUNDLED

PREFIX, SUFFIX = "def add(a, b):\n    return ", "\n\nprint(add(1, 2))"

FAMILIES = {
    "Qwen": ("<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>"),
    "StarCoder": ("<fim_prefix>", "<fim_suffix>", "<fim_middle>"),
    "SantaCoder": ("<fim-prefix>", "<fim-suffix>", "<fim-middle>"),
    "DeepSeek": ("<｜fim▁begin｜>", "<｜fim▁hole｜>", "<｜fim▁end｜>"),
    "Code Llama": ("▁<PRE>", "▁<SUF>", "▁<MID>"),
    "GLM": ("<|code_prefix|>", "<|code_suffix|>", "<|code_middle|>"),
}


def byte_level(*tokens: str) -> Any:
    """The bundled tokenizer with more special tokens."""
    from transformers import AddedToken, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(BUNDLED)
    tokenizer.add_tokens([AddedToken(token, special=True, normalized=False) for token in tokens])
    return tokenizer


def spaced(*tokens: str) -> Any:
    """A tokenizer of single characters that puts a space before a text and BOS before that."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    letters = ["<unk>", "<s>", "▁", *sorted(set(PREFIX + SUFFIX) - {" "})]
    model = models.BPE({letter: i for i, letter in enumerate(letters)}, [], unk_token="<unk>")
    inner = Tokenizer(model)
    inner.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
    inner.post_processor = processors.TemplateProcessing(
        single="<s> $A", special_tokens=[("<s>", 1)]
    )
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=inner, bos_token="<s>", unk_token="<unk>")
    tokenizer.add_tokens(list(tokens), special_tokens=True)
    return tokenizer


def spelled(tokenizer: Any, ids: tuple[int, ...]) -> str:
    return "".join(tokenizer.convert_ids_to_tokens(list(ids)))


@pytest.mark.parametrize("family", FAMILIES)
def test_prefix_suffix_middle(family: str) -> None:
    tokenizer = byte_level(*FAMILIES[family])
    prefix, suffix, middle = tokenizer.convert_tokens_to_ids(list(FAMILIES[family]))
    found = encode_infill(tokenizer, PREFIX, SUFFIX)
    assert found.ids == (
        prefix, *tokenizer.encode(PREFIX), suffix, *tokenizer.encode(SUFFIX), middle
    )  # fmt: skip
    assert found.end_ids == {prefix, suffix, middle}


def test_codestral_has_the_suffix_first_and_no_middle() -> None:
    tokenizer = spaced("[SUFFIX]", "[PREFIX]", "[MIDDLE]")
    found = encode_infill(tokenizer, "return a", "(add)")
    assert spelled(tokenizer, found.ids) == "<s>[SUFFIX](add)[PREFIX]▁return▁a"


def test_the_suffix_gets_no_space_that_is_not_there() -> None:
    tokenizer = spaced(*FAMILIES["Code Llama"], "▁<EOT>")
    found = encode_infill(tokenizer, "return", " a")
    assert spelled(tokenizer, found.ids) == "<s>▁<PRE>▁return▁<SUF>▁a▁<MID>"
    found = encode_infill(tokenizer, "", "add")
    assert spelled(tokenizer, found.ids) == "<s>▁<PRE>▁<SUF>add▁<MID>"
    assert tokenizer.convert_tokens_to_ids("▁<EOT>") in found.end_ids


def test_padding_and_the_next_file_end_a_text() -> None:
    ends = ("<|fim_pad|>", "<|repo_name|>", "<|file_sep|>")
    tokenizer = byte_level(*FAMILIES["Qwen"], *ends, "<|im_end|>")
    found = encode_infill(tokenizer, "a", "b")
    named = {*FAMILIES["Qwen"], *ends}
    assert found.end_ids == set(tokenizer.convert_tokens_to_ids(list(named)))


@pytest.mark.parametrize(
    "tokens",
    [(), ("<file_sep>", "<repo_name>", "<filename>"), ("<|fim_prefix|>", "<|fim_suffix|>"),
     ("[SUFFIX]",)],
)  # fmt: skip
def test_a_vocabulary_without_all_of_them_says_no(tokens: tuple[str, ...]) -> None:
    """The second is SmolLM2's."""
    for tokenizer in (byte_level(*tokens), spaced(*tokens)):
        assert infill_tokens(tokenizer) is None
        with pytest.raises(ModelUnsupported, match="no fill-in-the-middle tokens") as caught:
            encode_infill(tokenizer, PREFIX, SUFFIX)
        assert caught.value.hint


def test_marks_written_in_a_text_are_text() -> None:
    tokenizer = byte_level(*FAMILIES["Qwen"])
    found = encode_infill(tokenizer, "x = '<|fim_middle|>'", "<|fim_suffix|>")
    for mark in tokenizer.convert_tokens_to_ids(list(FAMILIES["Qwen"])):
        assert found.ids.count(mark) == 1
    assert "<|fim_middle|>'" in tokenizer.decode(found.ids)


def test_what_is_far_from_the_gap_leaves_first() -> None:
    tokenizer = byte_level(*FAMILIES["StarCoder"])
    prefix, suffix, middle = tokenizer.convert_tokens_to_ids(list(FAMILIES["StarCoder"]))
    before, after = tokenizer.encode("one " * 50), tokenizer.encode(" two" * 50)

    def cut(limit: int, first: str = "one " * 50, last: str = " two" * 50) -> tuple[int, int]:
        ids = encode_infill(tokenizer, first, last, limit=limit).ids
        assert len(ids) <= limit
        assert (ids[0], ids[-1]) == (prefix, middle)
        at = ids.index(suffix)
        assert list(ids[1:at]) == tokenizer.encode(first)[-(at - 1) :] or at == 1
        assert list(ids[at + 1 : -1]) == tokenizer.encode(last)[: len(ids) - at - 2]
        return at - 1, len(ids) - at - 2

    assert cut(43) == (30, 10)
    assert cut(10_000) == (len(before), len(after))
    assert cut(43, last=" two") == (40 - len(tokenizer.encode(" two")), 1)
    assert cut(43, first="one ")[1] == 40 - len(tokenizer.encode("one "))
    assert cut(3) == (0, 0)
    with pytest.raises(ContextOverflow):
        encode_infill(tokenizer, "a", "b", limit=2)


def test_invalid_text_is_refused() -> None:
    with pytest.raises(DataError):
        encode_infill(byte_level(*FAMILIES["Qwen"]), "a\ud800", "b")
