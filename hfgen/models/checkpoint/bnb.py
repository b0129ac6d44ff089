"""A model held in 4 bits (NF4, bitsandbytes), to train an adapter on.

Matrices inside the blocks are in 4 bits with their scales quantized too; embeddings, norms and the
output layer stay float32. Nothing here is saved: an adapter belongs to the model as its files have
it. What it computes there differs a little from what was trained, by the error of the 4 bits.

Source: QLoRA (arXiv 2305.14314), sections 3 and 4.
"""

from __future__ import annotations

from typing import Any, Literal

from hfgen.errors import DeviceUnavailable, MissingExtra, ModelUnsupported
from hfgen.mentions import mention
from hfgen.models.adapters.library import import_bitsandbytes
from hfgen.models.checkpoint.load import LoadedModel, load
from hfgen.models.checkpoint.load_options import LoadOptions
from hfgen.models.naming.resolve import Progress, ResolvedModel
from hfgen.models.silence import quick_imports

Arithmetic = Literal["float32", "bfloat16", "float16"]


def load_quantized(
    resolved: ResolvedModel,
    *,
    device: str = "auto",
    arithmetic: Arithmetic = "float32",
    trust_remote_code: bool = False,
    progress: Progress | None = None,
) -> LoadedModel:
    """Load a model with its matrices in 4 bits; products are computed in `arithmetic`.

    Raises `MissingExtra` without bitsandbytes, `ModelUnsupported` for an adapter, and the errors
    of `hfgen.models.checkpoint.load.load`.
    """
    if resolved.base is not None:
        raise ModelUnsupported(
            f"{resolved.name} is an adapter: only a whole model can be held in 4 bits",
            hint=f"merge it first: hfgen merge {resolved.name} -o DIR, then -m DIR",
        )
    with quick_imports():
        if import_bitsandbytes() is None:
            raise MissingExtra("holding a model in 4 bits", "quant")
        import torch
        from transformers import BitsAndBytesConfig
    if device == "mps":
        raise DeviceUnavailable(
            "models in 4 bits do not run on an Apple GPU here",
            hint=f"add {mention('device', 'cpu')}",
        )
    loaded = load(
        resolved,
        LoadOptions(
            device=device,
            dtype="float32",
            trust_remote_code=trust_remote_code,
            progress=progress,
        ),
        quantization=BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=getattr(torch, arithmetic),
        ),
    )
    if not _settle(loaded.model):
        raise ModelUnsupported(
            f"{resolved.name} has no layers that bitsandbytes can hold in 4 bits",
            hint=f"train with {mention('lora', True)} instead",
        )
    return loaded


def is_quantized(model: Any) -> bool:
    """Whether some of the model's matrices are in 4 bits."""
    return any(hasattr(parameter, "quant_state") for parameter in model.parameters())


def _settle(model: Any) -> bool:
    """Keep evaluation from changing the weights; tell whether there are any in 4 bits.

    On a CPU with AVX512-BF16, bitsandbytes repacks a layer at its first pass without gradients:
    scales are rounded to bfloat16 for good, and the next training pass has no gradient through it.
    """
    kind = import_bitsandbytes().nn.Linear4bit
    layers = [module for module in model.modules() if isinstance(module, kind)]
    for layer in layers:
        layer.support_avx512bf16_for_cpu = False
    return bool(layers)
