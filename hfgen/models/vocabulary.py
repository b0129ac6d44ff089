"""The tokenizer of a model: read from its folder, and checked against the embeddings."""

from __future__ import annotations

from typing import Any

from hfgen.errors import ModelDamaged, ModelUnsupported
from hfgen.models.folder import check_folder, has_tokenizer
from hfgen.models.inspection import brief, needs_trust
from hfgen.models.quiet import quick_imports, quiet
from hfgen.models.resolve import ResolvedModel
from hfgen.models.weights import FETCH_AGAIN


def load_tokenizer(auto: Any, resolved: ResolvedModel, config: Any, trust: bool) -> Any:
    """Load the tokenizer of a folder; `auto` is Transformers' `AutoTokenizer`."""
    try:
        # From the folder, by the automatic class: the named ones can come up empty.
        tokenizer = auto.from_pretrained(
            str(resolved.path), config=config, local_files_only=True, trust_remote_code=trust
        )
    except ImportError as error:
        raise ModelUnsupported(
            f"the tokenizer of {resolved.name} needs a package that is not installed: "
            f"{brief(error)}",
            hint="pip install sentencepiece tiktoken",
        ) from error
    except Exception as error:
        if "trust_remote_code" in str(error):
            raise needs_trust(resolved) from error
        raise ModelDamaged(
            f"the tokenizer in {resolved.path} cannot be read: {brief(error)}", hint=FETCH_AGAIN
        ) from error
    if len(tokenizer) < 2:
        raise ModelDamaged(f"the tokenizer in {resolved.path} is empty", hint=FETCH_AGAIN)
    return tokenizer


def tokenizer_alone(resolved: ResolvedModel) -> tuple[Any, int]:
    """Load a model's tokenizer and its vocabulary size, without the weights."""
    model = resolved.base or resolved
    if model.source == "gguf":
        from hfgen.models.gguf import as_folder

        model = as_folder(model)
    check_folder(model.path)
    has_own = resolved.base is not None and has_tokenizer(resolved.path)
    with quick_imports(), quiet():
        from transformers import AutoConfig, AutoTokenizer

        config = AutoConfig.from_pretrained(str(model.path), local_files_only=True)
        source = resolved if has_own else model
        tokenizer = load_tokenizer(AutoTokenizer, source, config, trust=False)
    return tokenizer, int(config.get_text_config().vocab_size)


def check_vocabulary(model: Any, tokenizer: Any, resolved: ResolvedModel) -> None:
    """Refuse a tokenizer that yields ids for which the model has no embedding.

    Special tokens beyond the embedding (an image token that a text model inherited, say) do no
    harm: text does not turn into them.
    """
    rows = model.get_input_embeddings().weight.shape[0]
    if len(tokenizer) <= rows:
        return
    added = tokenizer.added_tokens_decoder
    harmless = {id for id, token in added.items() if token.special}
    harmless -= {tokenizer.bos_token_id, tokenizer.eos_token_id}
    if any(id >= rows and id not in harmless for id in tokenizer.get_vocab().values()):
        raise ModelDamaged(
            f"the tokenizer of {resolved.name} has {len(tokenizer):,} tokens, but the model only "
            f"{rows:,}",
            hint="the tokenizer belongs to another model",
        )
