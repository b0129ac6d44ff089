"""The tokenizer of a new model: trained on its texts, one token a character, or an existing one.

`bpe` is GPT-2's: byte-level BPE (Radford et al. 2019, section 2.2), GPT-2's own splitting into
words, no space put in front, 256 bytes in the vocabulary, so that every text survives. `chars` has
a token for each character of the data in the order of their code points, and 256 more for the
bytes of any other. In both `<|endoftext|>` is id 0 and begins and ends texts; written in a text it
is text, as everywhere in hfgen (`split_special_tokens`).

The same texts in the same order give the same file, however many threads there are. Texts are
read once, as a stream; what is held are the different words (of `chars`, the characters).

What is saved loads with `AutoTokenizer`, in Transformers 4 as well as 5.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from hfgen.errors import DataError, InvalidOption, ModelUnsupported
from hfgen.mentions import mention
from hfgen.models.atomic_folder import explained
from hfgen.models.checkpoint.layout import has_tokenizer
from hfgen.models.naming.resolve import Progress, resolve
from hfgen.training.corpus.documents import cut
from hfgen.training.corpus.separators import END_OF_TEXT

LEAST_VOCABULARY = 257
"""256 bytes and the end of texts."""
MOST_VOCABULARY = 1_000_000
LEAST_PAIRS = 2
"""How often two tokens must stand side by side to become one."""
_PIECE = 1 << 16
_UNBOUNDED = 10**30


def train_bpe(
    texts: Iterable[str],
    vocab_size: int,
    *,
    window: int | None = None,
    may_be_smaller: bool = False,
) -> Any:
    """Train a byte-level BPE tokenizer of exactly `vocab_size` tokens, `<|endoftext|>` counted.

    `window` is the model's, noted in the tokenizer. Raises `InvalidOption` for a size outside 257
    to 1,000,000 and `DataError` where the texts do not fill it, unless it `may_be_smaller`: a
    larger table than the tokens there are would be rows that are never learned.
    """
    check_vocabulary_size(vocab_size)
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        min_frequency=LEAST_PAIRS,
        special_tokens=[END_OF_TEXT],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(_pieces(texts), trainer)
    reached = int(tokenizer.get_vocab_size())
    if reached < vocab_size and not may_be_smaller:
        raise DataError(
            f"the data fill a vocabulary of {reached:,} tokens, and {vocab_size:,} were asked for",
            hint=f"use {mention('vocab_size', reached)}, or more text",
        )
    return _wrapped(tokenizer, window)


def train_characters(
    texts: Iterable[str], *, window: int | None = None, byte_fallback: bool = True
) -> Any:
    """Make a tokenizer with a token for each character of the texts.

    Without `byte_fallback` other characters have no token and vanish from a text: for comparisons
    with published figures of exactly that vocabulary.
    """
    from tokenizers import AddedToken, Tokenizer, decoders, models

    found: set[str] = set()
    for text in texts:
        found.update(text)
    if not found:
        raise DataError("no text to learn from", hint="name text files, or a folder of them")
    tokens = [END_OF_TEXT, *sorted(found)]
    if byte_fallback:
        tokens += [f"<0x{byte:02X}>" for byte in range(256)]
    vocabulary = {token: number for number, token in enumerate(tokens)}
    model = models.BPE(vocab=vocabulary, merges=[], byte_fallback=byte_fallback)
    tokenizer = Tokenizer(model)
    tokenizer.add_special_tokens([AddedToken(END_OF_TEXT, normalized=False, special=True)])
    tokenizer.decoder = decoders.Sequence([decoders.ByteFallback(), decoders.Fuse()])
    return _wrapped(tokenizer, window)


def existing_tokenizer(
    name: str, *, offline: bool = False, progress: Progress | None = None
) -> Any:
    """Load the tokenizer of a model or of a folder that holds nothing else.

    Raises what `resolve` raises; `ModelUnsupported` where it has no token that ends texts, or
    cannot encode in the stream (one written in Python).
    """
    from hfgen.models.checkpoint.tokenizer import tokenizer_alone
    from hfgen.models.silence import quick_imports, quiet

    folder = Path(name)
    if folder.is_dir() and has_tokenizer(folder) and not (folder / "config.json").exists():
        with quick_imports(), quiet():
            from transformers import AutoTokenizer

            tokenizer = AutoTokenizer.from_pretrained(str(folder), local_files_only=True)
    else:
        tokenizer, _ = tokenizer_alone(resolve(name, offline=offline, progress=progress))
    check_tokenizer(tokenizer, name)
    return tokenizer


def check_tokenizer(tokenizer: Any, name: str) -> None:
    """Raise `ModelUnsupported` for a tokenizer that a new model cannot be trained with."""
    hint = f"choose another tokenizer, or {mention('vocab_size')} for a new one"
    if tokenizer.eos_token_id is None:
        reason = "no token that ends texts, so stories could not learn to end"
        raise ModelUnsupported(f"the tokenizer of {name} has {reason}", hint=hint)
    if getattr(tokenizer, "backend_tokenizer", None) is None:
        raise ModelUnsupported(f"the tokenizer of {name} is not a fast one", hint=hint)


def check_vocabulary_size(vocab_size: int) -> None:
    """Raise `InvalidOption` for a size that no byte-level vocabulary can have."""
    if not LEAST_VOCABULARY <= vocab_size <= MOST_VOCABULARY:
        raise InvalidOption(
            "vocab_size",
            vocab_size,
            f"a whole number from {LEAST_VOCABULARY} to {MOST_VOCABULARY:,}",
            hint="256 bytes and the end of texts are in every vocabulary",
        )


def save_tokenizer(tokenizer: Any, folder: Path) -> None:
    """Write the tokenizer's files. Raises `OutputError`."""
    hint = f"free some space on the disk, or write elsewhere: {mention('output', 'DIR')}"
    with explained(folder, hint=hint):
        tokenizer.save_pretrained(str(folder))
        file = folder / "tokenizer_config.json"
        config = json.loads(file.read_text("utf-8"))
        # The name that Transformers 5 gives it is unknown to Transformers 4; both know this one.
        if config.get("tokenizer_class") == "TokenizersBackend":
            config["tokenizer_class"] = "PreTrainedTokenizerFast"
            file.write_text(json.dumps(config, indent=2, ensure_ascii=False) + "\n", "utf-8")


def _wrapped(tokenizer: Any, window: int | None) -> Any:
    from transformers import PreTrainedTokenizerFast

    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token=END_OF_TEXT,
        eos_token=END_OF_TEXT,
        model_max_length=window or _UNBOUNDED,
        clean_up_tokenization_spaces=False,
    )


def _pieces(texts: Iterable[str]) -> Iterator[str]:
    for text in texts:
        yield from cut(text, _PIECE)
