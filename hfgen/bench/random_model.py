"""A GPT-2 of random weights on disk, with a tokenizer that knows as many tokens as it does.

Its texts mean nothing; only its speed is of interest.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hfgen.training.model.new_gpt2 import build_model, find_size, model_config


def write_random_model(shape: str, folder: Path) -> None:
    """Write model and tokenizer of a size's name into a folder."""
    from hfgen.models.silence import quick_imports, quiet

    size = find_size(shape)
    with quick_imports():
        import transformers  # noqa: F401
    with quiet():
        tokenizer = _tokenizer(size.vocab_size)
        tokenizer.save_pretrained(folder)
        build_model(model_config(size, tokenizer), seed=0).save_pretrained(folder)


def _tokenizer(count: int) -> Any:
    """A byte-level tokenizer without merges: bytes, then pairs of them, up to `count` tokens."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    pairs = (left + right for left in alphabet for right in alphabet)
    words = ["<|endoftext|>", *alphabet]
    words += [next(pairs) for _ in range(count - len(words))]
    whole = Tokenizer(models.BPE(vocab={w: i for i, w in enumerate(words)}, merges=[]))
    whole.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    whole.decoder = decoders.ByteLevel()
    end = words[0]
    # As GPT-2's, which names its one special token three times; converters want all of them.
    return PreTrainedTokenizerFast(
        tokenizer_object=whole, bos_token=end, eos_token=end, unk_token=end
    )
