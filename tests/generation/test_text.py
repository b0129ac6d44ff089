"""Text decoding and stop strings against the decoding of whole sequences."""

from __future__ import annotations

import itertools
import random
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from hfgen.generation.text import StopMatcher, TextDecoder, Vocabulary

TEXTS = [
    "Grüße, naïve café — “quotes” and an ellipsis…",
    "👩‍👩‍👧‍👦 family, 🇺🇳 flag, 👍🏽 thumb, e\u0301 combining",
    "从前有座山，山上有座庙，庙里有个老和尚。",
    "كان يا ما كان في قديم الزمان",
    "def f(x):\n\treturn {k: v for k, v in x}  # ok\r\n\n",
    "a\ufffdb \ufffd\ufffd end \ufffd",
    "\x00\x01 control \x7f \u200b\u2028",
    "   leading and trailing   ",
]


@pytest.fixture(scope="module")
def byte_fallback() -> Any:
    """A tokenizer as Llama's: words with ▁, everything else as <0x..> bytes."""
    words = ["▁", "▁a", "b", "▁the", "ab", "▁end", "c"]
    names = ["<unk>", "<s>", "</s>", *(f"<0x{i:02X}>" for i in range(256)), *words]
    vocabulary = {name: i for i, name in enumerate(names)}
    backend = Tokenizer(models.BPE(vocabulary, [], byte_fallback=True, unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.Metaspace()
    backend.decoder = decoders.Sequence(
        [
            decoders.Replace("▁", " "),
            decoders.ByteFallback(),
            decoders.Fuse(),
            decoders.Strip(" ", 1, 0),
        ]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=backend, bos_token="<s>", eos_token="</s>", unk_token="<unk>"
    )


def pieces_of(tokenizer: Any, context: list[int], ids: list[int]) -> list[str]:
    decoder = TextDecoder(Vocabulary(tokenizer), context)
    return [*(decoder.add(token_id) for token_id in ids), decoder.flush()]


def whole(tokenizer: Any, context: list[int], ids: list[int]) -> str:
    """Oracle: the decoding of everything, less that of the context."""
    decode = tokenizer.backend_tokenizer.decode
    text = decode(context + ids)
    before = decode(context)
    assert text.startswith(before)
    return text[len(before) :]


@pytest.mark.parametrize("text", TEXTS)
def test_joined_pieces_equal_the_text(text: str, tokenizer: Any) -> None:
    ids = tokenizer.encode(text, split_special_tokens=True)
    pieces = pieces_of(tokenizer, [], ids)
    assert "".join(pieces) == text
    assert len([piece for piece in pieces if piece]) > 3


@pytest.mark.parametrize("seed", range(40))
def test_random_bytes_equal_the_full_decode(seed: int, tokenizer: Any) -> None:
    rng = random.Random(seed)
    top = 260 if seed % 2 else 4096
    ids = [rng.randrange(1, top) for _ in range(60)]
    assert "".join(pieces_of(tokenizer, [], ids)) == tokenizer.backend_tokenizer.decode(ids)


@pytest.mark.parametrize("seed", range(40))
def test_byte_fallback_equals_the_full_decode(seed: int, byte_fallback: Any) -> None:
    rng = random.Random(seed)
    ids = [rng.randrange(3, 266) if rng.random() < 0.6 else rng.randrange(259, 266)
           for _ in range(40)]  # fmt: skip
    context = [1, 262, 260]
    joined = "".join(pieces_of(byte_fallback, context, ids))
    assert joined == whole(byte_fallback, context, ids)


def test_a_leading_space_survives_after_a_prompt(byte_fallback: Any) -> None:
    the, end = (byte_fallback.convert_tokens_to_ids(t) for t in ("▁the", "▁end"))
    assert pieces_of(byte_fallback, [1, the], [end, the]) == [" end", " the", ""]
    assert pieces_of(byte_fallback, [1], [end, the]) == ["end", " the", ""]


def test_a_prompt_may_end_within_a_run_of_bytes(byte_fallback: Any) -> None:
    first = byte_fallback.convert_tokens_to_ids("<0x00>")
    context = [1, *(first + byte for byte in "你好".encode())]
    ids = [first + byte for byte in "世界".encode()]
    assert "".join(pieces_of(byte_fallback, context, ids)) == "世界"


def test_no_piece_holds_half_a_character(tokenizer: Any) -> None:
    text = "🙂é中" * 10
    ids = tokenizer.encode(text)
    assert len(ids) > len(text)
    assert all("\ufffd" not in piece for piece in pieces_of(tokenizer, [], ids))


def test_special_tokens_are_left_out(tokenizer: Any) -> None:
    ids = [*tokenizer.encode("one"), tokenizer.eos_token_id, *tokenizer.encode(" two")]
    assert "".join(pieces_of(tokenizer, [], ids)) == "one two"


def matched(stops: list[str], pieces: list[str]) -> tuple[str, bool]:
    matcher = StopMatcher(stops)
    out = ""
    for piece in pieces:
        text, is_stopped = matcher.add(piece)
        out += text
        if is_stopped:
            return out, True
    return out + matcher.flush(), False


@pytest.mark.parametrize(
    ("stops", "pieces", "expected"),
    [
        (["ab"], ["aab"], ("a", True)),
        (["ab"], ["a", "a", "b"], ("a", True)),
        (["1,2"], ["1,", "1,", "2"], ("1,", True)),
        (["abc", "b"], ["abc"], ("a", True)),
        (["abc", "bc"], ["xabc"], ("x", True)),
        (["aab"], ["a", "a", "a", "c"], ("aaac", False)),
        (["\n\n"], ["one\n", "\ntwo"], ("one", True)),
        (["stop"], ["st", "o"], ("sto", False)),
        ([], ["a", "b"], ("ab", False)),
    ],
)
def test_stop_strings(stops: list[str], pieces: list[str], expected: tuple[str, bool]) -> None:
    assert matched(stops, pieces) == expected


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    text=st.text("ab", max_size=30),
    stops=st.lists(st.text("ab", min_size=1, max_size=4), min_size=1, max_size=3),
    cuts=st.lists(st.integers(0, 30), max_size=8),
)
def test_stop_does_not_depend_on_how_text_is_cut(
    text: str, stops: list[str], cuts: list[int]
) -> None:
    places = [0, *sorted(cut for cut in cuts if cut < len(text)), len(text)]
    pieces = [text[a:b] for a, b in itertools.pairwise(places)]
    # Oracle: the shortest beginning of the text that ends in a stop.
    end = next(
        (n for n in range(len(text) + 1) if any(text[:n].endswith(stop) for stop in stops)), None
    )
    if end is None:
        expected = (text, False)
    else:
        longest = max(len(stop) for stop in stops if text[:end].endswith(stop))
        expected = (text[: end - longest], True)
    assert matched(stops, pieces) == expected


@settings(deadline=None)
@given(text=st.text("ab", max_size=12), stop=st.text("ab", min_size=1, max_size=4))
def test_text_is_held_back_only_while_a_stop_may_follow(text: str, stop: str) -> None:
    matcher = StopMatcher([stop])
    given_out = ""
    for position, character in enumerate(text):
        piece, is_stopped = matcher.add(character)
        given_out += piece
        if is_stopped:
            return
        seen = text[: position + 1]
        held = seen[len(given_out) :]
        assert stop.startswith(held)
        assert not any(stop.startswith(seen[i:]) for i in range(len(given_out)))
