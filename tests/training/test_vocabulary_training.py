"""New tokenizers: every text survives, the same data give the same file, what cannot be is told."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hfgen.errors import DataError, InvalidOption, ModelUnsupported
from hfgen.training.corpus.tokenizer import (
    check_tokenizer,
    existing_tokenizer,
    save_tokenizer,
    train_bpe,
    train_characters,
)

# Characters beyond ASCII, each more often than once.
STORY = (
    "The fox and the hen — “é 狐狸” 🦊🦊 — went home; the fox isn't the hen's friend.\r\n\tOnce "
)
TEXTS = [STORY * 20, "A second text. It has 12,345 words?\n\n" * 20]
Reload = Callable[[Any], Any]


@pytest.fixture(scope="module")
def reloaded(tmp_path_factory: pytest.TempPathFactory) -> Reload:
    """Saves a tokenizer and loads it again as any program would."""
    from transformers import AutoTokenizer

    def reload(tokenizer: Any) -> Any:
        folder = tmp_path_factory.mktemp("tokenizer")
        save_tokenizer(tokenizer, folder)
        config = json.loads((folder / "tokenizer_config.json").read_text())
        assert config["tokenizer_class"] == "PreTrainedTokenizerFast"
        return AutoTokenizer.from_pretrained(str(folder))

    return reload


@pytest.fixture(scope="module", params=["bpe", "chars"])
def tokenizer(request: pytest.FixtureRequest, reloaded: Reload) -> Any:
    made = train_bpe(TEXTS, 300) if request.param == "bpe" else train_characters(TEXTS)
    return reloaded(made)


@given(
    st.text()
    | st.text(st.sampled_from("\r\n\t \xa0\u2028\0\x7f'’s🦊é狐<|>endoftx0A"))
    | st.sampled_from(["<|endoftext|>", "<0x41>", " <|endoftext|> ", "Ġ", "can't", "a  b\r\n"])
)
def test_every_text_survives(tokenizer: Any, text: str) -> None:
    ids = tokenizer.encode(text, split_special_tokens=True, verbose=False)
    assert 0 not in ids
    assert tokenizer.decode(ids) == text
    ids = tokenizer.encode(text + "<|endoftext|>" + text, verbose=False)
    assert ids.count(0) == 1 + 2 * text.count("<|endoftext|>")


def test_the_end_of_texts_is_id_0(tokenizer: Any) -> None:
    assert (tokenizer.eos_token_id, tokenizer.bos_token_id) == (0, 0)
    assert tokenizer.pad_token_id is None
    assert tokenizer.encode("") == []


def test_words_are_split_as_gpt2_does() -> None:
    bpe = train_bpe(["the the the the's"] * 9, 261)
    assert bpe.tokenize("the the's") == ["the", "Ġthe", "'s"]


def test_the_vocabulary_has_the_size_asked_for(reloaded: Reload) -> None:
    made = train_bpe(iter(TEXTS), 300, window=64)
    assert (len(made), made.vocab_size, made.model_max_length) == (300, 300, 64)
    again = reloaded(made)
    assert again.get_vocab() == made.get_vocab()
    assert again.model_max_length == 64
    assert sorted(again.get_vocab().values()) == list(range(300))


def test_a_vocabulary_that_the_data_cannot_fill() -> None:
    with pytest.raises(DataError, match=r"a vocabulary of (\d+) tokens, and 5,000 were") as caught:
        train_bpe(["the cat sat on the mat " * 9], 5000)
    reached = int(str(caught.value.hint).split()[1].strip(",").removeprefix("vocab_size="))
    assert 257 < reached < 300
    assert len(train_bpe(["the cat sat on the mat " * 9], reached)) == reached


@pytest.mark.parametrize("size", [0, 256, -1, 1_000_001])
def test_sizes_that_cannot_be(size: int) -> None:
    with pytest.raises(InvalidOption, match="vocab_size"):
        train_bpe(TEXTS, size)


def test_errors_of_the_data_come_through() -> None:
    def texts() -> Iterator[str]:
        yield "Once "
        raise DataError("a.txt:2: not valid UTF-8")

    with pytest.raises(DataError, match=r"a.txt:2"):
        train_bpe(texts(), 300)


def test_texts_are_streamed() -> None:
    alive = 0

    class Text(str):
        def __del__(self) -> None:
            nonlocal alive
            alive -= 1

    most = 0

    def texts() -> Iterator[str]:
        nonlocal alive, most
        for number in range(3000):
            alive += 1
            most = max(most, alive)
            yield Text(f"the fox number {number} went home ")

    train_bpe(texts(), 300)
    assert most < 1000


def test_the_same_file_whatever_the_threads(tmp_path: Path) -> None:
    words = random.Random(0)
    text = " ".join("".join(words.choices("abcdefg", k=words.randint(1, 7))) for _ in range(9000))
    code = (
        "import sys, hashlib; from pathlib import Path\n"
        "from hfgen.training.corpus.tokenizer import train_bpe, save_tokenizer\n"
        "text = Path(sys.argv[1]).read_text()\n"
        "pieces = [text[i:i + 50] for i in range(0, len(text), 50)]\n"
        "save_tokenizer(train_bpe(pieces, 900), Path(sys.argv[2]))\n"
        "print(hashlib.sha256((Path(sys.argv[2]) / 'tokenizer.json').read_bytes()).hexdigest())"
    )
    (tmp_path / "a.txt").write_text(text)
    digests = set()
    for threads, name in (("1", "a"), ("8", "b")):
        settings = {"RAYON_NUM_THREADS": threads, "PYTHONHASHSEED": threads}
        arguments = [sys.executable, "-c", code, str(tmp_path / "a.txt"), str(tmp_path / name)]
        done = subprocess.run(
            arguments, env=os.environ | settings, capture_output=True, text=True, check=True
        )
        digests.add(done.stdout)
    assert len(digests) == 1


def test_one_token_for_each_character() -> None:
    made = train_characters(["hello world", "wörld"])
    characters = sorted(set("hello wörld"))
    assert made.convert_ids_to_tokens(range(10)) == ["<|endoftext|>", *characters]
    assert made.encode("wörld") == [characters.index(c) + 1 for c in "wörld"]
    assert len(made) == 1 + len(characters) + 256
    alone = train_characters(["hello world"], byte_fallback=False)
    assert len(alone) == 1 + len(set("hello world"))
    assert alone.decode(alone.encode("hello world")) == "hello world"
    with pytest.raises(DataError, match="no text"):
        train_characters([])


def test_existing_tokenizers(tmp_path: Path, reloaded: Reload) -> None:
    made = train_bpe(TEXTS, 300)
    save_tokenizer(made, tmp_path)
    assert existing_tokenizer(str(tmp_path)).get_vocab() == made.get_vocab()
    made.eos_token = None
    with pytest.raises(ModelUnsupported, match="no token that ends texts"):
        check_tokenizer(made, "some")
