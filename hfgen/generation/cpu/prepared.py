"""The engine's own model: weights laid out for decoding, 8-bit integers where that is asked for.

`prepared` replaces linear layers by those of `hfgen.generation.cpu.packed`, by their type
(`nn.Linear`, GPT-2's `Conv1D`), the head too where its weight is the embedding's; GPT-2 gets a
leaner forward pass (`hfgen.generation.cpu.gpt2`). What comes out is still a model of
Transformers: `model.generate` runs on it. It cannot be trained or saved.

Where nothing is gained nothing is replaced: on GPUs, on processors without oneDNN's x86 kernels,
for layers that are already quantized. It goes by the machine, not by a stop-watch, so that the
same command gives the same text each time.
"""

from __future__ import annotations

import copy
import platform
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import nn
from transformers.pytorch_utils import Conv1D

from hfgen.errors import OptionConflict
from hfgen.generation.cpu.packed import Int8Linear, PackedLinear
from hfgen.mentions import mention

# Narrower ones (a gate that chooses experts) are too small to gain and too sensitive to round.
_LEAST_INT8 = 32
_FUSED = {"gelu_new": "gelu_tanh", "gelu_pytorch_tanh": "gelu_tanh", "gelu": "gelu"}


def prepared(model: Any, *, quantize: str | None = None, is_own: bool = False) -> Any:
    """Return a model for the engine; `model` itself stays as it is.

    With `is_own` the model's layers are replaced in place, each original freed at once, so that
    no weight is held twice. Raises `OptionConflict` where 8-bit integers cannot be had.
    """
    if quantize is not None:
        _check_int8(model)
    if quantize is None and not _gains_by_packing(model):
        return model
    if not is_own:
        model = _sharing_copy(model)
    make = Int8Linear if quantize is not None else PackedLinear
    lean = _lean_class(model)
    fused = set() if lean is None else _fuse(model)
    activation = _FUSED.get(getattr(model.config, "activation_function", ""))
    # Names, not layers: each original is to be freed before the next one is laid out.
    for parent, name in list(_linear_layers(model)):
        is_fused = (id(parent), name) in fused
        _replace(parent, name, make, activation if is_fused else None)
    if lean is not None:
        model.__class__ = lean
    return model.eval()


def _lean_class(model: Any) -> type | None:
    if model.config.model_type != "gpt2":
        return None
    from hfgen.generation.cpu.gpt2 import DecodingGPT2, can_decode

    return DecodingGPT2 if can_decode(model) else None


def _gains_by_packing(model: Any) -> bool:
    devices = {parameter.device.type for parameter in model.parameters()}
    if devices != {"cpu"} or not _has_kernels() or getattr(model, "hf_device_map", None):
        return False
    if model.dtype == torch.bfloat16:
        return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
    return bool(model.dtype == torch.float32)


def _has_kernels() -> bool:
    is_built: bool = torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
    return is_built and platform.machine() in ("x86_64", "AMD64")


def _check_int8(model: Any) -> None:
    devices = {parameter.device.type for parameter in model.parameters()}
    if devices != {"cpu"} or getattr(model, "hf_device_map", None):
        raise OptionConflict(
            f"{mention('quantize')} int8 is for models that run on the CPU",
            hint=f"use {mention('device', 'cpu')}",
        )
    dtype = str(model.dtype).split(".")[-1]
    if dtype not in ("float32", "bfloat16"):
        raise OptionConflict(
            f"{mention('quantize')} int8 starts from float32, not from {dtype}",
            hint=f"leave {mention('dtype')} out",
        )


def _sharing_copy(model: Any) -> Any:
    """A copy of the modules that shares all weights with the original."""
    tensors = [*model.parameters(), *model.buffers()]
    return copy.deepcopy(model, {id(tensor): tensor for tensor in tensors})


def _linear_layers(model: Any) -> Iterator[tuple[nn.Module, str]]:
    """The parent of each plain linear layer, and the layer's name there."""
    for parent in model.modules():
        for name, layer in parent.named_children():
            if type(layer) not in (nn.Linear, Conv1D):
                continue
            if layer.weight.dtype == model.dtype and layer.weight.numel():
                yield parent, name


def _replace(
    parent: nn.Module, name: str, make: Callable[..., nn.Module], activation: str | None
) -> None:
    layer = getattr(parent, name)
    weight = layer.weight.data
    weight = weight.t() if type(layer) is Conv1D else weight
    if make is Int8Linear and min(weight.shape) < _LEAST_INT8:
        make = PackedLinear if _has_kernels() else Int8Linear
    bias = None if layer.bias is None else layer.bias.data
    setattr(parent, name, make(weight, bias, activation))


def _fuse(model: Any) -> set[tuple[int, str]]:
    """The layers that take over the activation behind them, which becomes the identity.

    Each by the `id` of its parent and its name.
    """
    if model.config.activation_function not in _FUSED:
        return set()
    for block in model.transformer.h:
        block.mlp.act = nn.Identity()
    return {(id(block.mlp), "c_fc") for block in model.transformer.h}
