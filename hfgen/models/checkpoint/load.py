"""Loading a model from a local folder: a stock Transformers model and tokenizer, or a clear error.

`check_folder` runs first and needs no torch; then Transformers loads from the path alone, so that
no request is ever made here. Transformers is kept silent, and what it would only warn of (weights
that are missing and were made up, layers that were left out) is an error. Pickled weights go
through torch's weights-only unpickler, which runs no code; code that a model brings along runs
only with `trust_remote_code`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hfgen.errors import ModelDamaged, ModelUnsupported, OptionConflict
from hfgen.mentions import mention
from hfgen.models.checkpoint.devices import check_dtype_name, choose_device, choose_dtype
from hfgen.models.checkpoint.layout import check_folder, has_tokenizer
from hfgen.models.checkpoint.load_checks import (
    brief,
    check_generation_config,
    check_weights,
    needs_trust,
    translate,
)
from hfgen.models.checkpoint.load_options import LoadOptions
from hfgen.models.checkpoint.pickled import unwrapping
from hfgen.models.checkpoint.placement import check_dispatched, check_flash, placement
from hfgen.models.checkpoint.tokenizer import check_vocabulary, load_tokenizer
from hfgen.models.checkpoint.weights import FETCH_AGAIN
from hfgen.models.naming.resolve import Progress, ResolvedModel
from hfgen.models.silence import quick_imports, quiet
from hfgen.models.sizing.fit import check_size, warn_of_gpu_memory, warn_of_main_memory

if TYPE_CHECKING:
    import torch
    from transformers import PretrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

_DEFAULTS = LoadOptions()

# The first that a configuration has counts. ALiBi models (Bloom) have none: their window is open.
_WINDOW_FIELDS = ("max_position_embeddings", "n_positions", "n_ctx", "max_seq_len")

_KINDS = "hfgen runs decoder models: GPT-2, GPT-Neo, GPT-NeoX, OPT, Llama, Qwen, …"


@dataclass(frozen=True)
class LoadedModel:
    """A model that is ready to run."""

    model: PreTrainedModel
    """In evaluation mode, its parameters without gradients."""
    tokenizer: PreTrainedTokenizerBase
    resolved: ResolvedModel
    window: int | None
    """Context window in tokens; None when it is unlimited or unknown."""
    is_chat: bool
    """Whether the tokenizer has a chat template."""


def load(
    resolved: ResolvedModel, options: LoadOptions = _DEFAULTS, *, quantization: Any = None
) -> LoadedModel:
    """Load the model and its tokenizer onto a device.

    `options.name` is what `resolved` was found by and has no effect here. `quantization` is a
    configuration of Transformers' (see `hfgen.models.checkpoint.bnb`). A GGUF file is converted
    first when it never was, an adapter is merged into its base. Raises a `ModelError` of the kind
    that fits, `DeviceUnavailable`, `InvalidOption`, `OptionConflict`, `MissingExtra` or
    `OutOfMemory`; spelling and files are checked before torch is imported.
    """
    options.check()
    if resolved.base is not None:
        return _load_adapter(resolved, resolved.base, options, quantization)
    return _load_folder(_as_folder(resolved, options.progress), resolved, options, quantization)


def _as_folder(resolved: ResolvedModel, progress: Progress | None) -> ResolvedModel:
    """Return where to load from: of a GGUF file the folder with its conversion."""
    if resolved.source != "gguf":
        return resolved
    from hfgen.models.gguf.cached import as_folder

    return as_folder(resolved, progress)


def _load_adapter(
    resolved: ResolvedModel, base: ResolvedModel, options: LoadOptions, quantization: Any
) -> LoadedModel:
    from hfgen.models.adapters import load

    load.check_loadable(resolved)
    if options.device_map is not None:
        raise OptionConflict(
            f"{resolved.name} is an adapter: {mention('device_map')} cannot spread it over devices",
            hint=f"leave {mention('device_map')} out, or merge the adapter first",
        )
    loaded = _load_folder(_as_folder(base, options.progress), base, options, quantization)
    tokenizer = loaded.tokenizer
    if has_tokenizer(resolved.path):
        from transformers import AutoTokenizer

        with quiet():
            tokenizer = load_tokenizer(
                AutoTokenizer, resolved, loaded.model.config, options.trust_remote_code
            )
    model = load.merged(loaded.model, resolved)
    check_vocabulary(model, tokenizer, resolved, options.notify)
    is_chat = bool(getattr(tokenizer, "chat_template", None))
    return LoadedModel(model, tokenizer, resolved, loaded.window, is_chat)


def _load_folder(
    folder: ResolvedModel, resolved: ResolvedModel, options: LoadOptions, quantization: Any
) -> LoadedModel:
    """Load from a folder that is a whole checkpoint; `resolved` is what the user named."""
    check_folder(folder.path)
    check_size(folder.path)
    is_whole = options.device_map is None and quantization is None
    notify = options.notify if is_whole else None
    trust = options.trust_remote_code
    warn_of_main_memory(folder, options.device, check_dtype_name(options.dtype), notify)
    with quick_imports():
        from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

        with quiet():
            device = choose_device(options.device)
            dtype = choose_dtype(options.dtype, device)
            check_flash(options.attn, device, dtype)
            warn_of_gpu_memory(folder, device, dtype, notify)
            config = _load_config(AutoConfig, folder, trust)
            _import_architecture(config, folder, trust)
    with quiet():
        tokenizer = load_tokenizer(AutoTokenizer, folder, config, trust)
        check_generation_config(folder.path)
        model = _load_model(
            AutoModelForCausalLM, folder, config, device, dtype, options, quantization
        )
    check_vocabulary(model, tokenizer, folder, options.notify)
    is_chat = bool(getattr(tokenizer, "chat_template", None))
    return LoadedModel(model, tokenizer, resolved, window_of(model.config), is_chat)


def window_of(config: PretrainedConfig) -> int | None:
    """Return the context window in tokens that a configuration tells; None when it tells none."""
    text = config.get_text_config(decoder=True)
    for field in _WINDOW_FIELDS:
        value = getattr(text, field, None)
        if isinstance(value, int) and value > 0:
            return value
    return None


def _load_config(auto: Any, resolved: ResolvedModel, trust: bool) -> Any:
    from transformers import CONFIG_MAPPING
    from transformers.configuration_utils import PreTrainedConfig

    path = str(resolved.path)
    raw, _ = PreTrainedConfig.get_config_dict(path, local_files_only=True)
    kind = raw.get("model_type")
    if kind not in CONFIG_MAPPING and not ("auto_map" in raw and trust):
        if "auto_map" in raw:
            raise needs_trust(resolved)
        raise ModelUnsupported(
            f"{resolved.name} has an architecture that Transformers does not know: {kind}",
            hint="pip install -U transformers, if it is a new one",
        )
    try:
        config = auto.from_pretrained(path, local_files_only=True, trust_remote_code=trust)
    except Exception as error:
        raise ModelDamaged(
            f"{resolved.path / 'config.json'} does not describe a {kind} model: {brief(error)}",
            hint=FETCH_AGAIN,
        ) from error
    layers = getattr(config, "num_hidden_layers", None)
    if isinstance(layers, int) and layers < 1:
        raise ModelDamaged(f"{resolved.path / 'config.json'} tells of {layers} layers")
    # Some models hand out bare tuples otherwise.
    config.return_dict = True
    # Which attention kernel to run is the machine's business; a name with "/" would be fetched.
    if config._attn_implementation not in (None, "eager", "sdpa"):
        config._attn_implementation = None
    return config


def _import_architecture(config: Any, resolved: ResolvedModel, trust: bool) -> None:
    """Import the model's class, or refuse one that is no decoder."""
    from transformers import MODEL_FOR_CAUSAL_LM_MAPPING
    from transformers.models.auto.modeling_auto import (
        MODEL_FOR_MASKED_LM_MAPPING_NAMES,
        MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES,
    )

    kind = config.model_type
    # The decoder of such a model alone (BartForCausalLM, …) is no GPT either.
    is_sequence_to_sequence = kind in MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES
    if getattr(config, "is_encoder_decoder", False) or is_sequence_to_sequence:
        raise ModelUnsupported(f"{resolved.name} is an encoder-decoder model ({kind})", hint=_KINDS)
    is_encoder = kind in MODEL_FOR_MASKED_LM_MAPPING_NAMES
    if is_encoder and not getattr(config, "is_decoder", False):
        raise ModelUnsupported(f"{resolved.name} is an encoder model ({kind})", hint=_KINDS)
    if type(config) not in MODEL_FOR_CAUSAL_LM_MAPPING:
        has_code = "AutoModelForCausalLM" in (getattr(config, "auto_map", None) or {})
        if has_code and trust:
            return
        if has_code:
            raise needs_trust(resolved)
        raise ModelUnsupported(f"{resolved.name} ({kind}) generates no text", hint=_KINDS)
    # The mapping is lazy: looking the class up imports its module, the longest part of a start.
    MODEL_FOR_CAUSAL_LM_MAPPING[type(config)]


def _load_model(
    auto: Any,
    resolved: ResolvedModel,
    config: Any,
    device: torch.device,
    dtype: torch.dtype,
    options: LoadOptions,
    quantization: Any,
) -> Any:
    arguments = placement(options.device_map, device, quantization)
    try:
        with unwrapping():
            model, info = auto.from_pretrained(
                str(resolved.path),
                config=config,
                dtype=dtype,
                local_files_only=True,
                trust_remote_code=options.trust_remote_code,
                weights_only=True,
                output_loading_info=True,
                # Reported by name below, instead of an exception without names.
                ignore_mismatched_sizes=True,
                attn_implementation=options.attn,
                **arguments,
            )
    except Exception as error:
        raise translate(error, resolved, device) from error
    check_dispatched(model, resolved.name, arguments)
    check_weights(model, info, resolved)
    return model.eval().requires_grad_(False)
