"""Adapters to train: LoRA, DoRA, and LoRA on a base in 4 bits (QLoRA), attached by peft.

Owns which layers an adapter changes, and what its folder says of the base that it belongs to.
Knows nothing of data or steps; reading an adapter back is `hfgen.models.adapters.load`'s.

Which layers
    `linear` is what peft calls `all-linear`, every matrix (`nn.Linear`, GPT-2's `Conv1D`) but the
    output layer, here of the decoder alone; `attention` those of them in an attention module.
    Embeddings, and an output layer that shares their weight, are refused: merging would change
    both ends at once.

Which base
    A model of the Hub is named by its id and commit, every other by the absolute path of its
    folder (of a GGUF file: of its conversion), so that plain peft finds it as hfgen does.

Sources: LoRA (arXiv 2106.09685), DoRA (2402.09353), QLoRA (2305.14314).
"""

from __future__ import annotations

import functools
import importlib.util
import re
from dataclasses import dataclass
from typing import Any

from hfgen.errors import InvalidOption, MissingExtra, ModelUnsupported, UsageError
from hfgen.mentions import mention
from hfgen.models.adapters.library import import_peft
from hfgen.models.naming.resolve import ResolvedModel
from hfgen.models.silence import quiet
from hfgen.training.options.finetune import LORA_TARGETS, TrainingOptions

_ALPHA_PER_RANK = 2
_ATTENTION = re.compile(r"att(n|ention)?(_|$)")
# Attention that is not in a module of such a name (Nemotron-H, RecurrentGemma).
_PROJECTIONS = ("q_proj", "k_proj", "v_proj", "o_proj")
# State-space kernels read this weight themselves, past whatever wraps the layer.
_BYPASSED = re.compile(r"(mamba|mixer)[^.]*\.out_proj$")


@dataclass(frozen=True)
class ParameterCount:
    """Numbers of weights; one in 4 bits counts as one."""

    total: int
    trainable: int


def check_installed(options: TrainingOptions) -> None:
    """Raise `MissingExtra` for a package that the method needs, before anything is loaded."""
    if options.method == "full":
        return
    if importlib.util.find_spec("peft") is None:
        raise MissingExtra("training an adapter", "train")
    if options.method == "qlora" and importlib.util.find_spec("bitsandbytes") is None:
        raise MissingExtra("holding the model in 4 bits", "quant")


def attach(model: Any, options: TrainingOptions, base: ResolvedModel) -> Any:
    """Freeze `model` and put a neutral adapter on it, drawn with the options' seed.

    Returns a `PeftModel` that still computes what `model` did; `model` is changed. Its
    `save_pretrained` writes a folder that `hfgen.load` reads, and asks no network. Raises
    `InvalidOption` or `UsageError` for a `lora_target` that cannot be had, `ModelUnsupported` for
    a base that cannot be named.
    """
    import torch

    name, revision = base_reference(base)
    layers = target_layers(model, options)
    peft = import_peft()
    rank = options.value("lora_r")
    alpha = options.lora_alpha or _ALPHA_PER_RANK * rank
    config = peft.LoraConfig(
        task_type="CAUSAL_LM",
        r=rank,
        lora_alpha=int(alpha) if float(alpha).is_integer() else alpha,
        lora_dropout=options.value("lora_dropout"),
        target_modules=layers,  # peft shortens long lists to the ends of the names
        fan_in_fan_out=any(_is_transposed(model.get_submodule(layer)) for layer in layers),
        use_dora=options.method == "dora",
    )
    devices = [model.device] if model.device.type == "cuda" else []
    with quiet(), torch.random.fork_rng(devices=devices):
        torch.manual_seed(options.value("seed"))
        adapted = peft.get_peft_model(model.requires_grad_(False), config)
    # peft overwrites these with where the model was loaded from.
    adapted.active_peft_config.base_model_name_or_path = name
    adapted.active_peft_config.revision = revision
    # Asked to decide by itself, peft looks for the base's configuration on the Hub.
    adapted.save_pretrained = functools.partial(
        adapted.save_pretrained, save_embedding_layers=False
    )
    return adapted


def base_reference(base: ResolvedModel) -> tuple[str, str | None]:
    """Return name and revision by which hfgen and peft find the base again from any folder."""
    check_base(base)
    if base.repo_id is not None:
        return base.repo_id, base.revision
    if base.source == "gguf":
        from hfgen.models.gguf.cached import checkpoint_of

        return str(checkpoint_of(base).resolve()), None
    return str(base.path.resolve()), None


