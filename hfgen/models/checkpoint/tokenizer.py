"""The tokenizer of a model: read from its folder, and checked against the embeddings."""

from __future__ import annotations

from typing import Any

from hfgen.errors import ModelDamaged, ModelUnsupported
from hfgen.models.checkpoint.chat_template import chosen_template, give_own_form
from hfgen.models.checkpoint.layout import check_folder, has_tokenizer
from hfgen.models.checkpoint.load_checks import brief, needs_trust
from hfgen.models.checkpoint.weights import FETCH_AGAIN
from hfgen.models.naming.resolve import Progress, ResolvedModel
from hfgen.models.silence import quick_imports, quiet


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
    give_own_form(tokenizer, config)
    return tokenizer


def tokenizer_alone(resolved: ResolvedModel) -> tuple[Any, int]:
    """Load a model's tokenizer and its vocabulary size, without the weights."""
    model = resolved.base or resolved
    if model.source == "gguf":
        from hfgen.models.gguf.cached import as_folder

        model = as_folder(model)
    check_folder(model.path)
    has_own = resolved.base is not None and has_tokenizer(resolved.path)
    with quick_imports(), quiet():
        from transformers import AutoConfig, AutoTokenizer

        config = AutoConfig.from_pretrained(str(model.path), local_files_only=True)
        source = resolved if has_own else model
        tokenizer = load_tokenizer(AutoTokenizer, source, config, trust=False)
    return tokenizer, int(config.get_text_config().vocab_size)


def check_vocabulary(
    model: Any, tokenizer: Any, resolved: ResolvedModel, notify: Progress | None = None
) -> None:
    """Refuse a tokenizer that yields ids for which the model has no embedding.

    Special tokens beyond the embedding (an image token that a text model inherited, say) are
    noticed only: text does not turn into them, unless tokenizer or chat template add them.
    """
    rows = model.get_input_embeddings().weight.shape[0]
    if len(tokenizer) <= rows:
        return
    added = tokenizer.added_tokens_decoder
    beyond = {id: token for token, id in tokenizer.get_vocab().items() if id >= rows}
    special = {id for id, token in added.items() if token.special}
    special -= {tokenizer.bos_token_id, tokenizer.eos_token_id}
    special -= set(tokenizer("a").input_ids)
    written = _written_by_template(tokenizer)
    needed = [id for id, token in beyond.items() if id not in special or token in written]
    if needed:
        raise ModelDamaged(
            f"the tokenizer of {resolved.name} has {len(tokenizer):,} tokens, but the model only "
            f"{rows:,}: {beyond[min(needed)]} ({min(needed):,}) has no embedding",
            hint="take the tokenizer that belongs to the model, or "
            "model.resize_token_embeddings(len(tokenizer)) and train",
        )
    if beyond and notify is not None:
        more = f" and {len(beyond) - 1:,} more are" if len(beyond) > 1 else " is"
        notify(
            f"the special token {beyond[min(beyond)]} ({min(beyond):,}){more} beyond the "
            f"{rows:,} embeddings of {resolved.name} and cannot be used"
        )


def _written_by_template(tokenizer: Any) -> str:
    """What the chat template writes around a message; nothing where there is no telling."""
    try:
        message = [{"role": "user", "content": "a"}]
        return str(
            tokenizer.apply_chat_template(
                message,
                chat_template=chosen_template(tokenizer),
                add_generation_prompt=True,
                tokenize=False,
            )
        )
    except Exception:  # noqa: BLE001  # whatever the template does not like of it
        return ""