def check_base(base: ResolvedModel) -> None:
    """Raise `ModelUnsupported` for a base that an adapter cannot be trained on."""
    if base.base is not None:
        raise ModelUnsupported(
            f"{base.name} is an adapter: an adapter on top of it could not be loaded again",
            hint=f"merge it first: hfgen merge {base.name} -o DIR, then -m DIR",
        )


def count_parameters(model: Any) -> ParameterCount:
    """Count the weights of a model, shared ones once."""
    total = trainable = 0
    for parameter in model.parameters():
        state = getattr(parameter, "quant_state", None)
        size = parameter.numel() if state is None else state.shape.numel()
        total += size
        trainable += size if parameter.requires_grad else 0
    return ParameterCount(total, trainable)


def target_layers(model: Any, options: TrainingOptions) -> list[str]:
    """Return the names of the layers that `lora_target` means in this model."""
    matrices = {name: module for name, module in model.named_modules() if _is_matrix(module)}
    inside = _in_decoder(model, matrices)
    if not inside:
        raise ModelUnsupported(
            f"no layers for an adapter were found in a {model.config.model_type} model",
            hint=f"train the whole model: leave {mention('lora')}, {mention('dora')} and "
            f"{mention('qlora')} out",
        )
    found: set[str] = set()
    for target in options.lora_target or ("linear",):
        if target == "linear":
            found |= {name for name in inside if not _BYPASSED.search(name)}
        elif target == "attention":
            found |= _in_attention(model, inside)
        else:
            found |= _named(model, target, matrices, inside)
    return [name for name in matrices if name in found]


# Finding layers -------------------------------------------------------------------------------


def _is_matrix(module: Any) -> bool:
    from torch import nn
    from transformers.pytorch_utils import Conv1D

    return isinstance(module, (nn.Linear, Conv1D))


def _is_transposed(module: Any) -> bool:
    """Whether the model's files hold the matrix as inputs by outputs, 4 bits or not."""
    from transformers.pytorch_utils import Conv1D

    return issubclass(getattr(module, "source_cls", type(module)), Conv1D)


def _in_decoder(model: Any, matrices: dict[str, Any]) -> list[str]:
    """The matrices of the decoder that the text goes through, its output layer left out."""
    decoder, head = model.get_decoder(), model.get_output_embeddings()
    prefix = next(f"{name}." if name else "" for name, m in model.named_modules() if m is decoder)
    return [name for name, m in matrices.items() if name.startswith(prefix) and m is not head]


def _in_attention(model: Any, inside: list[str]) -> set[str]:
    """The matrices in modules that are called attention, as most models have it."""
    found = {
        name
        for name in inside
        if any(_ATTENTION.search(part) and "norm" not in part for part in name.split(".")[:-1])
    }
    found = found or {name for name in inside if name.rpartition(".")[2] in _PROJECTIONS}
    if not found:
        raise InvalidOption(
            "lora_target", "attention", _allowed(inside),
            hint=f"a {model.config.model_type} model has no attention",
        )  # fmt: skip
    return found


def _named(model: Any, target: str, matrices: dict[str, Any], inside: list[str]) -> set[str]:
    """The matrices whose name is `target` or ends with it."""
    from torch import nn

    meant = {n: m for n, m in model.named_modules() if f".{n}".endswith(f".{target}")}
    table, head = model.get_input_embeddings(), model.get_output_embeddings()
    for name, module in meant.items():
        reason = None
        if isinstance(module, nn.Embedding):
            reason = f"{name} is an embedding, and adapters change matrices only"
        elif module is head and head.weight is table.weight:
            reason = (
                "the output layer shares its weight with the embeddings, so that an adapter on it "
                "could not be merged"
            )
        if reason is not None:
            raise UsageError(
                f"{mention('lora_target')} {target}: {reason}",
                hint=f"name layers as {_allowed(inside)}",
            )
    if found := meant.keys() & matrices.keys():
        return found
    raise InvalidOption("lora_target", target, _allowed(inside))


def _allowed(inside: list[str]) -> str:
    """The words, and the names of the layers that there are."""
    names = sorted({name.rpartition(".")[2] for name in inside})
    return ", ".join([*LORA_TARGETS, *(name for name in names if not name.isdecimal())])
